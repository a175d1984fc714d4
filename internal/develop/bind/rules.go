// SPDX-License-Identifier: BSD-3-Clause

// Package bind applies the scheduler's boundary to the assembly of its units:
// what stays in the kernel becomes an undefined symbol that is bound to the
// running kernel at install, what moves is kept.
package bind

import (
	"slices"
	"sort"
	"strings"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/image"
	"plugsched/internal/kernel/symbols"
)

// Prefixes of the names that the rules make up.
const (
	// OrigPrefix marks the kernel's own copy of something that the module has too.
	OrigPrefix = "__orig_"
	// TablePrefix marks the module's contents of a table that is rewritten in place.
	TablePrefix = "__plugsched_new_"
	// SwitchTo is what the module's __schedule calls to switch.
	SwitchTo = "plugsched_switch_to"
	// ScheduleStub is how everybody enters the module's __schedule.
	ScheduleStub = "plugsched_schedule"
)

const schedule = "__schedule"

// Kernel is what the rules know about the kernel.
type Kernel struct {
	Arch     *arch.Arch
	Boundary *boundary.Boundary
	Symbols  *symbols.Table
	// Rebuilt are edits of what builds lasting state of which the project says what is done
	// about that (boundary.Config.Rebuilt).
	Rebuilt map[string]string
	// Debug keeps the debug information of bound units.
	Debug bool

	functions map[key]*boundary.Function
	globals   map[string]*boundary.Function // scheduler functions by name, global ones
	objects   map[key]*boundary.Object

	pristine, edited map[string]*asm.Unit // by unit; see SetUnits
	users            map[key][]user       // of the pristine units' objects
	endings          *endings             // see ends
	copies           map[key]map[string]bool
}

// user is a definition that refers to something.
type user struct {
	unit string
	def  *asm.Def
}

// SetUnits gives the rules all units at once, as they were and as they are:
// whether a variable can have a copy in the module depends on everybody who uses
// it, and a definition may move from one unit to another.
func (k *Kernel) SetUnits(pristine, edited map[string]*asm.Unit) {
	k.pristine, k.edited, k.users, k.endings = pristine, edited, map[key][]user{}, nil
	for unit, u := range pristine {
		for _, d := range u.Defs {
			u.Refs(d, func(name string, _ bool) {
				if t := u.Lookup(name); t != nil && !t.Global {
					k.users[key{name, unit}] = append(k.users[key{name, unit}], user{unit, d})
				} else {
					k.users[key{name, ""}] = append(k.users[key{name, ""}], user{unit, d})
				}
			})
		}
	}
}

// defines returns the unit of a set that defines a global name.
func defines(units map[string]*asm.Unit, name string) (unit string, d *asm.Def) {
	for unit, u := range units {
		if d := u.Lookup(name); d != nil && d.Global && !d.Weak {
			return unit, d
		}
	}
	return "", nil
}

type key struct{ name, unit string }

// SetInlining gives the rules what debug information says is inlined where in a unit, as it
// was and as it is: an edit can make gcc inline what it did not. Without it, nothing is known to
// be inlined but what the kernel's own debug information says of functions that stay.
func (k *Kernel) SetInlining(unit string, was, is *image.Types) {
	for _, t := range []*image.Types{was, is} {
		for name, inner := range t.Inlined {
			k.inlines(name, unit, inner)
		}
	}
}

func (k *Kernel) inlines(function, unit string, inner []string) {
	at := key{k.sourceName(function), unit}
	if k.copies[at] == nil {
		k.copies[at] = map[string]bool{}
	}
	for _, name := range inner {
		k.copies[at][k.sourceName(name)] = true
	}
}

// holdsCopy reports whether a function of a unit, by its source name, has another one inlined,
// directly or through others.
func (k *Kernel) holdsCopy(unit, function, inner string) bool {
	return k.copies[key{function, unit}][inner]
}

