// SPDX-License-Identifier: BSD-3-Clause

// Package project is a developer's working directory: the scheduler's source in
// git, and beside it what the stages made of the kernel.
package project

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/environment"
	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/git"
	"plugsched/internal/develop/module"
	"plugsched/internal/durable"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/kernel/needs"
	"plugsched/internal/kernel/symbols"
	"plugsched/internal/outcome"
)

// Names in the working directory.
const (
	StateDir   = ".plugsched"     // of what the stages made
	ConfigFile = "plugsched.yaml" // of what the boundary analysis cannot know
	SchedDir   = "kernel/sched"   // of the scheduler's own source
)

// Names of what is none of others' business.
const (
	commandsFile  = "compile_commands.json"
	pristineTag   = "pristine"
	targetFile    = "target.json"
	envFile       = "environment.json"
	boundaryFile  = "boundary.json"
	lockFile      = "lock"
	symbolsFile   = "symbols"
	codeFile      = "code"
	springFile    = "springboard.json"
	unframedFile  = "unframed.json"
	pristineFile  = "pristine.json"
	sidecarFile   = "sidecar.json" // the pristine units outside of the scheduler
	editedFile    = "edited.json"
	reproduceFile = "reproduction.json"
	configSumFile = "config.yaml" // what the boundary was derived with
	treeListFile  = "tree.files"  // of the kernel's tree, as init found them
)

// Project is an initialised working directory.
type Project struct {
	Dir string
	// Self is the plugsched binary, which the kernel's build runs as compiler
	// wrapper.
	Self string
	// Environment is where programs for the kernel run. Init keeps it; what is nil is read.
	Environment *environment.Environment
	// Tool is its version: modules say which one made them, and packages take along an
	// installer of the same.
	Tool string
	// SignKey and SignCert, when set, are the private key and the certificate that
	// Build signs the module with.
	SignKey, SignCert string
	// Sidecars, as FILE:FUNCTION, are what Init adds to plugsched.yaml.
	Sidecars []string
	// Documents, when set, makes the man pages and completions that packages take
	// along, dated as they are: what packaging.Scheduler wants.
	Documents func(date time.Time) (map[string][]byte, error)
	// Progress, when set, is told about every stage: when it begins (took 0) and
	// when it ends.
	Progress func(Event)
}

// Error is a mistake of the user about a working directory.
type Error struct{ Text string }

func (e *Error) Error() string { return e.Text }

// Outcome implements outcome.Error.
func (*Error) Outcome() outcome.Outcome { return outcome.Precondition }

// Errorf makes an Error.
func Errorf(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// BusyError says that somebody else works in a directory.
type BusyError struct {
	Dir string
	By  string // the other's program and number
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("%s: %s works here: wait until it has ended", e.Dir, e.By)
}

// Outcome implements outcome.Error.
func (*BusyError) Outcome() outcome.Outcome { return outcome.Precondition }

// New returns the project of a directory, which need not exist yet.
func New(dir string) (*Project, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, Errorf("%s: the current directory is gone (%v): change to another", dir, err)
	}
	// The compiler's dependency files and -ffile-prefix-map want the real path.
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return &Project{Dir: abs, Self: self}, nil
}

// Open returns the project of a directory that `plugsched init` has finished.
func Open(dir string) (*Project, error) {
	p, err := New(dir)
	if err != nil {
		return nil, err
	}
	if !folder.Exists(p.state(reproduceFile)) {
		if folder.Exists(p.state()) {
			return nil, Errorf("%s: `plugsched init` has not finished here: run it again, it resumes", dir)
		}
		return nil, Errorf("%s: not a working directory: run `plugsched init %s` first", dir, dir)
	}
	return p, nil
}

// OpenAnalysed returns the project of a directory whose boundary is known.
func OpenAnalysed(dir string) (*Project, error) {
	p, err := New(dir)
	if err != nil {
		return nil, err
	}
	if !folder.Exists(p.state(boundaryFile)) {
		return nil, Errorf("%s: not a working directory: run `plugsched init %s` first", dir, dir)
	}
	return p, nil
}

