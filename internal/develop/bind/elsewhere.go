// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/symbols"
)

// Elsewhere is what can be done about a change of code outside of the scheduler, in a file that is no
// sidecar's.
type Elsewhere struct {
	*edits.Change
	// Sidecars are the functions that would have to move, FILE:FUNCTION; nil if that is no way.
	Sidecars []string
	// Hook says that plugsched_init() can do it instead.
	Hook    bool
	Why, Do string
}

// Compiled reports a file of which the kernel's image has code.
func (k *Kernel) Compiled(file string) bool {
	return slices.ContainsFunc(k.Symbols.Symbols, func(s symbols.Symbol) bool { return s.Unit == file })
}

// Elsewhere judges the changes of a file that the kernel's image has code of. unit is what it is compiled as: itself, or
// a file that includes it. text is as the kernel has it. What goes along with another change, as a new function or a macro,
// makes none of its own.
func (k *Kernel) Elsewhere(file, unit, text string, src *edits.Set) (out []Elsewhere) {
	for _, c := range src.Changes {
		e := Elsewhere{Change: c}
		made := slices.IndexFunc(registrations, func(r registration) bool { return r.made(c) })
		switch {
		case c.Kind == edits.Call && made >= 0, c.Kind == edits.Function && c.New && made >= 0:
			r := registrations[made].refusal(c)
			e.Why, e.Do, e.Hook = r.Name+" "+r.Why, r.Do, r.Do == doInitHook
		case c.New || c.Gone:
			continue
		case c.Kind == edits.Function:
			k.otherFunction(file, unit, text, &e)
		case c.Kind == edits.Variable:
			otherVariable(&e)
		default:
			continue
		}
		out = append(out, e)
	}
	return out
}

// otherFunction is one whose code changes: it can come along, unless it ran at boot.
func (k *Kernel) otherFunction(file, unit, text string, e *Elsewhere) {
	s := k.entry(unit, e.Name)
	switch {
	case s != nil && s.Init:
		e.Hook, e.Why, e.Do = true, e.Name+" is __init code: it ran at boot and will not run again", doInitHook
		return
	case unit != file: // a sidecar is compiled on its own
		e.Why, e.Do = e.Name+" is outside of the scheduler, in a file that "+unit+" includes", "make the change in functions that move"
		return
	case s != nil:
		e.Sidecars = []string{file + ":" + e.Name}
	default:
		e.Sidecars = k.hosts(file, text, e.Name)
	}
	e.Why = e.Name + " is outside of the scheduler"
	switch {
	case len(e.Sidecars) == 0:
		e.Why += ", and no function of the kernel's that its file has holds its code"
		e.Do = "make the change in functions that move"
	case s == nil:
		e.Why += ", and the compiler inlined it"
		fallthrough
	default:
		e.Do = doSidecar(e.Sidecars...)
	}
}

// entry is the symbol of a function of a file, or of a system call of that name.
func (k *Kernel) entry(file, name string) *symbols.Symbol {
	for i := range k.Symbols.Symbols {
		s := &k.Symbols.Symbols[i]
		if s.Unit == file && s.Kind == symbols.Func && (k.sourceName(s.Name) == name || k.Arch.SyscallName(s.Name) == name) {
			return s
		}
	}
	return nil
}

// hosts are the functions with symbols that lead to one without: what it was inlined into, by the text.
func (k *Kernel) hosts(file, text, name string) (out []string) {
	items := edits.Scan(file, text)
	seen := map[string]bool{name: true}
	for work := []string{name}; len(work) > 0; work = work[1:] {
		for _, it := range items {
			if it.Kind != edits.Function || seen[it.Name] || !it.Mentions(work[0]) {
				continue
			}
			seen[it.Name] = true
			if s := k.entry(file, it.Name); s == nil {
				work = append(work, it.Name)
			} else if !s.Init {
				out = append(out, file+":"+it.Name)
			}
		}
	}
	slices.Sort(out)
	return out
}

var tableRE = regexp.MustCompile(`\bstruct \w+`)

// otherVariable is one whose initial value changes: what the kernel made of it at boot is as it was.
func otherVariable(e *Elsewhere) {
	e.Hook = true
	e.Why = e.Name + " is a variable that the kernel has had since boot: its new initial value would be ignored"
	e.Do = "set it in plugsched_init(), and put back what was there in plugsched_exit() (docs/develop/hooks.md)"
	var head []string
	e.Words(func(w string) bool { head = append(head, w); return w != e.Name })
	typ := tableRE.FindString(strings.Join(head, " "))
	for _, t := range registeredTables {
		if t.typ != typ {
			continue
		}
		e.Why = fmt.Sprintf("%s is a table that the kernel was told of at boot", e.Name)
		e.Do = fmt.Sprintf("put what is new into a table of your own, and make it known in plugsched_init() by %s, until plugsched_exit(): %s "+
			"(docs/develop/hooks.md#tables)", t.register, t.end)
		if t.register == "" {
			e.Hook, e.Do = false, "change the functions that it names: those that move take effect"
		}
		return
	}
}
