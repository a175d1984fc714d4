// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/symbols"
)

// Changes is the difference between the pristine and the edited unit.
type Changes struct {
	Changed  []string // functions whose code differs, and objects with new contents
	Added    []string
	Removed  []string
	Warnings []string
	Refusals []Refusal
	Holes    []Hole // of structures that the kernel has too, sorted once they are bound
	// Unseen are edits that the compiler does not see: warnings beside an edit that it sees,
	// and refusals if there is none.
	Unseen []Refusal

	holders []editHolder // of edits, until all units are bound
}

// Compare holds an edited unit against the pristine one: every function whose
// code changed must be one that will really run. src says where in the source the
// developer made changes.
func (p *Plan) Compare(src *edits.Set) *Changes {
	c := &comparer{plan: p, old: p.old, src: src, out: &Changes{}, inlined: map[*edits.Change][]copied{}}
	seen := map[*asm.Def]bool{}
	for _, d := range p.Source.Defs {
		u, was := c.counterpart(d)
		if was == nil {
			c.added(d)
			continue
		}
		seen[was] = true
		is, before := p.Source.Normal(d), u.Normal(was)
		if (is != before || perCPU(d.Section) != perCPU(was.Section)) && !c.owned(d, is, before) {
			c.changed(d)
		}
	}
	for _, d := range c.old.Defs {
		if !seen[d] {
			c.removed(d)
		}
	}
	c.strays()
	c.holders()
	c.inlines()
	c.folded()
	c.forgotten()
	c.escaping()
	c.sections()
	c.gone()
	c.switches()
	for _, l := range [][]string{c.out.Changed, c.out.Added, c.out.Removed, c.out.Warnings} {
		sort.Strings(l)
	}
	return c.out
}

type comparer struct {
	plan *Plan
	old  *asm.Unit
	src  *edits.Set
	out  *Changes
	// inlined are changes of source functions to the functions that stay and have
	// them inlined.
	inlined map[*edits.Change][]copied
}

// copied is a function that stays, whose code changed, and that has a changed function inlined.
type copied struct {
	name   string
	others []string // what else can have made its code differ
	layout bool     // a structure that it uses changed, and its code differs in numbers only
}

// uninteresting definitions have names that change with the line they are on, or are the
// compiler's own, such as what UBSAN says of a line.
func uninteresting(d *asm.Def) bool {
	return strings.HasPrefix(d.Name, ".L") || strings.HasPrefix(d.Name, "__UNIQUE_ID_") || d.Kind == asm.Object && numbered(d.Name)
}

// counterpart returns a definition as the kernel has it, and its unit: another one
// if the developer moved it.
func (c *comparer) counterpart(d *asm.Def) (*asm.Unit, *asm.Def) {
	name := d.Name
	if t, ok := c.plan.twins[name]; ok {
		name = t
	}
	if was := c.old.Lookup(name); was != nil {
		return c.old, was
	}
	if d.Global && !d.Weak {
		if unit, was := defines(c.plan.kernel.pristine, name); was != nil {
			return c.plan.kernel.pristine[unit], was
		}
	}
	return nil, nil
}

// place is where a definition is declared, as far as the kernel knows it.
func (c *comparer) place(d *asm.Def) (file string, line int) {
	if f := c.plan.kernel.functions[key{d.Name, c.plan.Unit}]; f != nil {
		return f.DeclFile, f.DeclLine
	}
	if o := c.plan.kernel.objects[key{d.Name, c.plan.Unit}]; o != nil {
		return o.DeclFile, o.DeclLine
	}
	return c.plan.Unit, 0
}

// refuse refuses what was done to a definition. The line is that of the change if
// the source shows it.
func (c *comparer) refuse(class Class, d *asm.Def, why, do string) {
	r := Refusal{Class: class, Name: d.Name, Why: why, Do: do}
	r.File, r.Line = c.place(d)
	kinds := []edits.Kind{edits.Variable}
	if d.Kind == asm.Func {
		kinds = []edits.Kind{edits.Function}
	}
	if e := c.src.Find(c.plan.kernel.sourceName(d.Name), kinds...); e != nil && !e.Gone {
		r.File, r.Line = e.File, e.At
	}
	c.out.Refusals = append(c.out.Refusals, r)
}

