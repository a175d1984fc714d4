// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"cmp"
	"debug/elf"
	"slices"
	"sync"
)

// index finds things in a Program. The forward indexes are built by Load, the
// reverse ones when first asked for.
type index struct {
	sections []*Section // allocated, by address
	symbols  map[string]address
	frames   []byte // .debug_frame
	replaced []span // code that an alternative may replace, by address
	// instead are the bytes' addresses that may replace one; 0 is for what a function makes.
	instead map[uint64][]uint64
	faults  map[uint64]uint64 // by instruction: where the kernel goes on if it faults

	funcs       map[string][]*Function // by name and alias
	funcEnds    []uint64               // the greatest end among Functions[:i+1]
	objects     map[string][]*Object
	objectEnds  []uint64
	reverseOnce sync.Once
	reverse     reverse
}

type address struct {
	value     uint64
	global    bool
	ambiguous bool
}

type reverse struct {
	callers map[*Function][]CallFrom
	takers  map[*Function][]TakeFrom
	data    map[*Function][]DataTake
}

// CallFrom is a Call seen from its target.
type CallFrom struct {
	From *Function
	Call
}

// TakeFrom is a Take seen from its target.
type TakeFrom struct {
	From *Function
	Take
}

func (p *Program) buildIndex(v *vmlinux) {
	for _, s := range v.sections {
		if s != nil {
			p.index.sections = append(p.index.sections, s)
		}
	}
	slices.SortStableFunc(p.index.sections, func(a, b *Section) int { return cmp.Compare(a.Addr, b.Addr) })
	p.index.symbols = addresses(v.symbols)
	p.index.objects = map[string][]*Object{}
	for _, o := range p.Objects {
		p.index.objects[o.Name] = append(p.index.objects[o.Name], o)
	}
	p.objectEnds = ends(p.Objects)
}

// indexFunctions follows the last change of Functions and their names.
func (p *Program) indexFunctions() {
	p.funcs = make(map[string][]*Function, len(p.Functions))
	for _, f := range p.Functions {
		p.funcs[f.Name] = append(p.funcs[f.Name], f)
		for _, a := range f.Aliases {
			p.funcs[a] = append(p.funcs[a], f)
		}
	}
}

func addresses(syms []elf.Symbol) map[string]address {
	out := make(map[string]address, len(syms))
	for _, s := range syms {
		if s.Name == "" || s.Section == elf.SHN_UNDEF || elf.ST_TYPE(s.Info) == elf.STT_FILE || elf.ST_TYPE(s.Info) == elf.STT_SECTION {
			continue
		}
		a := address{value: s.Value, global: elf.ST_BIND(s.Info) != elf.STB_LOCAL}
		old, seen := out[s.Name]
		switch {
		case seen && old.global:
			continue
		case seen && !a.global:
			a.ambiguous = true
		}
		out[s.Name] = a
	}
	return out
}

// extent is something at an address with a size.
type extent interface{ extent() (addr, size uint64) }

func (f *Function) extent() (addr, size uint64) { return f.Addr, f.Size }
func (o *Object) extent() (addr, size uint64)   { return o.Addr, o.Size }

// ends returns, for each element of a list sorted by address, the last address
// that it or one before it covers, plus one.
func ends[T extent](list []T) []uint64 {
	out := make([]uint64, len(list))
	var end uint64
	for i, e := range list {
		addr, size := e.extent()
		if addr+size >= addr {
			end = max(end, addr+size)
		}
		out[i] = end
	}
	return out
}

// covering returns the innermost element that covers addr: the one that starts
// last.
func covering[T extent](list []T, ends []uint64, addr uint64) (T, bool) {
	i, _ := slices.BinarySearchFunc(list, addr, func(e T, a uint64) int {
		if at, _ := e.extent(); at > a {
			return 1
		}
		return -1
	})
	for i--; i >= 0 && ends[i] > addr; i-- {
		if at, size := list[i].extent(); addr-at < size {
			return list[i], true
		}
	}
	var none T
	return none, false
}

// Func returns the functions of that name or alias, by address.
func (p *Program) Func(name string) []*Function { return p.funcs[name] }

// FuncAt returns the function whose code covers addr, or nil.
func (p *Program) FuncAt(addr uint64) *Function {
	f, _ := covering(p.Functions, p.funcEnds, addr)
	return f
}

// Lookup returns what a reference to name from within a unit means: the unit's
// own function, else the global one, else nil.
func (p *Program) Lookup(name, unit string) *Function {
	var global *Function
	for _, f := range p.funcs[name] {
		if f.Unit == unit {
			return f
		}
		if f.Global {
			global = f
		}
	}
	return global
}

// Object returns the object of that name: the global one, or the only one. It is
// nil if there is none, or several local ones.
func (p *Program) Object(name string) *Object {
	list := p.index.objects[name]
	for _, o := range list {
		if o.Global {
			return o
		}
	}
	if len(list) == 1 {
		return list[0]
	}
	return nil
}

