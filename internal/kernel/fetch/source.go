// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// Source returns the source of a release alone, or of what Options.Manual.Source names, unpacked.
func Source(ctx context.Context, o Options) (dir string, err error) {
	o.sourceOnly = true
	f, err := newFetcher(&o)
	if err != nil {
		return "", err
	}
	if err := makeCache(f.cache); err != nil {
		return "", err
	}
	if !f.cached() {
		if ctx, err = f.lists(ctx); err != nil {
			return "", err
		}
	}
	if err := f.chooseVersion(ctx); err != nil {
		return "", err
	}
	if err := os.MkdirAll(f.store.dir, 0o755); err != nil {
		return "", spaceError(err, f.store.dir, 0)
	}
	unlock, err := f.store.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := f.gather(ctx); err != nil {
		return "", spaceError(err, f.store.dir, 0)
	}
	dir, err = f.sourceTree(ctx, f.files.source)
	return dir, spaceError(err, f.store.dir, 0)
}

// Later returns the newest release of the series and flavour of Options.Release, among the packages
// that Fetch would look at with the same options.
func Later(ctx context.Context, o Options) (string, error) {
	_, flavour, ok := splitRelease(o.Release)
	if !ok {
		return "", &UnavailableError{Package: "linux-image-" + o.Release, Reason: o.Release + " is no release of Debian's",
			Fix: "name the later kernel's source"}
	}
	f, err := newFetcher(&o)
	if err != nil {
		return "", err
	}
	if err := makeCache(f.cache); err != nil {
		return "", err
	}
	if ctx, err = f.lists(ctx); err != nil {
		return "", err
	}
	return NewestIn(ctx, flavour, series(o.Release))
}

// CompareVersions orders versions of kernels and packages.
func CompareVersions(a, b string) int { return compareVersions(a, b) }

// Series returns "6.1" for "6.1.0-56-cloud-amd64", or for "6.1.192".
func Series(version string) string { return series(version) }

var makefileRE = regexp.MustCompile(`(?m)^(VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$`)

// SourceVersion reads the version of a kernel's source, such as "6.1.192", from its Makefile.
func SourceVersion(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "Makefile"))
	if err != nil {
		return "", err
	}
	part := map[string]string{}
	for _, m := range makefileRE.FindAllStringSubmatch(string(text), -1) {
		part[m[1]] = m[2]
	}
	if len(part) < 3 {
		return "", &MismatchError{What: "version", Path: filepath.Join(dir, "Makefile"), Want: "that of a kernel"}
	}
	return fmt.Sprintf("%s.%s.%s", part["VERSION"], part["PATCHLEVEL"], part["SUBLEVEL"]), nil
}
