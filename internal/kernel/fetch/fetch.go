// SPDX-License-Identifier: BSD-3-Clause

// Package fetch finds, fetches and checks the artefacts of one kernel release:
// the boot image, the vmlinux with debug information, headers that external
// modules can be built against and the scheduler's source. Nothing is installed
// on the host: packages are downloaded by apt and unpacked into a cache.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"plugsched/internal/durable"
	"plugsched/internal/outcome"
)

// Target names the artefacts of one kernel. All paths are absolute.
type Target struct {
	// Release is uname -r, such as "6.1.0-56-cloud-amd64".
	Release string `json:"release"`
	// Version is the Debian package version, such as "6.1.192-2"; empty for a
	// kernel that Debian did not build.
	Version string `json:"version"`
	// Arch is Debian's name of the architecture, KernelArch the kernel's own.
	Arch       string `json:"arch"`
	KernelArch string `json:"kernel_arch"`
	// BuildID is the GNU build-id of vmlinux in hexadecimal, as the running
	// kernel shows it in /sys/kernel/notes.
	BuildID string `json:"build_id"`
	// Compiler is the first line of what the kernel's compiler prints for
	// --version.
	Compiler string `json:"compiler"`
	// Suite is the suite of Debian that the packages are from; empty if that is not known.
	Suite string `json:"suite,omitempty"`
	// Origin is where the kernel is from as a whole: "tree" for one from the tree that it was built in, "rpm" for RPM
	// packages, empty for packages of Debian and for files that were named one by one.
	Origin string `json:"origin,omitempty"`

	Vmlinux string `json:"vmlinux"`
	// Vmlinuz is the boot image; empty if everything else was given by hand
	// and none was found.
	Vmlinuz string `json:"vmlinuz,omitempty"`
	// Config is the kernel configuration.
	Config string `json:"config"`
	// SystemMap is empty if there is none.
	SystemMap string `json:"system_map,omitempty"`
	// KernelBuild is what make -C wants to build an external module.
	KernelBuild string `json:"kernel_build,omitempty"`
	// HeadersCommon is the tree of headers that flavours share; on
	// distributions without such a split it is the build directory itself.
	HeadersCommon string `json:"headers_common,omitempty"`
	// Source is the root of a kernel tree that holds at least kernel, io_uring,
	// include, scripts and arch/KernelArch, and what Options.SourceDirs names.
	Source string `json:"source,omitempty"`
}

// Manual names artefacts by hand; what is empty is looked for.
type Manual struct {
	Vmlinux string // vmlinux with debug information
	Vmlinuz string // boot image
	Headers string // linux-headers-RELEASE directory, or a root with usr/src/ in it
	Source  string // kernel tree, or a .tar.xz of one
}

// Progress is one report about a long step. Done and Total count bytes; a Total
// of 0 means unknown. The last report of an item that went well has Done equal to Total,
// and Ended.
type Progress struct {
	Step  string // "wait", "download", "unpack" or "check"
	Item  string // what is being worked on
	Done  int64
	Total int64
	Ended bool
}

// Options says what to fetch.
type Options struct {
	// Release is the kernel's uname -r. It may be empty if Manual.Vmlinux is
	// not: then it is read from there.
	Release string
	// Version is the wanted package version. If empty it is that of the
	// running kernel (if that has the same release), else the one in the
	// cache, else the newest in apt's lists.
	Version string
	// CacheDir is where artefacts are kept; empty means DefaultCacheDir.
	CacheDir string
	Manual   Manual
	// Tree is the directory that the kernel was built in. It stands for all that Manual does not name.
	Tree string
	// RPMs are the packages of a kernel, in files.
	RPMs []string
	// Debuginfod are the servers that are asked for a vmlinux by its build-id.
	Debuginfod []string
	// SourceDirs are top directories that the source has to have besides those that
	// Target.Source names.
	SourceDirs []string
	// Suite, if not empty, is the suite of Debian ("trixie", "sid") that packages
	// are looked for in, in place of the host's own.
	Suite string
	// Expired takes package lists whose time has run out: of archives that are a copy of what
	// was, or to which nothing is added any more.
	Expired bool
	// AnalyseOnly asks for the vmlinux alone. The Target's fields about headers,
	// source and boot image stay empty.
	AnalyseOnly bool
	// KeepDebs keeps downloaded packages after unpacking.
	KeepDebs bool
	// Progress, if not nil, is called from one goroutine at a time.
	Progress func(Progress)

	host       *host
	sourceOnly bool // see Source
}