func (p *Project) path(elem ...string) string {
	return filepath.Join(append([]string{p.Dir}, elem...)...)
}

// Git is the repository of the developer's tree.
func (p *Project) Git() git.Tree { return git.Tree{Dir: p.Dir} }

// PristineFile is where a file of the scheduler's source is kept as the kernel has it. Not every file is.
func (p *Project) PristineFile(rel string) string { return p.state("source", rel) }

func (p *Project) state(elem ...string) string {
	return filepath.Join(append([]string{p.Dir, StateDir}, elem...)...)
}

// writeJSON writes a file, whole or not at all.
func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(text, '\n'), 0o644)
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return damaged(path, err)
	}
	return nil
}

// damaged is the error about what a stage made and cannot be read. All of it goes: each of the
// stages' marks vouches for its file.
func damaged(path string, err error) error {
	return Errorf("%s is damaged (%v): remove %s and run `plugsched init` again, which keeps the tree", path, err, filepath.Dir(path))
}

// Target returns the kernel that the project is for.
func (p *Project) Target() (*fetch.Target, error) {
	t := &fetch.Target{}
	return t, readJSON(p.state(targetFile), t)
}

// Boundary returns the boundary that init derived.
func (p *Project) Boundary() (*boundary.Boundary, error) {
	b := &boundary.Boundary{}
	if err := readJSON(p.state(boundaryFile), b); err != nil {
		return nil, err
	}
	if b.Release == "" {
		return nil, Errorf("%s: was made by an older plugsched: run `plugsched init` again", p.state(boundaryFile))
	}
	return b, nil
}

// Reproduction returns how the pristine source compared with the kernel.
func (p *Project) Reproduction() (*Reproduction, error) {
	r := &Reproduction{}
	return r, readJSON(p.state(reproduceFile), r)
}

func (p *Project) symbols() (*symbols.Table, error) {
	s, err := symbols.Load(p.state(symbolsFile))
	if err != nil {
		return nil, damaged(p.state(symbolsFile), err)
	}
	return s, nil
}

func (p *Project) springboard() (*isa.Springboard, error) {
	s := &isa.Springboard{}
	if err := readJSON(p.state(springFile), s); err != nil {
		return nil, err
	}
	if s.Assembly == "" {
		return nil, Errorf("%s: was made by an older plugsched: run `plugsched init` again", p.state(springFile))
	}
	return s, nil
}

// unframed are the kernel's functions without frame records, where stacks are walked by these.
func (p *Project) unframed(a *arch.Arch) (list []isa.Unframed, err error) {
	if a.Records == nil {
		return nil, nil
	}
	err = readJSON(p.state(unframedFile), &list)
	if errors.Is(err, os.ErrNotExist) {
		return nil, Errorf("%s: was made by an older plugsched: run `plugsched init` again", p.Dir)
	}
	return list, err
}

// pristine returns the units as the kernel has them, the scheduler's first.
func (p *Project) pristine() ([]module.Unit, error) {
	var u, sidecars []module.Unit
	if err := readJSON(p.state(pristineFile), &u); err != nil {
		return nil, err
	}
	if err := readJSON(p.state(sidecarFile), &sidecars); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return p.relocate(append(u, sidecars...)), nil
}

// relocate makes the paths of units lead to this directory, when it was moved here or is a copy:
// never to files of the one that it is a copy of.
func (p *Project) relocate(units []module.Unit) []module.Unit {
	for i := range units {
		u := &units[i]
		at := strings.LastIndex(u.Object, "/"+StateDir+"/") // a copy for trying is below another
		if at < 0 || u.Object[:at] == p.Dir {
			continue
		}
		was := u.Object[:at]
		move := func(path string) string {
			if rel, below := strings.CutPrefix(path, was+"/"); below {
				return p.path(rel)
			}
			return path
		}
		u.Assembly, u.Object, u.Source = move(u.Assembly), move(u.Object), move(u.Source)
		for j := range u.Deps {
			u.Deps[j] = move(u.Deps[j])
		}
		for j := range u.Command {
			u.Command[j] = strings.ReplaceAll(u.Command[j], was+"/", p.Dir+"/")
		}
	}
	return units
}

