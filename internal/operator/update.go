// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"plugsched/internal/installed"
	"plugsched/internal/live"
)

// update runs whatever changes the running scheduler: each such command goes through
// here. Action is the command's name. Module and p, the package, are what it is about; "" and
// nil when that is not known.
func update(action, module string, p *installed.Package, f func() (*live.Status, error)) (*live.Status, error) {
	return f()
}
