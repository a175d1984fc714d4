// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"fmt"
	"slices"
	"strings"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/edits"
)

// exitHook is what ends before a module goes (runtime/api.h).
const exitHook = "plugsched_exit"

// escaping warns of functions that exist in the module only and whose address is taken: the
// kernel may still hold it when the module is gone. Of what plugsched_exit() takes away, it does not.
func (c *comparer) escaping() {
	seen, k := map[string]bool{}, c.plan.kernel
	for _, d := range c.plan.Source.Defs {
		if c.plan.Fates[d] == Drop || c.plan.Fates[d] == Replace {
			continue
		}
		c.plan.Source.Refs(d, func(name string, branch bool) {
			target := c.plan.Source.Lookup(name)
			if branch || seen[name] || target == nil || target == d || target.Kind != asm.Func || c.plan.refer(d, name, false) != name {
				return
			}
			if f := c.plan.Fates[target]; f != New && f != Keep || c.old.Lookup(name) != nil && c.takenBefore(name) {
				return
			}
			seen[name] = true
			if k.ends(c.src).all(k, k.sourceName(name), map[string]bool{}) {
				return
			}
			c.out.Warnings = append(c.out.Warnings, c.where(target)+name+
				": its address is the module's: nothing in the kernel may hold it when the scheduler is removed")
		})
	}
}

// where is FILE:LINE of a definition, as refusals have it, with what separates it from the rest.
func (c *comparer) where(d *asm.Def) string {
	file, line := c.place(d)
	if e := c.src.Find(c.plan.kernel.sourceName(d.Name), edits.Function, edits.Variable); e != nil && !e.Gone {
		file, line = e.File, e.At
	}
	if line == 0 {
		return file + ": "
	}
	return fmt.Sprintf("%s:%d: ", file, line)
}

// takenBefore reports whether the pristine unit takes the address too.
func (c *comparer) takenBefore(name string) bool {
	taken := false
	for _, d := range c.old.Defs {
		c.old.Refs(d, func(n string, branch bool) { taken = taken || n == name && !branch })
	}
	return taken
}

// endings is what plugsched_exit() ends, as far as the source shows it.
type endings struct {
	src *edits.Set
	// things are new variables, functions whose addresses it gives away, and string literals (a
	// file's name, for one), that it and new functions that it uses name; and what is guarded.
	things map[string]bool
	takers map[string][]*asm.Def // of an address, by the source's name for what is there
}

// ends works that out once for all units. Nothing is ended without a hook.
func (k *Kernel) ends(src *edits.Set) *endings {
	if k.endings != nil {
		return k.endings
	}
	k.endings = &endings{src: src, things: map[string]bool{}, takers: map[string][]*asm.Def{}}
	k.endings.name(exitHook, map[string]bool{})
	k.endings.guarded()
	for _, u := range k.edited {
		for _, d := range u.Defs {
			u.Refs(d, func(name string, branch bool) {
				if n := k.sourceName(name); !branch && u.Lookup(name) != d {
					k.endings.takers[n] = append(k.endings.takers[n], d)
				}
			})
		}
	}
	return k.endings
}

// guarded notes new variables that nothing can lead to when the module goes: what has it for its
// owner keeps it loaded, and out of a scheduling class of its own tasks are taken before.
func (e *endings) guarded() {
	hook := e.src.Find(leavingHook, edits.Function)
	for _, c := range e.src.Changes {
		if c.Kind != edits.Variable || !c.New {
			continue
		}
		class := false
		c.Words(func(word string) bool {
			class = word == strings.TrimPrefix(classType, "struct ")
			return !class
		})
		if class && hook != nil && !hook.Gone || slices.Contains(e.src.Designated(c.Name, "THIS_MODULE"), "owner") {
			e.things[c.Name] = true
		}
	}
}

// name notes what a new function names.
func (e *endings) name(function string, seen map[string]bool) {
	if seen[function] {
		return
	}
	seen[function] = true
	for _, c := range e.src.Changes {
		if c.Kind != edits.Function || c.Name != function || !c.New {
			continue
		}
		for s := range c.Statements() {
			for i, word := range s {
				switch to := e.src.Find(word, edits.Variable, edits.Function, edits.Call); {
				case strings.HasPrefix(word, `"`):
					e.things[word] = true
				case to == nil || !to.New:
				case to.Kind == edits.Function:
					e.name(word, seen)
					if i+1 == len(s) || s[i+1] != "(" { // it is told to somebody, to be forgotten
						e.things[word] = true
					}
				default:
					e.things[word] = true
				}
			}
		}
	}
}

// all reports that whoever takes an address does so for something that is ended: a variable
// that is, or in a statement that names something that is.
func (e *endings) all(k *Kernel, name string, seen map[string]bool) bool {
	if e.things[name] {
		return true
	}
	if seen[name] || len(e.takers[name]) == 0 {
		return false
	}
	seen[name] = true
	for _, d := range e.takers[name] {
		by := k.sourceName(d.Name)
		written := d.Kind == asm.Func && e.src.Find(by, edits.Function) != nil // and not made by a macro, from a part of its name
		if written && !e.stated(name) || !written && !e.all(k, by, seen) {
			return false
		}
	}
	return true
}

// stated reports that all statements that use a name, other than to call it, name something
// that is ended.
func (e *endings) stated(name string) bool {
	found := false
	for _, c := range e.src.Changes {
		if c.Kind != edits.Function || c.Gone {
			continue
		}
		for s := range c.Statements() {
			i := slices.Index(s, name)
			if i < 0 || c.Name == name || i+1 < len(s) && s[i+1] == "(" {
				continue
			}
			found = true
			if !slices.ContainsFunc(s, func(word string) bool { return e.things[word] }) {
				return false
			}
		}
	}
	return found
}
