// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Newest returns the newest release of a flavour ("cloud-amd64", "amd64") for
// which apt has the image, its debug package, its headers and its source, all
// of one version. It looks at the distribution's own kernel series, the one
// the meta-package linux-image-FLAVOUR stands for: 6.1 on Debian 12, although
// its security archive has 6.12 as well.
func Newest(ctx context.Context, flavour string) (string, error) {
	meta := "linux-image-" + flavour
	// Only apt's candidate: with backports enabled the list has newer ones
	// that would not be installed by default.
	found, err := aptShow(ctx, "--no-all-versions", meta)
	if err != nil {
		return "", err
	}
	l := found[meta]
	if len(l) == 0 {
		return NewestIn(ctx, flavour, "")
	}
	if m := imageRE.FindStringSubmatch(l[0].Depends); m != nil {
		if _, err := makePlan(ctx, m[1], "", allKinds); err == nil {
			return m[1], nil
		}
	}
	return NewestIn(ctx, flavour, series(l[0].Version))
}

// NewestOf is Newest in a suite of Debian ("stable", "trixie"), whatever the machine's own is: its package lists are
// downloaded into the cache.
func NewestOf(ctx context.Context, suite, flavour string) (string, error) {
	f, err := newFetcher(&Options{Release: "none"})
	if err != nil {
		return "", err
	}
	if ctx, err = inSuite(ctx, f.cache, suite, nil, false, f.rep); err != nil {
		return "", err
	}
	return Newest(ctx, flavour)
}

// imageRE finds the image a meta-package depends on.
var imageRE = regexp.MustCompile(`\blinux-image-(\d[^\s,|]*)`)

// NewestIn is Newest for one kernel series, such as "6.12"; an empty series
// means any.
func NewestIn(ctx context.Context, flavour, kernelSeries string) (string, error) {
	names, err := aptNames(ctx, "linux-image-")
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		return "", errNoLists
	}
	cands := slices.DeleteFunc(debugReleases(names, flavour), func(r string) bool {
		return kernelSeries != "" && series(r) != kernelSeries
	})
	if len(cands) == 0 {
		return "", &UnavailableError{
			Package: strings.TrimSuffix("linux-image-"+kernelSeries, "-") + "*-" + flavour + "-dbg",
			Fix:     "run: apt-get update",
		}
	}
	var first error
	for _, r := range byImageVersion(ctx, cands) {
		if _, err := makePlan(ctx, r, "", allKinds); err == nil {
			return r, nil
		} else if ctx.Err() != nil {
			return "", err
		} else if first == nil {
			first = err
		}
	}
	return "", fmt.Errorf("no release of %s is complete in apt's archives: %w", flavour, first)
}

// byImageVersion sorts releases by the package version of their image, newest
// first: ABI names do not compare across series. Releases that have no image
// drop out.
func byImageVersion(ctx context.Context, releases []string) []string {
	var pkgs []string
	for _, r := range releases {
		pkgs = append(pkgs, "linux-image-"+r)
	}
	found, err := aptShow(ctx, pkgs...)
	if err != nil {
		return releases
	}
	version := func(r string) string { return found["linux-image-"+r][0].Version }
	out := slices.DeleteFunc(slices.Clone(releases), func(r string) bool {
		return len(found["linux-image-"+r]) == 0
	})
	slices.SortStableFunc(out, func(a, b string) int { return compareVersions(version(b), version(a)) })
	return out
}
