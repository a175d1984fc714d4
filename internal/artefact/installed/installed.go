// SPDX-License-Identifier: BSD-3-Clause

// Package installed knows the scheduler packages that are installed on a machine, from
// what they say of themselves.
package installed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// Dir is where packages are, each in a directory that is named after its kernel's
// release. There is one scheduler for a kernel, so the name is enough.
const Dir = "/usr/lib/plugsched"

// The files of a package's directory.
const (
	About       = "package.json" // a Package
	Module      = "scheduler.ko"
	Description = "scheduler.yaml"
	Boundary    = "boundary.json.gz"
	Installer   = "plugsched"
)

// StateDir is what packages remember on a machine; only root may read it.
const StateDir = "/var/lib/plugsched"

// GuardFile is what is remembered about the scheduler for one kernel (internal/operate/boot).
func GuardFile(release string) string {
	return filepath.Join(StateDir, "guard-"+release+".json")
}

var noUnitName = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// Unit is the systemd unit of the scheduler for one kernel. (A release may have
// characters that a unit's name may not.)
func Unit(release string) string {
	return "plugsched-" + noUnitName.ReplaceAllString(release, "_") + ".service"
}

// Package is what an installed package says of itself.
type Package struct {
	Name    string `json:"name"`    // as dpkg and rpm know it
	Version string `json:"version"` // of the scheduler
	Release string `json:"release"` // uname -r of the kernel that it is for
	BuildID string `json:"build_id"`
	Module  string `json:"module"` // its name once it is loaded
	Commit  string `json:"commit,omitempty"`
	Tool    string `json:"tool"` // version of plugsched that built it

	Dir string `json:"-"` // where it was found
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
	if p.Name == "" || p.Release == "" || p.Module == "" {
		return nil, fmt.Errorf("%s is damaged (it lacks a name): install the package again", filepath.Join(dir, About))
	}
	return p, nil
}

// List returns the packages below root ("/" for this machine), in order of their
// kernels' releases. One that cannot be read is left out, and the error is about it.
func List(root string) ([]*Package, error) {
	dirs, err := filepath.Glob(filepath.Join(root, Dir, "*"))
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
		case !errors.Is(err, fs.ErrNotExist): // a directory with leftovers is no package
			errs = append(errs, err)
		}
	}
	return list, errors.Join(errs...)
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
