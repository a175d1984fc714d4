// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"errors"
	"io/fs"
	"time"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/boot"
	"plugsched/internal/operate/history"
	"plugsched/internal/operate/live"
)

// machine is what the commands are about; tests make one up.
type machine struct{ live.Host }

func (m machine) log() history.Log { return history.Log{Host: m.Host} }

// state is what is known about a machine's scheduler. What only root may read is left
// out for others.
type state struct {
	*live.Status
	Since time.Time `json:"since,omitzero"` // that scheduler runs, by the wall clock
	// Package is the one that the running scheduler is of, or else the one that is selected for the running kernel.
	Package *installed.Package `json:"package,omitempty"`
	// OfPackage: the running scheduler is the package's.
	OfPackage bool `json:"of_package"`
	// Installed are all packages for the running kernel.
	Installed []listed `json:"installed,omitempty"`
	// Guard says why the package's scheduler is not loaded at boot any more.
	Guard string `json:"guard,omitempty"`
}

// read asks the kernel, and then the disk.
func (m machine) read() (*state, error) {
	s, err := m.Read()
	if err != nil {
		return nil, err
	}
	return m.about(s)
}

// about adds to a status what the disk says.
func (m machine) about(s *live.Status) (*state, error) {
	st := &state{Status: s}
	recent, err := m.log().Recent()
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	if st.Since, err = m.since(s, recent); err != nil {
		return nil, err
	}
	all, bad := installed.ForKernel(m.Root, s.Release)
	st.Installed = m.listed(all, s)
	for i := range st.Installed {
		// Two packages can have the same module: the selected one is meant then.
		if l := &st.Installed[i]; l.Runs && (!st.OfPackage || l.Selected) || l.Selected && !st.OfPackage {
			st.Package, st.OfPackage, st.Guard = l.Package, l.Runs, l.Guard
		}
	}
	if st.Package == nil && bad != nil {
		return nil, bad // it may be the one
	}
	return st, nil
}

// guard says what keeps a package's scheduler from being loaded at boot, "" when
// nothing does, or when only root may know.
func (m machine) guard(p *installed.Package) string {
	g, err := boot.ReadGuard(m.Root, p)
	if errors.Is(err, fs.ErrPermission) {
		return ""
	}
	if err != nil {
		return err.Error()
	}
	return g.Tripped(p.Module, m.BootID())
}

// since is when the running scheduler became it: when the last update in this boot was,
// as far as modules that are still loaded and the history know.
func (m machine) since(s *live.Status, recent []history.Entry) (time.Time, error) {
	last := int64(0)
	if s.Timings != nil {
		last = s.Timings.Finished
	}
	back, err := m.RolledBack()
	if err != nil {
		return time.Time{}, err
	}
	for _, w := range back {
		if w.Timings != nil {
			last = max(last, w.Timings.Finished)
		}
	}
	id := m.BootID()
	for _, e := range recent {
		if e.BootID == id && e.Direction != "" {
			last = max(last, e.Boottime)
		}
	}
	if last == 0 && s.Active {
		return time.Time{}, nil
	}
	return time.Now().Add(time.Duration(last) - live.Boottime()), nil // 0 is the boot
}
