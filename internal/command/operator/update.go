// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"fmt"
	"os"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/history"
	"plugsched/internal/operate/live"
)

// update runs whatever changes the running scheduler: each such command goes through
// here, so that the history has it. Action is the command's name. Module and p, the
// package, are what it is about; "" and nil when that is not known.
func update(action, module string, p *installed.Package, f func() (*live.Status, error)) (*live.Status, error) {
	warn := func(s string) { fmt.Fprintln(os.Stderr, s) }
	return history.Log{}.Record(history.Update{Action: action, Module: module, Package: p}, warn, f)
}