// DefaultCacheDir is $XDG_CACHE_HOME/plugsched, or ~/.cache/plugsched.
func DefaultCacheDir() (string, error) {
	d, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory: %w; name one with --cache-dir", err)
	}
	return filepath.Join(d, "plugsched"), nil
}

// kind is a group of artefacts that come, and are cached, together.
type kind string

const (
	kindVmlinux kind = "vmlinux"
	kindSource  kind = "source"
	kindImage   kind = "image"
	kindHeaders kind = "headers"
	// kindModules is no part of a Target: see Modules.
	kindModules kind = "modules"
)

// allKinds is in the order of downloading: what takes long to unpack first, so
// that it unpacks while the next is on its way.
var allKinds = []kind{kindVmlinux, kindSource, kindImage, kindHeaders}

// begin settles by a method which version of a kernel is meant, and has its place in the cache to itself until
// unlock. What is fetched then is fetched with the context that is returned, which knows the suite.
func begin(ctx context.Context, o *Options, version func(*fetcher, context.Context) error) (f *fetcher,
	in context.Context, unlock func(), err error) {
	if f, err = newFetcher(o); err != nil {
		return nil, nil, nil, err
	}
	if err := makeCache(f.cache); err != nil {
		return nil, nil, nil, err
	}
	if !f.cached() {
		if ctx, err = f.lists(ctx); err != nil {
			return nil, nil, nil, err
		}
	}
	if err := version(f, ctx); err != nil {
		return nil, nil, nil, err
	}
	if err := os.MkdirAll(f.store.dir, 0o755); err != nil {
		return nil, nil, nil, spaceError(err, f.store.dir, 0)
	}
	if unlock, err = f.store.lock(ctx); err != nil {
		return nil, nil, nil, err
	}
	if err := f.rememberSuite(); err != nil {
		unlock()
		return nil, nil, nil, err
	}
	return f, ctx, unlock, nil
}

// Fetch returns the complete, checked artefacts of a release. For each of them
// it takes what Options.Manual names, else what the cache or the host has
// installed, else what apt downloads. An interrupted Fetch leaves nothing that
// a later one would take for complete, and the later one resumes.
func Fetch(ctx context.Context, o Options) (*Target, error) {
	f, ctx, unlock, err := begin(ctx, &o, (*fetcher).chooseVersion)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := f.gather(ctx); err != nil {
		return nil, spaceError(err, f.store.dir, 0)
	}
	f.rep.report(Progress{Step: "check", Item: f.release})
	defer f.rep.report(Progress{Step: "check", Item: f.release, Ended: true})
	if o.AnalyseOnly {
		t, _, err := f.kernel()
		return t, err
	}
	t, err := f.assemble(ctx)
	if err != nil {
		return nil, spaceError(err, f.store.dir, 0)
	}
	if err := Check(t); err != nil {
		return nil, err
	}
	return t, nil
}

// fetcher is one run of Fetch.
type fetcher struct {
	opts             *Options
	host             *host
	rep              *reporter
	cache            string
	release, version string
	plan             *plan // set early if it decided the version
	store            *store
	files            located
	suite            string // where packages are from
	origin           string // see Target.Origin
	providers        []provider
	storeID          string // ends the name of the cache directory, if not the version does
	unavailable      error  // why the archive lacks what others are asked for
}

// located is where the artefacts were found; an empty string is "not yet".
type located struct {
	vmlinux, vmlinuz, config, systemMap, headers, source string
}

func (l *located) has(k kind) bool {
	switch k {
	case kindVmlinux:
		return l.vmlinux != ""
	case kindImage:
		return l.vmlinuz != ""
	case kindHeaders:
		return l.headers != ""
	default:
		return l.source != ""
	}
}

func newFetcher(o *Options) (*fetcher, error) {
	f := &fetcher{opts: o, host: o.host, rep: &reporter{fn: o.Progress}, release: o.Release, version: o.Version}
	if f.host == nil {
		f.host = &host{}
	}
	var err error
	if f.cache = o.CacheDir; f.cache == "" {
		if f.cache, err = DefaultCacheDir(); err != nil {
			return nil, err
		}
	}
	if f.cache, err = filepath.Abs(f.cache); err != nil {
		return nil, err
	}
	f.providers = providersOf(o)
	for _, p := range f.providers {
		if err := p.identify(f); err != nil {
			return nil, err
		}
	}
	if f.release == "" {
		return nil, fmt.Errorf("no kernel named: give --release, --tree, --rpm or --vmlinux")
	}
	if f.release != filepath.Base(f.release) {
		return nil, fmt.Errorf("release %q is not the name of a kernel release", f.release)
	}
	return f, nil
}

