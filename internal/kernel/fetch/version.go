// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"cmp"
	"regexp"
	"strings"
)

// compareVersions orders package versions by the rules of Debian Policy,
// section 5.6.12.
func compareVersions(a, b string) int {
	ea, ua, ra := splitVersion(a)
	eb, ub, rb := splitVersion(b)
	return cmp.Or(comparePart(ea, eb), comparePart(ua, ub), comparePart(ra, rb))
}

func splitVersion(v string) (epoch, upstream, revision string) {
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, v = e, rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// comparePart alternates between runs of non-digits and runs of digits.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		na, nb := prefixLen(a, false), prefixLen(b, false)
		if c := compareText(a[:na], b[:nb]); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
		na, nb = prefixLen(a, true), prefixLen(b, true)
		da, db := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
		if c := cmp.Or(cmp.Compare(len(da), len(db)), strings.Compare(da, db)); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	return 0
}

func prefixLen(s string, digits bool) int {
	for i := range len(s) {
		if isDigit(s[i]) != digits {
			return i
		}
	}
	return len(s)
}

// compareText sorts "~" before the end, the end before letters and letters
// before everything else.
func compareText(a, b string) int {
	for i := 0; i < len(a) || i < len(b); i++ {
		if c := cmp.Compare(textOrder(a, i), textOrder(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

func textOrder(s string, i int) int {
	if i >= len(s) {
		return 0
	}
	switch c := s[i]; {
	case c == '~':
		return -1
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		return int(c)
	default:
		return int(c) + 256
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

var (
	// Debian's releases: "6.1.0-56-cloud-amd64", "6.12.117+deb12-amd64",
	// "7.2.3-cloud-amd64"; the first group is the ABI name.
	releaseRE = regexp.MustCompile(`^(\d+\.\d+(?:\.\d+)?(?:\+[0-9a-z.]+)?(?:-\d+)?)-([a-z].*)$`)
	seriesRE  = regexp.MustCompile(`^(\d+\.\d+)(?:[^\d]|$)`)
	// The banner of a Debian kernel ends in "Debian 6.1.192-2 (2026-11-16)".
	debianRE = regexp.MustCompile(`\bDebian (\d[0-9A-Za-z.+~:-]*) \(`)
)

// splitRelease parts a Debian release name into ABI name and flavour.
func splitRelease(release string) (abi, flavour string, ok bool) {
	m := releaseRE.FindStringSubmatch(release)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// series returns "6.1" for "6.1.192-2" or "6.1.0-56-cloud-amd64".
func series(version string) string {
	if m := seriesRE.FindStringSubmatch(version); m != nil {
		return m[1]
	}
	return ""
}

// debianVersion finds the package version in a banner or in uname -v.
func debianVersion(banner string) string {
	if m := debianRE.FindStringSubmatch(banner); m != nil {
		return m[1]
	}
	return ""
}
