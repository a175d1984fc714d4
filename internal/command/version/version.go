// SPDX-License-Identifier: BSD-3-Clause

// Package version names this build of the tool.
package version

import (
	"regexp"
	"runtime/debug"
	"strings"
	"time"
)

// String returns the version: that of the tag which the build is of ("1.2.0"), or the
// commit ("devel-0123456789ab"), as far as the Go toolchain recorded it. A "+dirty" is
// behind it when the tree had changes of its own.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return name(info)
}

// release is what the toolchain calls the build of a tagged commit; between two tags it makes
// a version up, with a time and a commit at its end (go.dev/ref/mod#pseudo-versions).
var (
	release = regexp.MustCompile(`^v(\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?)(\+dirty)?$`)
	madeUp  = regexp.MustCompile(`[-.]\d{14}-[0-9a-f]{12}$`)
)

func name(info *debug.BuildInfo) string {
	if m := release.FindStringSubmatch(info.Main.Version); m != nil && !madeUp.MatchString(m[1]) {
		return m[1] + m[3]
	}
	v := "devel"
	if revision := setting(info, "vcs.revision"); len(revision) >= 12 {
		v += "-" + revision[:12]
	}
	if setting(info, "vcs.modified") == "true" || strings.HasSuffix(info.Main.Version, "+dirty") {
		v += "+dirty"
	}
	return v
}

func setting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// Day is a number that grows with the version: days since 1970 of its commit, 0 when the
// Go toolchain did not record it.
func Day() int {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return 0
	}
	t, err := time.Parse(time.RFC3339, setting(info, "vcs.time"))
	if err != nil {
		return 0
	}
	return int(t.Unix() / (24 * 60 * 60))
}
