// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Packages are programs of a suite, to be unpacked into a tree of their own. Nothing of them is
// installed, and none of their scripts runs.
type Packages struct {
	Suite string
	// Architecture is Debian's name of that which they are for; empty means apt's own.
	Architecture string
	// Names are of packages, each of which may end in "=VERSION"; what they depend on comes along.
	Names    []string
	CacheDir string // empty means DefaultCacheDir
	Expired  bool   // see Options.Expired
	Progress func(Progress)
}

// kindRoot is a tree of programs: see Packages.
const kindRoot kind = "programs"

// Unpack returns the tree, which is made if the cache does not have all of it.
func (p *Packages) Unpack(ctx context.Context) (root string, err error) {
	f, s, err := p.open()
	if err != nil {
		return "", err
	}
	if err := makeCache(s.dir); err != nil {
		return "", err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	if s.intact(kindRoot) {
		return s.path(kindRoot), nil
	}
	if err := s.clean(); err != nil {
		return "", err
	}
	if ctx, err = inSuite(ctx, f.cache, p.Suite, p.architectures(), p.Expired, f.rep); err != nil {
		return "", err
	}
	look := Progress{Step: "look up", Item: "programs of " + p.Suite}
	f.rep.report(look)
	debs, err := closure(ctx, p.Suite, p.Names)
	if err != nil {
		return "", err
	}
	look.Ended = true
	f.rep.report(look)
	if err := s.fetch(ctx, &plan{debs: map[kind][]deb{kindRoot: debs}}, []kind{kindRoot}, false); err != nil {
		return "", spaceError(err, s.dir, 0)
	}
	return s.path(kindRoot), nil
}

// architectures is what inSuite takes.
func (p *Packages) architectures() []string {
	if p.Architecture == "" {
		return nil
	}
	return []string{p.Architecture}
}

// open names the place of the tree in the cache.
func (p *Packages) open() (*fetcher, *store, error) {
	f, err := newFetcher(&Options{Release: "none", CacheDir: p.CacheDir, Progress: p.Progress})
	if err != nil {
		return nil, nil, err
	}
	if !suiteRE.MatchString(p.Suite) {
		return nil, nil, errSuite(p.Suite)
	}
	id := strings.Join(p.Names, " ")
	if p.Architecture != "" {
		id += " " + p.Architecture
	}
	dir := filepath.Join(f.cache, "environments", fmt.Sprintf("%s-%.6x", p.Suite, sha256.Sum256([]byte(id))))
	return f, &store{dir: dir, version: id, rep: f.rep}, nil
}

// PackageFiles is where the files of a tree, and their sizes, are listed.
func PackageFiles(root string) string { return root + ".json" }

// instRE matches what apt-get says that it would install.
var instRE = regexp.MustCompile(`(?m)^Inst (\S+) (?:\[\S+\] )?\((\S+) `)

// closure finds packages, and all that they depend on.
func closure(ctx context.Context, suite string, names []string) ([]deb, error) {
	for _, n := range names {
		if err := provided(ctx, suite, n); err != nil {
			return nil, err
		}
	}
	// An empty list of what is installed is that of a machine without anything.
	args := append(aptOptions(), "-s", "-o", "Dir::State::status=/dev/null", "-o", "APT::Install-Recommends=false",
		"-o", "Debug::NoLocking=true", "install")
	out, err := output(ctx, "", "look up packages", "apt-get", append(args, names...)...)
	if err != nil {
		return nil, fmt.Errorf("packages of %s: %w", suite, err)
	}
	var want []deb
	for _, m := range instRE.FindAllStringSubmatch(out, -1) {
		want = append(want, deb{Package: m[1], Version: m[2]})
	}
	var list []string
	for _, d := range want {
		list = append(list, d.Package)
	}
	if len(list) == 0 {
		return nil, errors.New("apt-get names no package to install for " + strings.Join(names, " "))
	}
	found, err := aptShow(ctx, list...)
	if err != nil {
		return nil, err
	}
	for i, d := range want {
		at := slices.IndexFunc(found[d.Package], func(f deb) bool { return f.Version == d.Version })
		if at < 0 {
			return nil, &UnavailableError{Package: d.Package, Version: d.Version, Have: versionsOf(found[d.Package])}
		}
		want[i] = found[d.Package][at]
	}
	// It has the links that others unpack through, where directories of /usr stand for those of /.
	slices.SortStableFunc(want, func(a, b deb) int {
		return cmp.Compare(flag(a.Package != "base-files"), flag(b.Package != "base-files"))
	})
	return want, nil
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// provided says what versions there are of one that is named and is not there.
func provided(ctx context.Context, suite, name string) error {
	pkg, version, exact := strings.Cut(name, "=")
	if !exact {
		return nil
	}
	found, err := aptShow(ctx, pkg)
	if err != nil {
		return err
	}
	if have := versionsOf(found[pkg]); !slices.Contains(have, version) {
		return &UnavailableError{Package: pkg, Version: version, Have: have, Reason: "package " + pkg + " " + version + " is not in " + suite}
	}
	return nil
}

// rootDirs are the directories of a tree of programs. All else is the machine's.
var rootDirs = regexp.MustCompile(`^(bin|sbin|lib\w*|usr|etc)$`)

// RootDir reports that a directory of / is one of the tree's, where there is a tree.
func RootDir(name string) bool { return rootDirs.MatchString(name) }

// rootFile keeps what programs need.
func rootFile(name string) string {
	top, _, _ := strings.Cut(name, "/")
	if !RootDir(top) {
		return ""
	}
	for _, d := range []string{"doc", "man", "info", "locale", "lintian", "bug", "bash-completion"} {
		if strings.HasPrefix(name, "usr/share/"+d+"/") {
			return ""
		}
	}
	return name
}

// rootLinks are what the packages' scripts would have made.
var rootLinks = map[string]string{"bin/sh": "dash", "usr/bin/awk": "mawk"}

// link makes the links of a tree of programs that are not there.
func (x *extractor) link() error {
	for name, to := range rootLinks {
		if _, err := x.root.Lstat(name); err == nil {
			continue
		}
		if _, err := x.root.Lstat(path.Join(path.Dir(name), to)); err != nil {
			continue // it is not among the packages
		}
		if err := x.root.Symlink(to, name); err != nil {
			return err
		}
		x.files = append(x.files, fileEntry{name, int64(len(to))})
	}
	return nil
}