const (
	doStay     = "undo the change, or make it in a function that moves: `plugsched boundary why` shows who calls this one"
	doInitHook = "undo the change, and do the work in plugsched_init() (docs/develop/hooks.md)"
	doValue    = "undo the change, and set it in plugsched_init() (docs/develop/hooks.md), or give the variable another name"
	doVariable = "undo the change, or give the variable another name and change whoever uses it"
)

func (c *comparer) changed(d *asm.Def) {
	if _, inherited := c.plan.twins[d.Name]; uninteresting(d) && !inherited {
		return
	}
	fate := c.plan.Fates[d]
	if runs := fate == Keep || fate == Replace || fate == New; runs || !initSection(d.Section) {
		c.out.Changed = append(c.out.Changed, d.Name)
	}
	if s := c.plan.kernel.symbol(d.Name, c.plan.Unit); s != nil && d.Kind == asm.Object && fate == New {
		c.separated(d, s.Size)
	}
	switch {
	case fate == Keep || fate == Replace || fate == New:
	case initSection(d.Section):
		c.booted(d)
	case d.Kind == asm.Object:
		c.refuse(Value, d, "is a variable that the kernel already has: its new initial value would not take effect",
			cmp.Or(c.registerAdvice(d, c.plan.kernel.reader(d.Name, c.plan.Unit)), doValue))
	default:
		c.stays(d)
	}
}

// causes are the edits that can have made a function's code differ.
func (c *comparer) causes(d *asm.Def) []edits.Cause {
	name := c.plan.kernel.sourceName(d.Name)
	return c.src.Causes(name, func(inner string) bool { return c.plan.kernel.holdsCopy(c.plan.Unit, name, inner) })
}

// booted refuses a change of what ran at boot. If only something that it uses
// changed, then the state that it left is what the old code left everywhere.
func (c *comparer) booted(d *asm.Def) {
	own := d.Kind != asm.Func || !c.src.Knows(c.plan.kernel.sourceName(d.Name))
	edited := false
	used := ""
	for _, e := range c.causes(d) {
		edited = edited || e.Path == nil
		used = " " + e.Name
	}
	if own || edited {
		c.refuse(Init, d, "is __init code or data: it ran at boot and will not run again", doInitHook)
		if d.Kind == asm.Func && !edited {
			c.out.Refusals[len(c.out.Refusals)-1].Unexplained = c.plan.Unit
		}
	} else if used != "" {
		c.out.Warnings = append(c.out.Warnings, d.Name+": ran at boot with the old"+used)
	}
}

// stays refuses a function that stays and whose code changed, and says which edits
// can have changed it. Its own edit has for sure, a structure only if nothing else has.
func (c *comparer) stays(d *asm.Def) {
	var functions, used []edits.Cause
	var own, structure *edits.Cause
	for _, e := range c.causes(d) {
		switch {
		case e.Path == nil:
			own = &e
			c.refuse(Stays, d, "stays in the kernel ("+c.reason(d)+"), so that the change to its code would not take effect", c.instead(d))
		case e.Kind == edits.Function:
			functions = append(functions, e)
		case e.Kind != edits.Type:
			used = append(used, e)
		case structure == nil:
			structure = &e
		}
	}
	for _, e := range functions {
		in := copied{name: d.Name, layout: structure != nil && c.onlyNumbers(d)}
		if own != nil {
			in.others = append(in.others, own.Name)
		}
		for _, o := range slices.Concat(functions, used) {
			if o.Change != e.Change {
				in.others = append(in.others, o.Name)
			}
		}
		c.inlined[e.Change] = append(c.inlined[e.Change], in)
	}
	switch {
	case own != nil || len(functions) > 0:
	case len(used) > 0:
		c.affected(d, &used[0], used[1:])
	default:
		c.affected(d, structure, nil)
	}
}

// number is a constant in assembly, with what stands for it where it is not written because
// it is 0.
var number = regexp.MustCompile(`,?\s*[$#]?-?\b(0x[0-9a-f]+|[0-9]+)\b`)

// onlyNumbers reports a function whose code differs from the kernel's in distances and other
// numbers, as it does when members of a structure have moved.
func (c *comparer) onlyNumbers(d *asm.Def) bool {
	unit, was := c.counterpart(d)
	return was != nil && number.ReplaceAllString(c.plan.Source.Normal(d), "") == number.ReplaceAllString(unit.Normal(was), "")
}

