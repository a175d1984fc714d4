// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"slices"

	"plugsched/internal/develop/asm"
)

// sidecar reports a unit outside of the scheduler, of which only the functions
// that the project names move.
func (p *Plan) sidecar() bool { return slices.Contains(p.kernel.Boundary.Sidecars, p.Unit) }

const doSidecar = "undo the change, or name it under sidecar in plugsched.yaml too"

// instead says what to do about a change of a function that stays.
func (c *comparer) instead(d *asm.Def) string {
	if f := c.plan.kernel.functions[key{d.Name, c.plan.Unit}]; f != nil && !f.Sidecar && c.plan.sidecar() {
		return doSidecar
	}
	return doStay
}
