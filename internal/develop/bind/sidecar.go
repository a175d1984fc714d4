// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"slices"
	"strings"

	"plugsched/internal/develop/asm"
)

// sidecar reports a unit outside of the scheduler, of which only the functions
// that the project names move.
func (p *Plan) sidecar() bool { return slices.Contains(p.kernel.Boundary.Sidecars, p.Unit) }

// instead says what to do about a change of a function that stays.
func (c *comparer) instead(d *asm.Def) string {
	f := c.plan.kernel.functions[key{d.Name, c.plan.Unit}]
	switch {
	case f != nil && !f.Sidecar && c.plan.sidecar():
		return doSidecar(c.plan.Unit + ":" + c.plan.kernel.Arch.SyscallName(f.Base))
	case f != nil && f.Movable != "":
		return doSidecar(f.Movable)
	}
	return doStay
}

// doSidecar is the advice for what moves as one or several sidecars.
func doSidecar(list ...string) string {
	return "name it as a sidecar: `plugsched build --sidecar " + strings.Join(list, " --sidecar ") + " .` (docs/develop/sidecar.md)"
}

// movable returns the sidecars as which all of the named functions move, nil if one does not.
func (c *comparer) movable(names []string) (out []string) {
	for _, name := range names {
		f := c.plan.kernel.functions[key{name, c.plan.Unit}]
		if f == nil || f.Movable == "" {
			return nil
		}
		out = append(out, f.Movable)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