// NewKernel indexes the boundary and the symbol table of a kernel of an architecture.
func NewKernel(a *arch.Arch, b *boundary.Boundary, s *symbols.Table) *Kernel {
	k := &Kernel{Arch: a, Boundary: b, Symbols: s, functions: map[key]*boundary.Function{}, globals: map[string]*boundary.Function{},
		objects: map[key]*boundary.Object{}, copies: map[key]map[string]bool{}}
	for _, f := range b.Functions {
		k.inlines(f.Name, f.Unit, f.Inlines)
		for _, name := range append([]string{f.Name}, f.Aliases...) {
			k.functions[key{name, f.Unit}] = f
			if sym := s.In(name, f.Unit); sym != nil && sym.Global {
				k.globals[name] = f
			}
		}
	}
	for _, o := range b.Objects {
		k.objects[key{o.Name, o.Unit}] = o
	}
	return k
}

// function returns the scheduler function that name means inside a unit.
func (k *Kernel) function(name, unit string) *boundary.Function {
	if f := k.functions[key{name, unit}]; f != nil {
		return f
	}
	return k.globals[name]
}

// symbol returns the kernel symbol that a definition in a unit corresponds to.
func (k *Kernel) symbol(name, unit string) *symbols.Symbol {
	if s := k.Symbols.In(name, unit); s != nil {
		return s
	}
	return k.Symbols.Global(name)
}

// Fate says what becomes of a definition.
type Fate string

// The fates of definitions.
const (
	Keep    Fate = "keep"    // moves into the module
	Drop    Fate = "drop"    // stays in the kernel; references are bound to it
	Copy    Fate = "copy"    // stays in the kernel, which has no symbol for it: the module has its own copy
	Replace Fate = "replace" // a table whose contents are written over the kernel's
	New     Fate = "new"     // the kernel has nothing of that name
)

// Plan is what the rules decide for one unit.
type Plan struct {
	Unit   string // "kernel/sched/core.c"
	Source *asm.Unit
	Fates  map[*asm.Def]Fate
	// Bound maps the undefined names that Render uses to kernel symbols, where
	// the name alone does not say which symbol is meant.
	Bound map[string]*symbols.Symbol

	kernel *Kernel
	old    *asm.Unit         // the unit as the kernel has it; empty for a new one
	twins  map[string]string // numbered static locals: ours to the kernel's name
	names  map[string]string // kernel name to the undefined name used for it
}

// Decide works out the fate of every definition of a unit. pristine is the unit
// as the kernel has it, without definitions if the kernel has none of that name.
func (k *Kernel) Decide(unit string, src, pristine *asm.Unit) *Plan {
	p := &Plan{Unit: unit, Source: src, kernel: k, old: pristine, twins: k.twins(unit, src, pristine),
		Fates: map[*asm.Def]Fate{}, Bound: map[string]*symbols.Symbol{}, names: map[string]string{}}
	for _, d := range src.Defs {
		if d.Kind != asm.Alias {
			p.Fates[d] = p.decide(d)
		}
	}
	for _, d := range src.Defs {
		if d.Kind == asm.Alias {
			p.Fates[d] = Keep
			if t := src.Lookup(d.Target); t == nil || p.Fates[t] == Drop {
				p.Fates[d] = Drop
			}
		}
	}
	return p
}

func (p *Plan) decide(d *asm.Def) Fate {
	if p.blacklists(d) {
		return New
	}
	if kernelSection(d.Section) {
		return Drop
	}
	if d.Kind == asm.Func {
		return p.decideFunc(d)
	}
	return p.decideObject(d)
}

// blacklists reports that a function of the module is to have no kprobes
// (NOKPROBE_SYMBOL). The loader reads the module's list too.
func (p *Plan) blacklists(d *asm.Def) bool {
	if d.Section != blacklistSection {
		return false
	}
	found := false
	p.Source.Refs(d, func(name string, _ bool) {
		f := p.Source.Lookup(name)
		found = found || f != nil && f.Kind == asm.Func && p.decideFunc(f) != Drop
	})
	return found
}

