// SPDX-License-Identifier: BSD-3-Clause

package environment

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/outcome"
)

// Options says which environment is wanted.
type Options struct {
	// Suite names the suite of Debian whose programs are taken. If it is empty, those of this
	// machine are, or, if they do not fit, those of the kernel's own suite.
	Suite    string
	CacheDir string // see fetch.Options
	Expired  bool   // see fetch.Options
	Self     string // the plugsched binary
	Progress func(fetch.Progress)
}

// For returns an environment in which programs for a kernel run, and whose compiler built it.
func For(ctx context.Context, t *fetch.Target, o Options) (*Environment, error) {
	a, err := foreign(t)
	if err != nil {
		return nil, err
	}
	if o.Suite == "" && a != nil {
		o.Suite = t.BaseSuite()
	}
	if o.Suite != "" {
		return unpacked(ctx, t, a, o)
	}
	if a != nil {
		return nil, errWhichSuite(t, a)
	}
	here := &Environment{Self: o.Self}
	err = here.check(ctx, t)
	if err == nil || !unfit(err) || t.BaseSuite() == "" {
		return here, err
	}
	o.Suite = t.BaseSuite()
	e, failed := unpacked(ctx, t, nil, o)
	if failed != nil {
		return nil, &unfitError{err, o.Suite, failed}
	}
	return e, nil
}

// Probe says which programs For would take, without fetching any.
func Probe(ctx context.Context, t *fetch.Target, o Options) (string, error) {
	here := &Environment{Self: o.Self}
	a, err := foreign(t)
	if err != nil {
		return "", err
	}
	if o.Suite == "" && a != nil {
		if o.Suite = t.BaseSuite(); o.Suite == "" {
			return "", errWhichSuite(t, a)
		}
	}
	if o.Suite == "" {
		err := here.check(ctx, t)
		if err == nil || !unfit(err) || t.BaseSuite() == "" {
			return fmt.Sprintf("%s, of %s", t.Compiler, here), err
		}
		o.Suite = t.BaseSuite()
	}
	trees, err := packages(t, a, o)
	if err != nil {
		return "", err
	}
	n, bytes := 0, int64(0)
	for _, p := range trees {
		number, size, err := p.Look(ctx)
		if err != nil {
			return "", err
		}
		n, bytes = n+number, bytes+size
	}
	text := fmt.Sprintf("%s, of %s", t.Compiler, o.Suite)
	if n > 0 {
		text += fmt.Sprintf(": %d packages to fetch, %d MB", n, bytes/1_000_000)
	}
	return text, nil
}

// errWhichSuite says that nothing tells which compiler to take.
func errWhichSuite(t *fetch.Target, a *arch.Arch) error {
	return outcome.With(outcome.Usage, fmt.Errorf("%s is a kernel of %s, whose compiler (%s) is emulated here: name the suite that has it "+
		"with --environment", t.Release, a.Title, t.Compiler))
}

// unfit reports an error that says that this machine's programs are not the kernel's.
func unfit(err error) bool {
	var mismatch *fetch.MismatchError
	var tool *fetch.ToolError
	return errors.As(err, &mismatch) || errors.As(err, &tool)
}

// unfitError is why neither this machine nor a tree will do.
type unfitError struct {
	here   error
	suite  string
	failed error
}

func (e *unfitError) Error() string {
	return fmt.Sprintf("%v (programs of %s, which would be taken instead: %v)", e.here, e.suite, e.failed)
}

func (e *unfitError) Unwrap() error { return e.failed }

// unpacked returns the tree for a kernel, which is made if it is not there. a is the kernel's architecture
// if it is another than this machine's.
func unpacked(ctx context.Context, t *fetch.Target, a *arch.Arch, o Options) (*Environment, error) {
	if err := independent(o.Self); err != nil {
		return nil, err
	}
	trees, err := packages(t, a, o)
	if err != nil {
		return nil, err
	}
	var roots []string
	sum := sha256.New()
	for _, p := range trees {
		root, err := p.Unpack(ctx)
		if err != nil {
			return nil, err
		}
		list, err := os.ReadFile(fetch.PackageFiles(root))
		if err != nil {
			return nil, err
		}
		roots = append(roots, root)
		sum.Write(list)
	}
	e := &Environment{Suite: o.Suite, Root: roots[0], Self: o.Self, Visible: visible(t), Programs: fmt.Sprintf("%x", sum.Sum(nil))}
	if a != nil {
		if e.CC, err = emulate(a, roots[1], versioned(t.Compiler)); err != nil {
			return nil, err
		}
		e.Arch, e.Cross = a.Name, a.Triplet+"-"
		e.Quick = e.Tool(versioned(t.Compiler))
		e.Visible = append(e.Visible, filepath.Dir(roots[1]))
	}
	if err := e.enterable(ctx); err != nil {
		return nil, err
	}
	return e, e.check(ctx, t)
}

