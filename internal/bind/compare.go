// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"fmt"
	"sort"
	"strings"

	"plugsched/internal/asm"
	"plugsched/internal/boundary"
)

// Refusal is one change that could not take effect, or not safely.
type Refusal struct {
	Name string // function, variable or structure
	File string // where it is declared, "" when unknown
	Line int
	Why  string
	Do   string // what to do instead
}

func (r Refusal) String() string {
	s := r.Name
	if r.File != "" {
		s = fmt.Sprintf("%s:%d: %s", r.File, r.Line, r.Name)
	}
	return s + " " + r.Why + "; " + r.Do
}

// Changes is the difference between the pristine and the edited unit.
type Changes struct {
	Changed  []string // functions whose code differs, and objects with new contents
	Added    []string
	Removed  []string
	Warnings []string
	Refusals []Refusal
}

// Compare holds an edited unit against the pristine one: every function whose
// code changed must be one that will really run.
func (p *Plan) Compare(pristine *asm.Unit) *Changes {
	c := &comparer{plan: p, old: pristine, out: &Changes{}}
	seen := map[*asm.Def]bool{}
	for _, d := range p.Source.Defs {
		was := c.counterpart(d)
		if was == nil {
			c.added(d)
			continue
		}
		seen[was] = true
		if p.Source.Normal(d) != pristine.Normal(was) {
			c.changed(d)
		}
	}
	for _, d := range pristine.Defs {
		if !seen[d] {
			c.removed(d)
		}
	}
	c.strays()
	c.folded()
	c.escaping()
	for _, l := range [][]string{c.out.Changed, c.out.Added, c.out.Removed, c.out.Warnings} {
		sort.Strings(l)
	}
	return c.out
}

type comparer struct {
	plan *Plan
	old  *asm.Unit
	out  *Changes
}

// uninteresting definitions have names that change with the line they are on.
func uninteresting(d *asm.Def) bool {
	return strings.HasPrefix(d.Name, "__UNIQUE_ID_") || d.Kind == asm.Object && numbered(d.Name)
}

func (c *comparer) counterpart(d *asm.Def) *asm.Def {
	name := d.Name
	if t, ok := c.plan.twins[name]; ok {
		name = t
	}
	return c.old.Lookup(name)
}

func (c *comparer) refuse(d *asm.Def, why, do string) {
	r := Refusal{Name: d.Name, Why: why, Do: do, File: c.plan.Unit}
	if f := c.plan.kernel.functions[key{d.Name, c.plan.Unit}]; f != nil {
		r.File, r.Line = f.DeclFile, f.DeclLine
	} else if o := c.plan.kernel.objects[key{d.Name, c.plan.Unit}]; o != nil {
		r.File, r.Line = o.DeclFile, o.DeclLine
	}
	c.out.Refusals = append(c.out.Refusals, r)
}

const (
	doSidecar  = "undo the change, or see `plugsched boundary why` for what would have to move"
	doInitHook = "undo the change, and do the work when the module is loaded instead"
	doPrivate  = "undo the change, or give the variable another name"
)

func (c *comparer) changed(d *asm.Def) {
	if _, inherited := c.plan.twins[d.Name]; uninteresting(d) && !inherited {
		return
	}
	c.out.Changed = append(c.out.Changed, d.Name)
	if s := c.plan.kernel.symbol(d.Name, c.plan.Unit); s != nil && d.Kind == asm.Object && c.plan.Fates[d] == New {
		c.resized(d, s.Size)
	}
	switch fate := c.plan.Fates[d]; {
	case fate == Keep || fate == Replace || fate == New:
	case initSection(d.Section):
		c.refuse(d, "is __init code or data: it ran at boot and will not run again", doInitHook)
	case d.Kind == asm.Object:
		c.refuse(d, "is a variable that the kernel already has: its new initial value would not take effect", doPrivate)
	default:
		c.refuse(d, "stays in the kernel ("+c.reason(d)+"), so that the change to its code would not take effect", doSidecar)
	}
}

// reason says why a function stays, and what else may have changed it.
func (c *comparer) reason(d *asm.Def) string {
	f := c.plan.kernel.functions[key{d.Name, c.plan.Unit}]
	if f == nil || len(f.Facts) == 0 {
		return "it is not the scheduler's"
	}
	why := "it " + f.Facts[0].Text
	if len(f.Inlines) > 0 {
		why += "; inlined into it: " + strings.Join(f.Inlines, ", ")
	}
	return why
}

