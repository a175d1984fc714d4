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
	"plugsched/internal/operate/view"
	"plugsched/scx"
)

// machine is what the commands are about; tests make one up.
type machine struct {
	live.Host
	snapshot *scx.Snapshot // of one that is made up,
	broken   error         // or why there is none
}

// bpf is what the kernel says of schedulers in BPF, nil where it has none.
func (m machine) bpf() (*scx.Snapshot, error) {
	if m.snapshot != nil || m.broken != nil {
		return m.snapshot, m.broken
	}
	return m.SCX()
}

func (m machine) log() history.Log { return history.Log{Host: m.Host} }

// state is what is known about a machine's scheduler. What only root may read is left
// out for others.
type state struct {
	*live.Status
	// Schedulers are those that run, whichever way they came; none is the kernel's own.
	Schedulers []view.Scheduler `json:"schedulers"`
	LastEnd    *view.Ended      `json:"last_end,omitempty"` // of a scheduler in this boot, that the kernel knows of
	Since      time.Time        `json:"since,omitzero"`     // the scheduler runs, by the wall clock
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
	if err := m.ways(st, recent); err != nil {
		return nil, err
	}
	all, bad := installed.Usable(m.Root, s.Release)
	st.Installed = m.listed(all, s)
	for i := range st.Installed {
		// Two packages can have the same module: the selected one is meant then.
		// Where nothing of a package runs, a module that is selected comes before one in BPF.
		l := &st.Installed[i]
		if l.Runs && (!st.OfPackage || l.Selected) || l.Selected && !st.OfPackage && (l.BPF == nil || st.Package == nil) {
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

// ways finds out which schedulers run, since when, and how the last one ended.
func (m machine) ways(st *state, recent []history.Entry) error {
	b, bad := m.bpf()
	if bad != nil {
		// A module's scheduler is no less to be known of for that, and that one in BPF runs, too.
		b = &scx.Snapshot{State: "disabled"}
		if name := m.BPF(); name != "" {
			b = &scx.Snapshot{State: "enabled", Name: name, Owner: scx.Unknown}
		}
	}
	back, err := m.RolledBack()
	if err != nil {
		return err
	}
	since := time.Time{}
	if last := m.lastUpdate(st.Status, back, recent, b); last != 0 || !st.Active {
		since = view.Now(last) // 0 is the boot
	}
	st.Since = since
	st.Schedulers = view.Schedulers(st.Status, since, b, view.Now)
	for i := range st.Schedulers {
		if r := &st.Schedulers[i]; r.Way == view.BPF && bad != nil {
			r.Scope, r.Health = "", "it cannot be asked: "+bad.Error()
		}
	}
	if !st.Active && len(st.Schedulers) > 0 {
		st.Since = st.Schedulers[0].Since
	}
	st.LastEnd = view.LastEnd(back, b, view.Now)
	return nil
}

// lastUpdate is when the module's scheduler, or the kernel's own, became the running one: when the last update in this boot
// was, as far as modules that are still loaded, ends of BPF schedulers, and the history know. 0 is not known.
func (m machine) lastUpdate(s *live.Status, back []live.RolledBack, recent []history.Entry, b *scx.Snapshot) time.Duration {
	last := int64(0)
	if s.Timings != nil {
		last = s.Timings.Finished
	}
	for _, w := range back {
		if w.Timings != nil {
			last = max(last, w.Timings.Finished)
		}
	}
	if b != nil && !s.Active {
		for _, e := range b.Ends {
			last = max(last, e.At)
		}
	}
	id := m.BootID()
	for _, e := range recent {
		if e.BootID == id && e.Direction != "" && (e.BPF == "" || !s.Active) {
			last = max(last, e.Boottime)
		}
	}
	return time.Duration(last)
}