// affected refuses a function that stays and whose code changed because of what it
// uses, nil if nothing of that was found in the source. others can be the reason as well.
func (c *comparer) affected(d *asm.Def, e *edits.Cause, others []edits.Cause) {
	r := Refusal{Class: Stays, Name: d.Name, Derived: true}
	r.File, r.Line = c.place(d)
	if e == nil {
		r.Why = "stays in the kernel (" + c.reason(d) + "), and its code changed although its source did not: gcc inlined or split something differently"
		r.Do = "mark what you changed near it noinline"
		r.Unexplained = c.plan.Unit
	} else {
		r.File, r.Line, r.Derived = e.File, e.At, e.Kind == edits.Type || !c.plan.kernel.Boundary.Owns(e.File)
		var names []string
		for _, o := range others {
			names = append(names, o.Name)
		}
		r.Why = fmt.Sprintf("stays in the kernel (%s) and uses %s (%s), which changed: it would go on with the old one%s", c.reason(d),
			strings.Join(e.Path, ", "), e.Kind, perhaps(names))
		r.Do = "undo the change, or give the new " + string(e.Kind) + " a name of its own"
	}
	if list := c.movable([]string{d.Name}); len(list) > 0 {
		r.Do += ", or " + doSidecar(list...)
	}
	c.out.Refusals = append(c.out.Refusals, r)
}

// inlines refuses changes of functions that are inlined into some that stay.
func (c *comparer) inlines() {
	for e, into := range c.inlined {
		// Those that nothing else can have changed say most.
		sort.Slice(into, func(i, j int) bool {
			a, b := into[i], into[j]
			return cmp.Or(cmp.Compare(len(a.others), len(b.others)), strings.Compare(a.name, b.name)) < 0
		})
		r := Refusal{Class: Inlined, Name: e.Name, File: e.File, Line: e.At, Derived: true,
			Do: "undo the change, and give the functions that move a changed copy under another name"}
		var names []string
		for _, in := range into {
			names = append(names, in.name)
			r.Derived = r.Derived && in.layout
		}
		reason := c.reason(c.plan.Source.Lookup(names[0]))
		r.Why = "is inlined into " + some(names) + ", which stays in the kernel (" + reason + ") with the old code" + perhaps(into[0].others)
		if list := c.movable(names); len(list) > 0 {
			r.Do = strings.Replace(doSidecar(list...), "name it", "name what it is inlined into", 1)
		}
		c.out.Refusals = append(c.out.Refusals, r)
	}
	sort.Slice(c.out.Refusals, func(i, j int) bool { return c.out.Refusals[i].String() < c.out.Refusals[j].String() })
}

// perhaps says that others can be why a function's code changed, "" if there are none.
func perhaps(others []string) string {
	if len(others) == 0 {
		return ""
	}
	return " (its code differs because of this, or because of " + some(others) + ", which changed too)"
}