// visible are the paths of a kernel that builds read. Packaged headers have links to tools
// beside them.
func visible(t *fetch.Target) []string {
	out := []string{t.KernelBuild, t.HeadersCommon, t.Source}
	for _, dir := range []string{"scripts", "tools"} {
		if real, err := filepath.EvalSymlinks(filepath.Join(t.KernelBuild, dir)); err == nil {
			out = append(out, real)
		}
	}
	return out
}

// enterable tries whether this machine lets this user make a view of the file system.
func (e *Environment) enterable(ctx context.Context) error {
	_, err := e.output(ctx, "true")
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	return outcome.With(outcome.Precondition, fmt.Errorf("programs of %s cannot be run, which takes user and mount namespaces (%w): "+
		"run plugsched as root, or on a machine with %[1]s", e.Suite, err))
}

// general are the packages of the programs that the kernel's build system runs.
var general = []string{"base-files", "bash", "binutils", "coreutils", "dash", "diffutils",
	"findutils", "grep", "make", "mawk", "perl-base", "sed"}

// least are the packages without which there is no tree: it has its links by the one, and its shell by the other.
var least = []string{"base-files", "dash"}

// versionRE finds a package's version in what a compiler says of itself, as in
// "gcc-14 (Debian 14.2.0-19) 14.2.0".
var versionRE = regexp.MustCompile(`\(\w+ (\d\S*)\)`)

// majorRE finds the first number of a compiler's version, which what it says of itself ends with.
var majorRE = regexp.MustCompile(`\) (\d+)\.\S*$`)

// versioned is the package that has the compiler. One that was called by its plain name, as those who build kernels
// call it, is in the package of its series, on which the one of that name depends.
func versioned(compiler string) string {
	pkg := compilerPackage(compiler)
	if m := majorRE.FindStringSubmatch(compiler); m != nil && !strings.Contains(pkg, "-") {
		pkg += "-" + m[1]
	}
	return pkg
}

// packages are those of the trees for a kernel: of all programs, or, if it is of another architecture, of all but
// the compiler, and of that.
func packages(t *fetch.Target, a *arch.Arch, o Options) ([]*fetch.Packages, error) {
	cc := versioned(t.Compiler)
	if m := versionRE.FindStringSubmatch(t.Compiler); m != nil {
		cc += "=" + m[1]
	}
	libs, err := libraries(t.KernelBuild)
	if err != nil {
		return nil, err
	}
	tree := func(architecture string, names ...[]string) *fetch.Packages {
		return &fetch.Packages{Suite: o.Suite, Architecture: architecture, Names: slices.Concat(names...), CacheDir: o.CacheDir,
			Expired: o.Expired, Progress: o.Progress}
	}
	if a != nil {
		return []*fetch.Packages{tree("", general, tools(a, versioned(t.Compiler)), libs), tree(a.Package, least, []string{cc})}, nil
	}
	return []*fetch.Packages{tree("", []string{cc}, general, libs)}, nil
}

// libraries are the packages of the libraries that the headers' own programs are linked with.
func libraries(build string) ([]string, error) {
	var out []string
	for _, dir := range []string{"scripts", "tools"} {
		// The directory itself may be a link.
		real, err := filepath.EvalSymlinks(filepath.Join(build, dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = filepath.WalkDir(real, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			st, err := e.Info()
			if err != nil || st.Mode()&0o111 == 0 {
				return err
			}
			out = append(out, needed(path)...)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// libc is part of what every other program needs as well.
const libc = "libc6"

// independent refuses a plugsched that needs libraries of this machine: in a tree it is the
// compiler's wrapper, and finds there those of the tree.
func independent(self string) error {
	if libs := imported(self); len(libs) > 0 {
		return outcome.With(outcome.Precondition, fmt.Errorf("%s was built with cgo and needs %s, which another suite has in another version: "+
			"build it with CGO_ENABLED=0", self, libs[0]))
	}
	return nil
}

// imported are the libraries that a program asks for; one that is linked statically, or is a
// script, asks for none.
func imported(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		return nil
	}
	libs, _ := e.ImportedLibraries()
	return libs
}

func needed(path string) (out []string) {
	for _, lib := range imported(path) {
		if pkg := libraryPackage(lib); pkg != libc {
			out = append(out, pkg)
		}
	}
	return out
}

// Gone reports a tree that is not there any more.
func (e *Environment) Gone() bool {
	if e.Root == "" {
		return false
	}
	_, err := os.Stat(e.Root)
	return err != nil
}
