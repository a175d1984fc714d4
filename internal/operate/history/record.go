// SPDX-License-Identifier: BSD-3-Clause

package history

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/live"
	"plugsched/internal/outcome"
)

// Update is what is about to be done.
type Update struct {
	Action  string             // a command's name
	Module  string             // that is to run; "": the running one is meant
	Package *installed.Package // that it is from, nil when not known
}

// Record does something that may change the running scheduler, and writes down what
// became of it: before, that it has begun, and afterwards how it ended. If the history
// cannot be written, warn is told so, once; the update is not touched by it.
func (l Log) Record(u Update, warn func(string), do func() (*live.Status, error)) (*live.Status, error) {
	if !l.Host.MaySysModule() {
		return do() // which is refused
	}
	r := &recorder{log: l, warn: warn, begun: live.Boottime()}
	r.begin(u)
	s, err := do()
	r.end(s, err)
	return s, err
}

type recorder struct {
	log   Log
	warn  func(string) // nil when it was told
	begun time.Duration
	entry Entry
}

func (r *recorder) write(entries ...Entry) {
	err := r.log.append(entries...)
	if err != nil && r.warn != nil {
		r.warn(fmt.Sprintf("warning: the history (%s) is not written: %v", r.log.path(file), err))
		r.warn = nil
	}
}

func (r *recorder) begin(u Update) {
	r.entry = Entry{Time: time.Now(), BootID: r.log.Host.BootID(), Boottime: int64(r.begun), Begun: int64(r.begun), Action: u.Action,
		Result: Begun, Module: u.Module}
	if running, err := r.log.Host.Running(); err == nil {
		r.entry.Before, r.entry.After = running, running
	}
	if u.Module == "" {
		r.entry.Module = r.entry.Before
	}
	r.entry.addPackage(r.log.Host.Root, u.Package)
	r.write(append(r.log.unnoticed(), r.entry)...)
}

// addPackage names the package that the module is from, if any is.
func (e *Entry) addPackage(root string, p *installed.Package) {
	if p == nil && e.Module != "" {
		p, _ = installed.ForModule(root, e.Module)
	}
	if p != nil {
		e.Package, e.Version = p.Name, p.Version
	}
}

func (r *recorder) end(s *live.Status, err error) {
	e := r.entry
	e.Time, e.Boottime, e.Result = time.Now(), int64(live.Boottime()), outcome.Of(err).String()
	if err != nil {
		e.Error = shorten(err.Error())
	}
	if s == nil {
		s, _ = r.log.Host.Read()
	}
	if s != nil {
		e.After = s.Name
		if t := s.Timings; t != nil && t.Finished >= int64(r.begun) {
			e.Boottime, e.Direction, e.Downtime = t.Finished, t.Direction, time.Duration(t.StopMachine)
		}
	}
	r.write(e)
}

func shorten(text string) string {
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + " ..."
	}
	return text
}

// unnoticed returns the updates that the kernel did by itself and that the log does not
// have.
func (l Log) unnoticed() []Entry {
	list, err := l.Host.RolledBack()
	if err != nil || len(list) == 0 {
		return nil
	}
	running, err := l.Host.Running()
	if err != nil {
		return nil
	}
	known, _, _ := l.Read()
	boot := l.Host.BootID()
	var out []Entry
	for _, w := range list {
		t := w.Timings
		if t == nil {
			continue // right now
		}
		e := Entry{Time: time.Now().Add(time.Duration(t.Finished) - live.Boottime()), BootID: boot, Boottime: t.Finished, Begun: t.Finished,
			Action: RolledBack, Result: outcome.Done.String(), Before: w.Name, After: running, Module: w.Name,
			Direction: t.Direction, Downtime: time.Duration(t.StopMachine), Error: shorten(w.Reason)}
		e.addPackage(l.Host.Root, nil)
		if !slices.ContainsFunc(known, func(k Entry) bool {
			return k.Action == RolledBack && k.BootID == boot && k.Module == e.Module && k.Boottime == e.Boottime
		}) {
			out = append(out, e)
		}
	}
	return out
}

// All is Read, and what the kernel did by itself since the last entry.
func (l Log) All() (entries []Entry, damaged int, err error) {
	entries, damaged, err = l.Read()
	return append(entries, l.unnoticed()...), damaged, err
}