func (p *Plan) decideFunc(d *asm.Def) Fate {
	f := p.kernel.functions[key{d.Name, p.Unit}]
	if f == nil && d.Global && !d.Weak {
		f = p.kernel.globals[d.Name] // it came from another unit
	}
	switch {
	case f != nil && f.Class.Moves():
		return Keep
	case f != nil && f.Clone():
		return Copy
	case f != nil:
		return Drop
	}
	if s := p.kernel.symbol(d.Name, p.Unit); s != nil && s.Kind == symbols.Func && (d.Global || s.Unit == p.Unit) && p.was(d.Name) {
		return Drop // a weak definition that another unit overrides, or a header's function
	}
	return New
}

func (p *Plan) decideObject(d *asm.Def) Fate {
	if d.Section == ".discard.addressable" {
		// objtool finds the key of a static call by this reference; without it the
		// module loader refuses ("Failed to fixup __raw_static_call() usage").
		if p.refersTo(d, "__SCK__") {
			return Keep
		}
		return Drop
	}
	if o := p.kernel.objects[key{d.Name, p.Unit}]; o != nil && o.Class != boundary.Shared {
		if o.Class == boundary.Table {
			return Replace
		}
		return Keep
	}
	if s := p.shared(d); s != nil && !p.ownConstant(d) {
		return Drop
	}
	return New
}

// ownConstant reports a constant with new contents that nothing in the kernel
// reads but functions that move: the module's copy is all there is to it.
func (p *Plan) ownConstant(d *asm.Def) bool {
	was := p.old.Lookup(d.Name)
	return was != nil && strings.HasPrefix(d.Section, ".rodata") && strings.HasPrefix(was.Section, ".rodata") &&
		p.Source.Normal(d) != p.old.Normal(was) && p.kernel.reader(d.Name, p.Unit) == ""
}

// reader names something that stays in the kernel and uses one of its objects, ""
// if there is nothing: then a copy in the module can take the object's place.
func (k *Kernel) reader(name, unit string) string {
	if o := k.objects[key{name, unit}]; o != nil {
		if !k.Boundary.Owns(o.DeclFile) {
			return "whatever includes " + o.DeclFile
		}
		for _, f := range o.Outside {
			if !slices.ContainsFunc(k.Boundary.Find(f), func(f *boundary.Function) bool { return f.Class.Moves() }) {
				return f
			}
		}
	}
	if len(k.Symbols.Named("__ksymtab_"+name)) > 0 {
		return "whatever module it is exported to"
	}
	for _, u := range append(k.users[key{name, unit}], k.users[key{name, ""}]...) {
		if u.def.Name == name || strings.HasPrefix(u.def.Section, ".discard") {
			continue
		}
		if f := k.functions[key{u.def.Name, u.unit}]; f != nil && f.Class.Moves() {
			continue
		}
		return u.def.Name
	}
	return ""
}

// shared returns the kernel's object that a definition is one with: same name,
// same size.
func (p *Plan) shared(d *asm.Def) *symbols.Symbol {
	name := d.Name
	if numbered(name) {
		twin, ok := p.twins[name]
		if !ok {
			return nil
		}
		name = twin
	}
	var s *symbols.Symbol
	if d.Global {
		s = p.kernel.Symbols.Global(name)
	} else {
		s = p.kernel.Symbols.In(name, p.Unit)
	}
	if s == nil || s.Size != d.Size || d.Size == 0 || !p.was(name) {
		return nil
	}
	if was := p.old.Lookup(name); was != nil && perCPU(was.Section) != perCPU(d.Section) {
		return nil
	}
	return s
}

// was reports that the pristine source defines a name. What is new has nothing to
// do with something that the kernel happens to have under that name.
func (p *Plan) was(name string) bool {
	if p.old.Lookup(name) != nil {
		return true
	}
	_, d := defines(p.kernel.pristine, name)
	return d != nil
}

func (p *Plan) refersTo(d *asm.Def, prefix string) bool {
	found := false
	p.Source.Refs(d, func(name string, _ bool) { found = found || strings.HasPrefix(name, prefix) })
	return found
}

// numbered reports names that gcc made unique with a number: static locals,
// whose number says nothing from one build to the next.
func numbered(name string) bool { return asm.Stem(name) != name }