func (c *comparer) added(d *asm.Def) {
	if uninteresting(d) || c.plan.Fates[d] == Drop && !kernelSection(d.Section) {
		return
	}
	c.out.Added = append(c.out.Added, d.Name)
	if !kernelSection(d.Section) {
		return
	}
	switch {
	case initSection(d.Section):
		c.refuse(d, "is new __init code or data: boot is over, it would never run", doInitHook)
	default:
		c.refuse(d, "is new in "+d.Section+", which the kernel reads at boot only", "undo the change")
	}
}

func (c *comparer) resized(d *asm.Def, was uint64) {
	c.out.Warnings = append(c.out.Warnings, fmt.Sprintf("%s: size changed from %d to %d bytes: the module has its own, its state is not inherited", d.Name, was, d.Size))
}

func (c *comparer) removed(d *asm.Def) {
	if uninteresting(d) || d.Kind == asm.Alias {
		return
	}
	c.out.Removed = append(c.out.Removed, d.Name)
	if d.Kind != asm.Func {
		return
	}
	f := c.plan.kernel.functions[key{d.Name, c.plan.Unit}]
	switch {
	case f == nil:
	case f.Class.Border():
		c.refuse(d, "is no longer a function of its own, but the kernel enters the scheduler through it",
			"keep it (an empty one will do), or mark it noinline")
	case f.Class == boundary.Init:
		c.refuse(d, "is __init code: it ran at boot and cannot be taken back", doInitHook)
	case f.Class == boundary.External && !f.Clone():
		c.refuse(d, "stays in the kernel ("+c.reason(d)+"), so that removing it would not take effect", doSidecar)
	}
}

func initSection(name string) bool {
	return strings.HasPrefix(name, ".init") || strings.HasPrefix(name, ".exit")
}

// strays looks at tables without definitions of their own (initcalls are one).
func (c *comparer) strays() {
	collect := func(u *asm.Unit) map[string]bool {
		m := map[string]bool{}
		u.StrayRefs(kernelSection, func(name string) { m[asm.Stem(name)] = true })
		return m
	}
	was := collect(c.old)
	for name := range collect(c.plan.Source) {
		if !was[name] {
			c.out.Refusals = append(c.out.Refusals, Refusal{Name: name, File: c.plan.Unit,
				Why: "is newly registered with the kernel at boot (initcall, tracepoint or the like), and boot is over", Do: doInitHook})
		}
	}
}

// folded looks at functions that gcc found to be equal and gave one body: the
// kernel has one address for all of them, so that they cannot go separate ways.
func (c *comparer) folded() {
	for _, f := range c.plan.kernel.Boundary.Functions {
		if f.Unit != c.plan.Unit || !f.Class.Moves() || len(f.Aliases) == 0 {
			continue
		}
		want, ok := c.code(f.Name)
		for _, alias := range f.Aliases {
			if got, ok2 := c.code(alias); ok && ok2 && got != want {
				c.out.Refusals = append(c.out.Refusals, Refusal{Name: alias, File: f.DeclFile, Line: f.DeclLine,
					Why: "now differs from " + f.Name + ", but the kernel has one body for both: it cannot tell them apart",
					Do:  "change both alike, or change their callers"})
			}
		}
	}
}

// code returns a function's code in normal form, following aliases.
func (c *comparer) code(name string) (string, bool) {
	d := c.plan.Source.Lookup(name)
	for range 4 {
		if d == nil || d.Kind != asm.Alias {
			break
		}
		d = c.plan.Source.Lookup(d.Target)
	}
	if d == nil || d.Kind != asm.Func {
		return "", false
	}
	_, body, _ := strings.Cut(c.plan.Source.Normal(d), "\n") // without the label
	return body, true
}

// escaping warns of functions that exist in the module only and whose address is
// taken: the kernel may still hold it when the module is gone.
func (c *comparer) escaping() {
	seen := map[string]bool{}
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
			c.out.Warnings = append(c.out.Warnings, name+": its address is the module's: nothing in the kernel may hold it when the scheduler is removed")
		})
	}
}

// takenBefore reports whether the pristine unit takes the address too.
func (c *comparer) takenBefore(name string) bool {
	taken := false
	for _, d := range c.old.Defs {
		c.old.Refs(d, func(n string, branch bool) { taken = taken || n == name && !branch })
	}
	return taken
}