// makeCache finds out first, not after a look at apt's archives, that nothing can be kept.
func makeCache(dir string) error {
	err := os.MkdirAll(dir, 0o755)
	if errors.Is(err, unix.ENOTDIR) {
		return outcome.With(outcome.Usage, fmt.Errorf("the cache %s is no directory: name one with --cache-dir", dir))
	}
	return spaceError(err, dir, 0)
}

// rememberSuite keeps beside a kernel where it is from, for those who find it in the cache.
func (f *fetcher) rememberSuite() error {
	path := filepath.Join(f.store.dir, "suite")
	if f.opts.Suite != "" {
		f.suite = f.opts.Suite
		return durable.WriteFile(path, []byte(f.suite+"\n"), 0o644)
	}
	text, err := os.ReadFile(path)
	if err == nil {
		f.suite = strings.TrimSpace(string(text))
	} else if f.opts.Manual == (Manual{}) && f.origin == "" {
		f.suite = f.host.codename()
	}
	return nil
}

// cached reports that the cache has all that is missing.
func (f *fetcher) cached() bool {
	v := f.version
	if v == "" {
		v = cachedVersion(f.cache, f.release)
	}
	s := store{dir: filepath.Join(f.cache, f.release+"_"+v), release: f.release, version: v}
	return !slices.ContainsFunc(f.missing(), func(k kind) bool { return !s.intact(k) })
}

// chooseVersion settles which package version is wanted, which also names the
// cache directory.
func (f *fetcher) chooseVersion(ctx context.Context) error {
	if f.version == "" && f.origin == "" {
		if r, v := f.host.running(); r == f.release {
			f.version = debianVersion(v)
		}
	}
	if f.version == "" && f.origin == "" {
		f.version = cachedVersion(f.cache, f.release)
	}
	if f.origin != "" {
		f.openStore()
		return nil
	}
	if f.version == "" && len(f.missing()) > 0 {
		f.version = f.host.installedVersion(ctx, f.release)
	}
	if f.version == "" {
		if want := f.missing(); len(want) > 0 {
			if err := f.makePlan(ctx, want); err != nil {
				return err
			}
		}
	}
	f.openStore()
	return nil
}

// openStore names the cache directory.
func (f *fetcher) openStore() {
	name := f.release + "_" + f.version
	if f.version == "" {
		name = f.release + "_manual"
	}
	if f.storeID != "" {
		name = f.release + "_" + f.storeID
	}
	f.store = &store{dir: filepath.Join(f.cache, name), release: f.release, version: f.version, rep: f.rep, sourceDirs: f.opts.SourceDirs}
}

// gather locates every artefact, downloading those that are nowhere.
func (f *fetcher) gather(ctx context.Context) error {
	if err := f.store.clean(); err != nil {
		return err
	}
	for _, p := range f.providers {
		missing := f.missing()
		if len(missing) == 0 {
			break
		}
		if err := p.provide(ctx, f, missing); err != nil {
			return err
		}
	}
	if missing := f.missing(); len(missing) > 0 {
		return incomplete(f.store.dir, missing[0])
	}
	return nil
}

func incomplete(dir string, k kind) error {
	return fmt.Errorf("%s: the %s just unpacked there is not complete", dir, k)
}

// fix says what to do about an artefact.
func (f *fetcher) fix(k kind) string { return adviser(f.origin).fix(k, f.release, f.version) }

// missing lists what is still to be found. With the three artefacts that are
// analysed given by hand nothing is downloaded for a boot image's sake.
func (f *fetcher) missing() []kind {
	m := f.opts.Manual
	byHand := m.Vmlinux != "" && m.Headers != "" && m.Source != ""
	return slices.DeleteFunc(slices.Clone(allKinds), func(k kind) bool {
		return f.files.has(k) || k == kindImage && byHand || f.opts.AnalyseOnly && k != kindVmlinux || f.opts.sourceOnly && k != kindSource
	})
}

// reporter serialises calls of Options.Progress.
type reporter struct {
	mu sync.Mutex
	fn func(Progress)
}

func (r *reporter) report(p Progress) {
	if r == nil || r.fn == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fn(p)
}