// Render writes the unit's assembly with the boundary applied.
func (p *Plan) Render() []byte {
	globals := p.globalise()
	out := p.Source.Write(asm.Edit{
		Drop: func(d *asm.Def) bool { return p.Fates[d] == Drop },
		DropSection: func(section string) bool {
			return kernelSection(section) || slices.Contains(p.kernel.Arch.Unread, section)
		},
		Place: placed,
		Rename: func(d *asm.Def) (string, string) {
			if p.Fates[d] == Replace {
				return TablePrefix + d.Name, ".data.rel.ro"
			}
			return "", ""
		},
		Refer: p.refer,
		Debug: p.kernel.Debug,
	})
	for _, name := range globals {
		out = append(out, "\t.globl\t"+name+"\n"...)
	}
	return out
}

// runtimeCalls are static functions of the scheduler that the runtime calls (runtime/internal.h).
var runtimeCalls = []string{"dequeue_entities"}

// globalise lists the local definitions that the runtime refers to by name.
func (p *Plan) globalise() []string {
	var out []string
	for d, fate := range p.Fates {
		switch {
		case d.Global:
		case fate == Replace:
			out = append(out, TablePrefix+d.Name)
		case fate == Keep && d.Kind != asm.Object:
			f := p.kernel.functions[key{d.Name, p.Unit}]
			if f != nil && f.Class.Border() && f.Name == d.Name || slices.Contains(runtimeCalls, d.Name) {
				out = append(out, d.Name)
			}
		case fate == Keep && d.Kind == asm.Object && d.Section != ".discard.addressable":
			out = append(out, d.Name)
		}
	}
	sort.Strings(out)
	return out
}

// refer maps one reference. Calls go to the module's copy; an address of a
// border function is the kernel's, so that a pointer that outlives the module
// stays valid and leads back here through the jump while the module is live.
func (p *Plan) refer(in *asm.Def, name string, branch bool) string {
	if branch && in != nil && name == p.kernel.Arch.SwitchTo && in.Name == schedule {
		return SwitchTo
	}
	if branch && in != nil && name == schedule && in.Name != schedule && p.moves(name) {
		return ScheduleStub // which builds the frame that the switch goes back to
	}
	if in != nil && in.Section == blacklistSection {
		return name
	}
	d := p.Source.Lookup(name)
	if !branch {
		if f := p.kernel.function(name, p.Unit); f != nil && f.Class.Border() && (d != nil || p.kernel.globals[name] == f) {
			return p.orig(name, f.Unit)
		}
	}
	if d == nil || p.Fates[d] == Keep || p.Fates[d] == New || p.Fates[d] == Copy {
		return name
	}
	return p.undefined(name)
}

// moves reports that a definition of the unit is part of the module.
func (p *Plan) moves(name string) bool {
	d := p.Source.Lookup(name)
	return d != nil && p.Fates[d] != Drop
}

// orig names the kernel's copy of a border function.
func (p *Plan) orig(name, unit string) string {
	out := OrigPrefix + name
	if s := p.kernel.symbol(name, unit); s != nil {
		p.Bound[out] = s
	}
	return out
}

// undefined names something that stays in the kernel: by its own name where that
// is unambiguous.
func (p *Plan) undefined(name string) string {
	kernelName := name
	if twin, ok := p.twins[name]; ok {
		kernelName = twin
	}
	s := p.kernel.symbol(kernelName, p.Unit)
	if s == nil {
		return name
	}
	out := kernelName
	if !p.kernel.Symbols.Unique(kernelName) || kernelName != name || numbered(kernelName) {
		unit := strings.ReplaceAll(strings.TrimSuffix(p.Unit, ".c"), "/", ".")
		out = OrigPrefix + unit + "_" + strings.ReplaceAll(kernelName, ".", "_")
	}
	if fate, ok := p.Fates[p.Source.Lookup(name)]; ok && fate == Replace {
		out = kernelName // the kernel's table, whose name the module's copy gave up
	}
	p.Bound[out] = s
	return out
}
