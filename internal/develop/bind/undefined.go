// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"slices"
	"strings"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/edits"
)

// RuntimePrefix begins the runtime's names.
const RuntimePrefix = "plugsched_"

// modules are symbols that the module loader's build gives to every module (scripts/mod/modpost.c,
// add_header()).
var modules = []string{"__this_module", "init_module", "cleanup_module"}

// CompareUndefined refuses names that nothing defines: neither the units nor this kernel.
// undefined are those of the edited units' objects, by unit.
func (k *Kernel) CompareUndefined(undefined map[string][]string, src *edits.Set) []Refusal {
	before := map[string]bool{}
	for _, u := range k.pristine {
		for _, d := range u.Defs {
			u.Refs(d, func(name string, _ bool) { before[name] = true })
		}
	}
	var out []Refusal
	for _, unit := range unitNames(k.edited) {
		for _, name := range undefined[unit] {
			if before[name] || slices.Contains(offered, name) || slices.Contains(modules, name) || k.find(name) != nil {
				continue
			}
			if _, d := defines(k.edited, name); d != nil {
				continue
			}
			if by := k.edited[unit].User(name); by != nil {
				out = append(out, k.undefinedName(name, by, unit, src))
			}
		}
	}
	return out
}

// BoundLater reports an undefined name of a bound unit that the module defines elsewhere: the
// runtime and what is generated do, and the module loader's build.
func BoundLater(name string) bool {
	return strings.HasPrefix(name, RuntimePrefix) || slices.Contains(modules, name)
}

const doBringAlong = "undo the change, or bring along what it needs, in the scheduler's files and by a name of its own"

// Unresolved refuses what Resolve does not find: of some uses only the code tells.
func Unresolved(missing, gone []string, src *edits.Set) (out []Refusal) {
	for _, name := range missing {
		out = append(out, Refusal{Class: Undefined, Name: name, Do: doBringAlong,
			Why: "is used, and this kernel has no such function or variable"})
	}
	for _, name := range gone {
		out = append(out, Refusal{Class: Init, Name: name, Why: "is used, and is gone since boot (it is __init code or data)",
			Do: "undo the change, or bring along a copy of it by a name of its own"})
	}
	for i := range out {
		out[i].atUse("", src)
	}
	return out
}

// undefinedName is the refusal of a name that a definition uses.
func (k *Kernel) undefinedName(name string, by *asm.Def, unit string, src *edits.Set) Refusal {
	user := k.sourceName(by.Name)
	r := Refusal{Class: Undefined, Name: name, File: unit, Why: "is used by " + user + ", and this kernel has no such function or variable",
		Do: doBringAlong}
	r.atUse(user, src)
	return r
}

// atUse gives the refusal of a name the place where user, or what is inlined into it, uses it, if
// the edits show it. Without a user, it is the first that does.
func (r *Refusal) atUse(user string, src *edits.Set) {
	changes := src.Changes // a header's inline function, for one, is where it is written
	if e := src.Find(user, edits.Function, edits.Variable, edits.Call); user != "" && e != nil && !e.Gone {
		r.File, r.Line = e.File, e.At
		changes = slices.Concat([]*edits.Change{e}, changes)
	}
	for _, e := range changes {
		if line := e.LineOf(r.Name); line > 0 && !e.Gone {
			r.File, r.Line = e.File, line
			return
		}
	}
}
