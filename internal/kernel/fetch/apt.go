// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"plugsched/internal/parts"
)

// deb is one version of one package that apt can download.
type deb struct {
	Package, Version, Depends, Filename, SHA256 string
	Size                                        int64 // bytes to download
	Installed                                   int64 // bytes unpacked
}

// aptShow returns what apt's lists say about the packages, all versions, newest
// first. Packages apt does not know are simply not in the answer, nor are
// versions that are installed but can no longer be downloaded.
func aptShow(ctx context.Context, names ...string) (map[string][]deb, error) {
	out, err := output(ctx, "", "look up kernel packages", "apt-cache", append([]string{"show"}, names...)...)
	if err != nil && (ctx.Err() != nil || isToolError(err)) {
		return nil, err
	}
	found := map[string][]deb{}
	for _, d := range parseStanzas(out) {
		if d.Filename != "" && d.Size > 0 {
			found[d.Package] = append(found[d.Package], d)
		}
	}
	for _, l := range found {
		slices.SortStableFunc(l, func(a, b deb) int { return compareVersions(b.Version, a.Version) })
	}
	return found, nil
}

func parseStanzas(out string) []deb {
	var all []deb
	for stanza := range strings.SplitSeq(out, "\n\n") {
		var d deb
		for line := range strings.Lines(stanza) {
			key, val, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			if !ok {
				continue
			}
			switch key {
			case "Package":
				d.Package = val
			case "Version":
				d.Version = val
			case "Depends":
				d.Depends = val
			case "Filename":
				d.Filename = val
			case "SHA256":
				d.SHA256 = val
			case "Size":
				d.Size, _ = strconv.ParseInt(val, 10, 64)
			case "Installed-Size":
				d.Installed, _ = strconv.ParseInt(val, 10, 64)
				d.Installed *= 1024
			}
		}
		if d.Package != "" {
			all = append(all, d)
		}
	}
	return all
}

// aptNames lists the packages whose name starts with prefix.
func aptNames(ctx context.Context, prefix string) ([]string, error) {
	out, err := output(ctx, "", "look up kernel packages", "apt-cache", "pkgnames", prefix)
	if err != nil {
		return nil, err
	}
	n := strings.Fields(out)
	sort.Strings(n)
	return n, nil
}

// plan is the set of packages, all of one version, that make up a target.
type plan struct {
	version string
	debs    map[kind][]deb // by what they hold
}

var (
	commonRE = regexp.MustCompile(`\blinux-headers-\S+-common\S*`)
	kbuildRE = regexp.MustCompile(`\b(linux-kbuild-[^\s,|]+)(?: \(>= ([^\s)]+)\))?`)
)

