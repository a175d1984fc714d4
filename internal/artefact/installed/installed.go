// SPDX-License-Identifier: BSD-3-Clause

// Package installed knows the scheduler packages that are installed on a machine, from
// what they say of themselves.
package installed

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is where packages are: for each kernel a directory that is named after its release,
// and in that one for each of its schedulers.
const Dir = "/usr/lib/plugsched"

// The files of a package's directory.
const (
	About       = "package.json" // a Package
	Module      = "scheduler.ko"
	Object      = "scheduler.bpf.o" // instead of a module
	Description = "scheduler.yaml"
	Boundary    = "boundary.json.gz"
	Installer   = "plugsched"
	UnitText    = "plugsched.service" // what UnitFile holds while the package is the selected one
)

// AnyKernel stands in paths and names for a kernel's release where a package is for every kernel that has sched_ext: those of
// schedulers in BPF.
const AnyKernel = "bpf"

// PackageDir is where the package of a scheduler for a kernel is.
func PackageDir(release, scheduler string) string { return filepath.Join(Dir, release, scheduler) }

// PackageName is what dpkg and rpm call it: unique for a kernel, in the letters that dpkg allows.
func PackageName(scheduler, release string) string {
	return scheduler + "-" + strings.ReplaceAll(strings.ToLower(release), "_", "-")
}

// SelectionDir has for each kernel a symbolic link to the directory of the package whose
// scheduler is loaded at boot. It is the administrator's choice, which everybody may read.
const SelectionDir = "/etc/plugsched"

// Selection is that link.
func Selection(release string) string { return filepath.Join(SelectionDir, release) }

// StateDir is what packages remember on a machine; only root may read it.
const StateDir = "/var/lib/plugsched"

// GuardFile is what is remembered about the scheduler of a package (internal/operate/boot).
func GuardFile(name string) string {
	return filepath.Join(StateDir, "guard-"+name+".json")
}

var noUnitName = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// Unit is the systemd unit of the scheduler that is selected for one kernel. (A release may have
// characters that a unit's name may not.)
func Unit(release string) string {
	return "plugsched-" + noUnitName.ReplaceAllString(release, "_") + ".service"
}

// UnitFile is where the unit is. It belongs to all packages for the kernel, which dpkg has no way
// to say, so that they make it, and the last that goes removes it.
func UnitFile(release string) string { return filepath.Join("/usr/lib/systemd/system", Unit(release)) }

// Package is what an installed package says of itself.
type Package struct {
	Name      string `json:"name"`               // as dpkg and rpm know it
	Scheduler string `json:"scheduler"`          // what it is called among those for its kernel
	Version   string `json:"version"`            // of the scheduler
	Release   string `json:"release,omitempty"`  // uname -r of the kernel that it is for, "" of one in BPF
	BuildID   string `json:"build_id,omitempty"` // likewise
	// Module is its name once it is loaded. One in BPF is known by its own name and a digest of what is loaded and how.
	Module string `json:"module"`
	BPF    *BPF   `json:"bpf,omitempty"` // nil of a module
	Commit string `json:"commit,omitempty"`
	Tool   string `json:"tool"` // version of plugsched that built it

	Dir string `json:"-"` // where it was found
}

// BPF is how a package's scheduler in BPF is loaded.
type BPF struct {
	Name      string            `json:"name"` // what the kernel calls it
	Partial   bool              `json:"partial,omitempty"`
	Timeout   time.Duration     `json:"timeout_ns,omitempty"`
	Constants map[string]uint64 `json:"constants,omitempty"`
}

// Known is what one in BPF is known by: different for different objects, and for different ways to load them.
func (b *BPF) Known(object []byte) (string, error) {
	how, err := json.Marshal(b) // maps come in order
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append(how, object...))
	return fmt.Sprintf("%s_%x", b.Name, sum[:4]), nil
}

// Kernels is the release of the kernel that the package is for, or AnyKernel.
func (p *Package) Kernels() string {
	if p.BPF != nil {
		return AnyKernel
	}
	return p.Release
}

// String names a package and its version for people.
func (p *Package) String() string { return p.Name + " " + p.Version }

// File returns the path of one of the package's files.
func (p *Package) File(name string) string { return filepath.Join(p.Dir, name) }

// Read returns the package of a directory.
func Read(dir string) (*Package, error) {
	text, err := os.ReadFile(filepath.Join(dir, About))
	if err != nil {
		return nil, err
	}
	p := &Package{Dir: dir}
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): install the package again", filepath.Join(dir, About), err)
	}
	if p.Name == "" || p.Scheduler == "" || p.Kernels() == "" || p.Module == "" {
		return nil, fmt.Errorf("%s is damaged (it lacks a name): install the package again", filepath.Join(dir, About))
	}
	return p, nil
}

// List returns the packages below root ("/" for this machine), in order of their
// kernels' releases and of their schedulers' names. One that cannot be read is left out, and the error
// is about it.
func List(root string) ([]*Package, error) {
	dirs, err := filepath.Glob(filepath.Join(root, Dir, "*/*"))
	if err != nil {
		return nil, err
	}
	var list []*Package
	var errs []error
	for _, d := range dirs {
		p, err := Read(d)
		switch {
		case err == nil:
			list = append(list, p)
		case !noPackage(err):
			errs = append(errs, err)
		}
	}
	slices.SortStableFunc(list, func(a, b *Package) int {
		return cmp.Or(cmp.Compare(a.Kernels(), b.Kernels()), cmp.Compare(a.Scheduler, b.Scheduler))
	})
	return list, errors.Join(errs...)
}

// ForKernel is List for those of one kernel's release, or for AnyKernel.
func ForKernel(root, release string) ([]*Package, error) {
	all, err := List(root)
	return slices.DeleteFunc(all, func(p *Package) bool { return p.Kernels() != release }), err
}

// Usable is List for those that one kernel can run: its own, and behind them those of AnyKernel, if it has sched_ext.
func Usable(root, release string) ([]*Package, error) {
	all, err := List(root)
	return slices.DeleteFunc(all, func(p *Package) bool { return p.Kernels() != release && p.BPF == nil }), err
}

// noPackage: a directory with leftovers is no package, nor is a file.
func noPackage(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// Selected names the scheduler that is selected for a kernel, "" when none is. Its package may be gone.
func Selected(root, release string) (scheduler string, err error) {
	path := filepath.Join(root, Selection(release))
	to, err := os.Readlink(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("which scheduler is selected cannot be told: %w", err)
	}
	scheduler = filepath.Base(to)
	if to != PackageDir(release, scheduler) {
		return "", fmt.Errorf("%s leads to %s, where no scheduler for that kernel can be: `plugsched switch` makes it right", path, to)
	}
	return scheduler, nil
}

// Find returns the package of a scheduler, by its own name or the scheduler's; nil when there is none.
func Find(packages []*Package, name string) *Package {
	for _, p := range packages {
		if p.Name == name {
			return p
		}
	}
	for _, p := range packages {
		if p.Scheduler == name {
			return p
		}
	}
	return nil
}

// ForModule returns the package that a module is from, nil when it is from none.
func ForModule(root, module string) (*Package, error) {
	list, err := List(root)
	for _, p := range list {
		if p.Module == module {
			return p, nil
		}
	}
	return nil, err
}