// Programs is where programs for the kernel run: as the last Init had them run, unless that is
// being decided anew.
func (p *Project) Programs() (*environment.Environment, error) {
	if p.Environment != nil {
		return p.Environment, nil
	}
	e := &environment.Environment{Self: p.Self}
	switch err := readJSON(p.state(envFile), e); {
	case errors.Is(err, os.ErrNotExist):
		return nil, Errorf("%s: was made by an older plugsched: run `plugsched init` again", p.Dir)
	case err != nil:
		return nil, err
	case e.Gone():
		return nil, Errorf("%s: is gone: run `plugsched init` again, which unpacks the programs of %s anew", e.Root, e.Suite)
	}
	p.Environment = e.Showing(p.Dir)
	return p.Environment, nil
}

// tree describes the build of a source directory.
func (p *Project) tree(t *fetch.Target, source string) (*module.Tree, error) {
	a, err := arch.Named(t.KernelArch)
	if err != nil {
		return nil, err
	}
	config, err := needs.ReadConfig(t.Config)
	if err != nil {
		return nil, err
	}
	compared, bound := module.Options(a, config)
	return &module.Tree{WorkDir: source, SchedDir: SchedDir, KernelBuild: t.KernelBuild, Common: t.HeadersCommon, Source: t.Source,
		Self: p.Self, Env: p.Environment, Compared: compared, Bound: bound}, nil
}

// Module is where build leaves the module.
func (p *Project) Module() string { return p.path(module.Name + ".ko") }

// DebugInfo is where build leaves the module's debug information.
func (p *Project) DebugInfo() string { return p.Module() + module.DebugSuffix }

// Description is where build leaves its description.
func (p *Project) Description() string { return p.path(module.Name + ".yaml") }

// Lock keeps others from changing what is in StateDir and what is built from it. Who comes
// second is told who was first, an *Error, and does not wait: it would build what neither has looked at.
func (p *Project) Lock() (unlock func(), err error) {
	unlock, err = durable.TryLock(p.state(lockFile), 0o644)
	var held *durable.HeldError
	if errors.As(err, &held) {
		return nil, &BusyError{p.Dir, held.By}
	}
	return unlock, err
}

// CheckDir refuses a directory that cannot become a working directory, before anything is
// fetched for it.
func (p *Project) CheckDir() error {
	if err := checkPaths(p.Dir, p.Self); err != nil {
		return err
	}
	entries, err := os.ReadDir(p.Dir)
	switch {
	case errors.Is(err, unix.ENOTDIR):
		return Errorf("%s: is no directory, or below a file: name a new directory", p.Dir)
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) == 0, folder.Exists(p.state()):
	case !folder.Exists(p.path(ConfigFile)), !folder.Exists(p.path(".git")): // with both, only the state is gone
		return Errorf("%s: exists and is not empty: name a new directory", p.Dir)
	}
	return nil
}

// CheckCache refuses a cache of kernels that nothing can be built with; "" is the default.
func CheckCache(dir string) (err error) {
	if dir == "" {
		dir, err = fetch.DefaultCacheDir()
	} else {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return err
	}
	return checkPaths(dir)
}

// checkPaths refuses paths that the kernel's build system cannot take: make parts words at
// blanks and lists at colons, gcc options at commas and equals signs; the rest is a shell's, or
// make's own. A tilde only means something to them at a word's beginning, where an absolute
// path has none; versions of packages have some, and are in paths of the cache.
func checkPaths(list ...string) error {
	for _, path := range list {
		if i := strings.IndexFunc(path, foreign); i >= 0 {
			r, _ := utf8.DecodeRuneInString(path[i:])
			return Errorf("%q: the kernel's build system cannot work with a path that has %q in it: name or move to another", path, r)
		}
	}
	return nil
}

func foreign(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError || strings.ContainsRune("\"'`$:;#%\\*?[]{}()<>|&!=,", r)
}
