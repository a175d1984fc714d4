// SPDX-License-Identifier: BSD-3-Clause

package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/live"
	"plugsched/internal/outcome"
	"plugsched/scx"
)

// Update is what is about to be done.
type Update struct {
	Action  string             // a command's name
	Module  string             // that is to run; "": the running one is meant
	Package *installed.Package // that it is from, nil when not known
}

// BPFUpdate is what a command has done about schedulers in BPF.
type BPFUpdate struct {
	Name      string // of the scheduler; "" is the one that was asked for
	Direction string // as an entry's; "": nothing was changed, as also on an error
	Gap       time.Duration
	Reason    string // why, if there is something to say
}

// Snapshot is what the kernel says of schedulers in BPF, nil if it has none or cannot be asked.
func (l Log) Snapshot() *scx.Snapshot {
	s, err := l.Host.SCX()
	if err != nil {
		return nil
	}
	return s
}

// RecordBPF is Record for schedulers in BPF. The name is of the one that is asked for, "" of the one that runs, and p the package
// that it is from, nil if it is from none.
func (l Log) RecordBPF(action, name string, p *installed.Package, warn func(string), do func() (BPFUpdate, error)) error {
	if !l.Host.MaySysModule() {
		_, err := do()
		return err
	}
	r := &recorder{log: l, warn: warn, begun: live.Boottime()}
	before := l.shown()
	if name == "" {
		name = l.Host.BPF()
	}
	e := Entry{Action: action, BPF: name, Before: before, After: before}
	e.addPackage(l.Host.Root, p)
	r.note(e)
	done, err := do()
	e = r.ended(err)
	if e.After = l.shown(); done.Name != "" {
		e.BPF = done.Name
	}
	if err == nil {
		e.Direction, e.Gap, e.Error = done.Direction, done.Gap, shorten(done.Reason)
	}
	r.write(e)
	return err
}

// shown is whose scheduler runs, for an entry about BPF: where one in BPF began beside a module, that is meant.
func (l Log) shown() string {
	if name := l.Host.BPF(); name != "" {
		return name
	}
	name, _ := l.Host.Running() // "" if it cannot be told, as in other entries
	return name
}

// running is whose scheduler runs, a module's or one in BPF; "" is the kernel's own.
func (l Log) running() (string, error) {
	name, err := l.Host.Running()
	if err == nil && name == "" {
		name = l.Host.BPF()
	}
	return name, err
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
	e := Entry{Action: u.Action, Module: u.Module}
	if running, err := r.log.running(); err == nil {
		e.Before, e.After = running, running
	}
	if module, err := r.log.Host.Running(); err == nil && u.Module == "" {
		e.Module = module
	}
	e.addPackage(r.log.Host.Root, u.Package)
	r.note(e)
}

// note writes down that something has begun.
func (r *recorder) note(e Entry) {
	e.Time, e.BootID, e.Result = time.Now(), r.log.Host.BootID(), Begun
	e.Boottime, e.Begun = int64(r.begun), int64(r.begun)
	r.entry = e
	r.write(append(r.log.unnoticed(), e)...)
}

// ended is the entry of how it ended.
func (r *recorder) ended(err error) Entry {
	e := r.entry
	e.Time, e.Boottime, e.Result = time.Now(), int64(live.Boottime()), outcome.Of(err).String()
	if err != nil {
		e.Error = shorten(err.Error())
	}
	return e
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
	e := r.ended(err)
	if s == nil {
		s, _ = r.log.Host.Read()
	}
	if s != nil {
		if e.After = s.Name; e.After == "" {
			e.After = r.log.Host.BPF()
		}
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
// have, in order.
func (l Log) unnoticed() []Entry {
	list, err := l.Host.RolledBack()
	if err != nil {
		return nil
	}
	bpf, err := l.Host.SCX()
	if err != nil || bpf == nil {
		bpf = &scx.Snapshot{} // what is not known is not written
	}
	if len(list) == 0 && len(bpf.Ends) == 0 {
		return nil
	}
	running, err := l.running()
	if err != nil {
		return nil
	}
	known, _, _ := l.Read()
	boot := l.Host.BootID()
	out := ends(known, boot, bpf.Ends)
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
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(a.Boottime, b.Boottime) })
	return out
}

// ends returns what schedulers in BPF ended by, except for commands of ours, and what is known already. What ended while
// a command about it went on is the command's doing, which says so itself.
func ends(known []Entry, boot string, list []scx.End) (out []Entry) {
	for _, end := range list {
		if slices.ContainsFunc(known, func(k Entry) bool {
			return k.Direction != "" && (k.BPF == end.Name || k.Before == end.Name) && k.BootID == boot &&
				k.Begun <= end.At && end.At <= k.Boottime
		}) {
			continue
		}
		action := RolledBack
		if end.Unregistered() {
			action = Ended
		}
		out = append(out, Entry{Time: time.Now().Add(time.Duration(end.At) - live.Boottime()), BootID: boot, Boottime: end.At, Begun: end.At,
			Action: action, Result: outcome.Done.String(), Before: end.Name, BPF: end.Name, Direction: "remove", Error: shorten(end.String())})
	}
	return out
}

// All is Read, and what the kernel did by itself since the last entry.
func (l Log) All() (entries []Entry, damaged int, err error) {
	entries, damaged, err = l.Read()
	return append(entries, l.unnoticed()...), damaged, err
}