// ObjectsNamed returns all objects of that name, by address.
func (p *Program) ObjectsNamed(name string) []*Object { return p.index.objects[name] }

// ObjectNamedAt returns the object of that name at that address, or nil.
func (p *Program) ObjectNamedAt(name string, addr uint64) *Object {
	for _, o := range p.index.objects[name] {
		if o.Addr == addr {
			return o
		}
	}
	return nil
}

// LookupObject is Lookup for objects.
func (p *Program) LookupObject(name, unit string) *Object {
	var global *Object
	for _, o := range p.index.objects[name] {
		if o.Unit == unit {
			return o
		}
		if o.Global {
			global = o
		}
	}
	return global
}

// ObjectAt returns the object that covers addr, or nil.
func (p *Program) ObjectAt(addr uint64) *Object {
	o, _ := covering(p.Objects, p.objectEnds, addr)
	return o
}

// Symbol returns the value of a symbol of any type: the global one of that name,
// or the only local one. ok is false if there is none or several local ones.
func (p *Program) Symbol(name string) (addr uint64, ok bool) {
	a, ok := p.index.symbols[name]
	return a.value, ok && !a.ambiguous
}

// symbolsAt are the names of an address, sorted.
func (p *Program) symbolsAt(addr uint64) (names []string) {
	for name, a := range p.index.symbols {
		if a.value == addr && !a.ambiguous {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// InRange reports whether addr is in [start, end), given as symbols. A range
// whose symbols the kernel does not have is empty.
func (p *Program) InRange(addr uint64, start, end string) bool {
	lo, ok := p.Symbol(start)
	hi, ok2 := p.Symbol(end)
	return ok && ok2 && lo <= addr && addr < hi
}

// Bytes returns n bytes of the linked image at addr; nil if the file does not
// hold all of them. The caller must not change them.
func (p *Program) Bytes(addr uint64, n int) []byte {
	for _, s := range p.index.sections {
		off := addr - s.Addr
		if size := uint64(len(s.Data)); n >= 0 && off < size && uint64(n) <= size-off {
			return s.Data[off : off+uint64(n) : off+uint64(n)]
		}
	}
	return nil
}

func (p *Program) inMixed(addr uint64) bool {
	return slices.ContainsFunc(p.index.sections, func(s *Section) bool { return s.mixed && s.contains(addr) })
}

// Section returns the allocated section of that name, or nil.
func (p *Program) Section(name string) *Section {
	for _, s := range p.index.sections {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Sections returns the allocated sections by address.
func (p *Program) Sections() []*Section { return slices.Clone(p.index.sections) }

// NextFunction returns the address at which the code behind f begins: the next
// function, or the padding that belongs to it. It is 0 if f is the last.
func (p *Program) NextFunction(f *Function) uint64 {
	i, _ := slices.BinarySearchFunc(p.Functions, f.Addr, func(g *Function, a uint64) int {
		if g.Addr > a {
			return 1
		}
		return -1
	})
	if i == len(p.Functions) {
		return 0
	}
	return p.Functions[i].Addr - p.Functions[i].Padding
}

// PatchSiteIn returns the first site that overlaps [start, end), or nil.
func (p *Program) PatchSiteIn(start, end uint64) *PatchSite {
	from := start - min(start, maxSite)
	i, _ := slices.BinarySearchFunc(p.PatchSites, from, func(s PatchSite, a uint64) int { return cmp.Compare(s.Addr, a) })
	for ; i < len(p.PatchSites) && p.PatchSites[i].Addr < end; i++ {
		if s := &p.PatchSites[i]; s.Addr+uint64(s.Size) > start {
			return s
		}
	}
	return nil
}

// maxSite is no less than the size of any PatchSite.
const maxSite = 16

// Callers returns the calls and jumps to f from other functions and from itself.
func (p *Program) Callers(f *Function) []CallFrom { return p.reversed().callers[f] }

// Takers returns the instructions that take f's address.
func (p *Program) Takers(f *Function) []TakeFrom { return p.reversed().takers[f] }

// DataTakesOf returns the static data that holds f's address.
func (p *Program) DataTakesOf(f *Function) []DataTake { return p.reversed().data[f] }

func (p *Program) reversed() *reverse {
	p.reverseOnce.Do(func() {
		r := reverse{map[*Function][]CallFrom{}, map[*Function][]TakeFrom{}, map[*Function][]DataTake{}}
		for _, f := range p.Functions {
			for _, c := range f.Calls {
				r.callers[c.To] = append(r.callers[c.To], CallFrom{f, c})
			}
			for _, t := range f.Takes {
				r.takers[t.To] = append(r.takers[t.To], TakeFrom{f, t})
			}
		}
		for _, t := range p.DataTakes {
			r.data[t.To] = append(r.data[t.To], t)
		}
		p.reverse = r
	})
	return &p.reverse
}