// some names the first few of a list.
func some(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// reason says why a function stays.
func (c *comparer) reason(d *asm.Def) string {
	f := c.plan.kernel.functions[key{d.Name, c.plan.Unit}]
	if f == nil || len(f.Facts) == 0 {
		return "it is not the scheduler's"
	}
	text := f.Facts[0].Text
	if strings.HasPrefix(text, "its ") {
		return text
	}
	return "it " + text
}

func (c *comparer) added(d *asm.Def) {
	registers := kernelSection(d.Section) && c.plan.Fates[d] == Drop
	if uninteresting(d) || c.plan.Fates[d] == Drop && !registers {
		return
	}
	c.out.Added = append(c.out.Added, d.Name)
	if registers {
		c.registered(d.Name, d.Section)
	}
}

// sections refuses what the module would have in a section that the loader does not
// treat as the kernel does. Scheduling classes have a refusal of their own.
func (c *comparer) sections() {
	for _, d := range c.plan.Source.Defs {
		if fate := c.plan.Fates[d]; d.Kind == asm.Alias || fate == Drop || fate == Replace || classSection(d.Section) ||
			ruleOf(d.Section).does != refused {
			continue
		}
		r := refusedSection(d.Name, d.Section)
		c.refuse(r.Class, d, r.Why, r.Do)
	}
}

// classSection reports a section that DEFINE_SCHED_CLASS (kernel/sched/sched.h)
// makes.
func classSection(section string) bool {
	return strings.HasPrefix(section, "__") && strings.HasSuffix(section, "_sched_class")
}

// separated looks at a variable that the module gets its own of because its size,
// kind or constant contents differ from the kernel's: nobody who stays may use it.
func (c *comparer) separated(d *asm.Def, was uint64) {
	what := fmt.Sprintf("size changed from %d to %d bytes", was, d.Size)
	if was == d.Size {
		what = "it is no longer what the kernel has"
	}
	who := c.plan.kernel.reader(d.Name, c.plan.Unit)
	do := c.registerAdvice(d, who)
	if f := c.plan.kernel.function(who, c.plan.Unit); f != nil && f.Class == boundary.Init {
		c.refuse(Variable, d, "is a variable that the kernel already has ("+what+"), and "+who+" registered that at boot",
			cmp.Or(do, "undo the change, and register your own in plugsched_init() (docs/develop/hooks.md)"))
		return
	}
	if who != "" {
		c.refuse(Variable, d, "is a variable that the kernel already has ("+what+"), and "+who+", which stays, goes on with the old one",
			cmp.Or(do, doVariable))
		return
	}
	if !strings.HasPrefix(d.Section, ".rodata") {
		c.out.Warnings = append(c.out.Warnings, d.Name+": "+what+": the module has its own, its state is not inherited")
	}
}

// forgotten warns of static locals with a state that the new code does not find.
func (c *comparer) forgotten() {
	found, lost := map[string]bool{}, map[string]bool{}
	for _, t := range c.plan.twins {
		found[t] = true
	}
	for _, d := range c.old.Defs {
		if d.Kind == asm.Object && numbered(d.Name) && !stateless(d) && !found[d.Name] && !strings.HasPrefix(d.Name, "__key.") {
			lost[asm.Stem(d.Name)] = true
		}
	}
	for _, d := range c.plan.Source.Defs {
		_, twin := c.plan.twins[d.Name]
		if name := asm.Stem(d.Name); d.Kind == asm.Object && numbered(d.Name) && !twin && !stateless(d) && lost[name] {
			delete(lost, name)
			c.out.Warnings = append(c.out.Warnings, name+": a static variable of a function whose users changed: the module has its own, its state is not inherited")
		}
	}
}

func (c *comparer) removed(d *asm.Def) {
	if uninteresting(d) || d.Kind == asm.Alias {
		return
	}
	if d.Global {
		if _, elsewhere := defines(c.plan.kernel.edited, d.Name); elsewhere != nil {
			return // moved, and compared there
		}
	}
	c.out.Removed = append(c.out.Removed, d.Name)
	if d.Kind != asm.Func {
		return
	}
	f := c.plan.kernel.functions[key{d.Name, c.plan.Unit}]
	switch {
	case f == nil:
	case f.Class.Border():
		c.refuse(Entry, d, "is no longer a function of its own, but the kernel enters the scheduler through it",
			"keep it (an empty one will do), or mark it noinline")
	case slices.Contains(runtimeCalls, d.Name):
		c.refuse(Entry, d, "is no longer a function of its own, but every update calls it",
			"keep it (one that does nothing will do if nothing ever needs it), or mark it noinline")
	case f.Class == boundary.Init:
		c.refuse(Init, d, "is __init code: it ran at boot and cannot be taken back", doInitHook)
	case !c.plan.kernel.Boundary.Owns(f.DeclFile):
		// An inline function of a header, which is there as before: this unit's callers inline it, or are gone.
	case f.Class == boundary.External && !f.Clone():
		c.refuse(Stays, d, "stays in the kernel ("+c.reason(d)+"), so that removing it would not take effect", c.instead(d))
	}
}

func initSection(name string) bool { return symbols.InitSection(name) }

// strays looks at tables without definitions of their own (initcalls are one).
func (c *comparer) strays() {
	collect := func(u *asm.Unit) map[string]string {
		m := map[string]string{} // name to the section that mentions it
		section := ""
		u.StrayRefs(func(s string) bool { section = s; return kernelSection(s) }, func(name string) { m[asm.Stem(name)] = section })
		return m
	}
	was := collect(c.old)
	for name, section := range collect(c.plan.Source) {
		if _, ok := was[name]; !ok {
			c.registered(name, section)
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
				r := Refusal{Class: Folded, Name: alias, File: f.DeclFile, Line: f.DeclLine,
					Why: "now differs from " + f.Name + ", but the kernel has one body for both: it cannot tell them apart",
					Do:  "change both alike, or change their callers"}
				for _, name := range []string{f.Name, alias} {
					if e := c.src.Find(c.plan.kernel.sourceName(name), edits.Function); e != nil && !e.Gone {
						r.File, r.Line = e.File, e.At
					}
				}
				c.out.Refusals = append(c.out.Refusals, r)
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
