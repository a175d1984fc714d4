// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"fmt"
	"os"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/boot"
	"plugsched/internal/operate/history"
	"plugsched/internal/operate/live"
)

// update runs whatever changes the running scheduler: each such command goes through
// here, so that the history has it. Action is the command's name. Module and p, the
// package, are what it is about; "" and nil when that is not known.
func update(action, module string, p *installed.Package, f func() (*live.Status, error)) (*live.Status, error) {
	if p != nil && p.BPF != nil {
		return updateBPFPackage(action, p, f)
	}
	warn := func(s string) { fmt.Fprintln(os.Stderr, s) }
	return history.Log{}.Record(history.Update{Action: action, Module: module, Package: p}, warn, f)
}

// updateBPFPackage is update for the package of a scheduler in BPF. Its steps keep others away themselves, so that one can be
// rejected while it is watched.
func updateBPFPackage(action string, p *installed.Package, f func() (*live.Status, error)) (s *live.Status, err error) {
	warn := func(s string) { fmt.Fprintln(os.Stderr, s) }
	log := history.Log{}
	before := boot.BPFRuns(log.Snapshot())
	return s, log.RecordBPF(action, p.BPF.Name, p, warn, func() (done history.BPFUpdate, err error) {
		if s, err = f(); err != nil || s == nil {
			return done, err
		}
		switch {
		case s.Name == before:
		case s.Name == "":
			done.Direction = "remove"
		case before == "":
			done.Direction = "install"
		default:
			done.Direction = "replace"
		}
		return done, nil
	})
}