// makePlan finds the packages for the wanted artefacts. An empty version means
// the newest one for which everything is there.
func makePlan(ctx context.Context, release, version string, want []kind) (*plan, error) {
	image, dbg, headers := "linux-image-"+release, "linux-image-"+release+"-dbg", "linux-headers-"+release
	found, err := aptShow(ctx, image, dbg, headers)
	if isToolError(err) {
		return nil, &UnavailableError{Package: image, Reason: "kernels are fetched from Debian's archives, with apt, which this machine does not have",
			Missing: parts.Missing("/", release), Fix: parts.Ways}
	}
	if err != nil {
		return nil, err
	}
	if len(found[image])+len(found[dbg])+len(found[headers]) == 0 {
		return nil, explainUnknown(ctx, release)
	}
	versions := []string{version}
	if version == "" {
		versions = versionsOf(found[image])
		if len(versions) == 0 {
			return nil, &UnavailableError{Package: image, Fix: parts.Ways}
		}
	}
	var first error
	for _, v := range versions {
		p, err := planVersion(ctx, release, v, want, found)
		if err == nil {
			return p, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

func planVersion(ctx context.Context, release, version string, want []kind, found map[string][]deb) (*plan, error) {
	p := &plan{version: version, debs: map[kind][]deb{}}
	pick := func(k kind, pkg, fix string) error {
		for _, d := range found[pkg] {
			if d.Version == version {
				p.debs[k] = append(p.debs[k], d)
				return nil
			}
		}
		return &UnavailableError{Package: pkg, Version: version, Have: versionsOf(found[pkg]), Fix: fix}
	}
	image := func(k kind, fix string) error {
		if !slices.Contains(want, k) {
			return nil
		}
		if err := pick(k, "linux-image-"+release, fix); err != nil {
			return err
		}
		list := imageParts(p.debs[k][0], release)
		if err := lookUp(ctx, found, list...); err != nil {
			return err
		}
		for _, pkg := range list {
			if err := pick(k, pkg, fix); err != nil {
				return err
			}
		}
		return nil
	}
	if err := image(kindImage, "name the boot image by hand with --vmlinuz"); err != nil {
		return nil, err
	}
	if err := image(kindModules, "use a release that can still be downloaded"); err != nil {
		return nil, err
	}
	if slices.Contains(want, kindVmlinux) {
		err := pick(kindVmlinux, "linux-image-"+release+"-dbg", "name the kernel's debug vmlinux by hand with --vmlinux")
		if err != nil {
			return nil, withOtherReleases(ctx, err, release)
		}
	}
	if slices.Contains(want, kindHeaders) {
		if err := pick(kindHeaders, "linux-headers-"+release, fixHeaders); err != nil {
			return nil, err
		}
		deps := p.debs[kindHeaders][0].Depends
		common, kbuild := commonRE.FindString(deps), kbuildRE.FindStringSubmatch(deps)
		if common == "" || kbuild == nil {
			return nil, fmt.Errorf("package linux-headers-%s %s names no common headers and kbuild package in %q", release, version, deps)
		}
		if err := lookUp(ctx, found, common, kbuild[1], sourcePackage(version)); err != nil {
			return nil, err
		}
		if err := pick(kindHeaders, common, fixHeaders); err != nil {
			return nil, err
		}
		d, err := pickKbuild(found[kbuild[1]], kbuild[1], version, kbuild[2])
		if err != nil {
			return nil, err
		}
		p.debs[kindHeaders] = append(p.debs[kindHeaders], d)
	}
	if slices.Contains(want, kindSource) {
		const fix = "name the kernel's source tree or tar.xz by hand with --source"
		src := sourcePackage(version)
		// Debian applies the rt patch set to these at build time
		// (linux-patch-X.Y-rt); the source package is without it.
		if _, fl, _ := splitRelease(release); strings.HasPrefix(fl, "rt-") {
			return nil, &UnavailableError{Package: src, Reason: src + " has no source of the rt flavour",
				Fix: fmt.Sprintf("apply linux-patch-%s-rt to it and name the tree with --source", series(version))}
		}
		if err := lookUp(ctx, found, src); err != nil {
			return nil, err
		}
		if err := pick(kindSource, src, fix); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// imageParts are the packages that an image package is made up of, beside itself: those of the
// release that it depends on. Debian's kernels are split from 7.0 on.
func imageParts(image deb, release string) []string {
	var out []string
	for dep := range strings.SplitSeq(image.Depends, ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(dep), " ")
		if strings.HasPrefix(name, "linux-") && strings.HasSuffix(name, "-"+release) && name != image.Package {
			out = append(out, name)
		}
	}
	return out
}

const fixHeaders = "name an unpacked headers tree by hand with --headers"

// pickKbuild prefers the version of the headers. Debian keeps only the newest
// kbuild package of a series and lets the headers depend on that version or a
// later one; then it is the earliest such.
func pickKbuild(l []deb, name, version, atLeast string) (deb, error) {
	var later *deb
	for i, d := range l { // newest first
		if d.Version == version {
			return d, nil
		}
		if atLeast != "" && compareVersions(d.Version, atLeast) >= 0 {
			later = &l[i]
		}
	}
	if later != nil {
		return *later, nil
	}
	return deb{}, &UnavailableError{Package: name, Version: version, Have: versionsOf(l), Fix: fixHeaders}
}

func sourcePackage(version string) string { return "linux-source-" + series(version) }

// lookUp adds to found what apt knows about packages not yet in it.
func lookUp(ctx context.Context, found map[string][]deb, names ...string) error {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return found[n] != nil })
	if len(names) == 0 {
		return nil
	}
	more, err := aptShow(ctx, names...)
	for n, l := range more {
		found[n] = l
	}
	return err
}

// withOtherReleases adds to the error for a missing debug package, which is
// common (Debian drops them early), the releases that still have one.
func withOtherReleases(ctx context.Context, err error, release string) error {
	var ue *UnavailableError
	_, flavour, ok := splitRelease(release)
	if !errors.As(err, &ue) || !ok || len(ue.Have) > 0 {
		return err
	}
	if names, e := aptNames(ctx, "linux-image-"); e == nil {
		if l := nearest(debugReleases(names, flavour), release); len(l) > 0 {
			ue.Fix += "; releases with one: " + strings.Join(l, ", ")
		}
	}
	return ue
}

// nearest cuts a list of releases down to those worth suggesting: of the same
// series if there are any, the newest few.
func nearest(releases []string, release string) []string {
	same := slices.DeleteFunc(slices.Clone(releases), func(r string) bool { return series(r) != series(release) })
	if len(same) == 0 {
		same = releases
	}
	return same[:min(len(same), 8)]
}

// debugReleases lists, newest first, the releases of a flavour that have a
// debug package. Meta-packages, whose names have only a series ("6.12-amd64"),
// are left out.
func debugReleases(names []string, flavour string) []string {
	var l []string
	for _, n := range names {
		r := strings.TrimPrefix(n, "linux-image-")
		if abi, fl, ok := splitRelease(r); ok && fl == flavour && abi != series(r) && slices.Contains(names, n+"-dbg") {
			l = append(l, r)
		}
	}
	slices.SortFunc(l, func(a, b string) int { return compareVersions(b, a) })
	return l
}

// explainUnknown tells empty lists from a release apt does not have.
func explainUnknown(ctx context.Context, release string) error {
	names, err := aptNames(ctx, "linux-image-")
	if err != nil {
		return err
	}
	_, flavour, _ := splitRelease(release)
	e := &UnavailableError{Package: "linux-image-" + release, Have: nearest(debugReleases(names, flavour), release)}
	if len(e.Have) > 0 {
		e.Missing = parts.Missing("/", release)
		e.Fix = "run apt-get update if it is new, or name the suite that has it with --suite; or " + parts.Ways
		return e
	}
	known, err := aptShow(ctx, names...)
	if len(names) == 0 || err == nil && len(known) == 0 {
		return errNoLists
	}
	all := flavours(names)
	for _, fl := range all {
		if r := release + "-" + fl; slices.Contains(debugReleases(names, fl), r) {
			e.Have = append(e.Have, r)
		}
	}
	if len(e.Have) > 0 {
		e.Fix = "the flavour is missing: name one of these"
		return e
	}
	e.Flavours = all
	e.Missing = parts.Missing("/", release)
	e.Fix = parts.Ways + "; the boundary alone can be derived with --analyze-only --vmlinux FILE"
	return e
}

// flavours lists those of which there are kernels.
func flavours(names []string) []string {
	var l []string
	for _, n := range names {
		if abi, fl, ok := splitRelease(strings.TrimPrefix(n, "linux-image-")); ok && abi != series(abi) && slices.Contains(names, n+"-dbg") {
			l = append(l, fl)
		}
	}
	slices.Sort(l)
	return slices.Compact(l)
}

var errNoLists = fmt.Errorf("apt has no lists of kernel packages; run: apt-get update")

func versionsOf(l []deb) []string {
	var v []string
	for _, d := range l {
		v = append(v, d.Version)
	}
	return slices.Compact(v)
}

func isToolError(err error) bool {
	var tool *ToolError
	return errors.As(err, &tool)
}
