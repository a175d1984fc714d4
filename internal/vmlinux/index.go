// SPDX-License-Identifier: BSD-3-Clause

package vmlinux

import (
	"sort"
	"strings"
)

type section struct {
	name       string
	addr, size uint64
	data       []byte // nil when the file has none
	exec       bool
}

// index holds what Program's methods look things up in.
type index struct {
	sections     []section // by address
	symbols      map[string]uint64
	byName       map[string][]*Function
	objByName    map[string][]*Object
	objectEnds   []uint64 // for ObjectAt: highest end of Objects[:i+1]
	patchLongest int
}

func (p *Program) finish() {
	p.byName = map[string][]*Function{}
	for _, f := range p.Functions {
		p.byName[f.Name] = append(p.byName[f.Name], f)
		for _, a := range f.Aliases {
			p.byName[a] = append(p.byName[a], f)
		}
	}
	p.objByName = map[string][]*Object{}
	for _, o := range p.Objects {
		p.objByName[o.Name] = append(p.objByName[o.Name], o)
	}
	sort.Slice(p.PatchSites, func(i, j int) bool { return p.PatchSites[i].Addr < p.PatchSites[j].Addr })
	for _, s := range p.PatchSites {
		p.patchLongest = max(p.patchLongest, s.Size)
	}
	if banner := p.objByName["linux_banner"]; len(banner) > 0 {
		text := string(p.Bytes(banner[0].Addr, int(banner[0].Size)))
		if f := strings.Fields(text); len(f) > 2 && f[0] == "Linux" && f[1] == "version" {
			p.Release = f[2]
		}
	}
}

func (p *Program) sectionAt(addr uint64) *section {
	i := sort.Search(len(p.sections), func(i int) bool { return p.sections[i].addr > addr })
	for i--; i >= 0; i-- {
		if s := &p.sections[i]; addr-s.addr < s.size {
			return s
		}
		if p.sections[i].size > 0 && i > 0 && p.sections[i-1].addr != p.sections[i].addr {
			break
		}
	}
	return nil
}

// Func returns every function of that name or alias.
func (p *Program) Func(name string) []*Function { return p.byName[name] }

// Lookup returns the function of that name in a unit.
func (p *Program) Lookup(name, unit string) *Function {
	for _, f := range p.byName[name] {
		if f.Unit == unit {
			return f
		}
	}
	return nil
}

// FuncAt returns the function that contains addr, or nil.
func (p *Program) FuncAt(addr uint64) *Function {
	i := sort.Search(len(p.Functions), func(i int) bool { return p.Functions[i].Addr > addr }) - 1
	if i < 0 || addr-p.Functions[i].Addr >= max(p.Functions[i].Size, 1) {
		return nil
	}
	return p.Functions[i]
}

// NextFunction returns the address of the function behind f in the same section,
// 0 when f is the last.
func (p *Program) NextFunction(f *Function) uint64 {
	i := sort.Search(len(p.Functions), func(i int) bool { return p.Functions[i].Addr > f.Addr })
	if i == len(p.Functions) || p.Functions[i].Section != f.Section {
		return 0
	}
	return p.Functions[i].Addr
}

// PatchSiteIn returns a patch site that overlaps [start, end), or nil.
func (p *Program) PatchSiteIn(start, end uint64) *PatchSite {
	i := sort.Search(len(p.PatchSites), func(i int) bool { return p.PatchSites[i].Addr+uint64(p.patchLongest) > start })
	for ; i < len(p.PatchSites) && p.PatchSites[i].Addr < end; i++ {
		if s := &p.PatchSites[i]; s.Addr+uint64(s.Size) > start {
			return s
		}
	}
	return nil
}

// ObjectsNamed returns every object of that name.
func (p *Program) ObjectsNamed(name string) []*Object { return p.objByName[name] }

// ObjectNamedAt returns the object of that name and address, or nil.
func (p *Program) ObjectNamedAt(name string, addr uint64) *Object {
	for _, o := range p.objByName[name] {
		if o.Addr == addr {
			return o
		}
	}
	return nil
}

// ObjectAt returns the smallest object that contains addr, or nil.
func (p *Program) ObjectAt(addr uint64) *Object {
	i := sort.Search(len(p.Objects), func(i int) bool { return p.Objects[i].Addr > addr })
	var best *Object
	for i--; i >= 0 && p.objectEnds[i] > addr; i-- {
		if o := p.Objects[i]; addr-o.Addr < o.Size && (best == nil || o.Size < best.Size) {
			best = o
		}
	}
	return best
}

// Symbol returns the address of any symbol, those of the linker script included.
func (p *Program) Symbol(name string) (uint64, bool) {
	a, ok := p.symbols[name]
	return a, ok
}

// InRange reports whether addr lies between two symbols; false when the kernel
// does not have them.
func (p *Program) InRange(addr uint64, start, end string) bool {
	s, ok := p.symbols[start]
	e, ok2 := p.symbols[end]
	return ok && ok2 && addr >= s && addr < e
}

// Bytes returns n bytes of the image at a link address, fewer at the end of a
// section, nil outside of all.
func (p *Program) Bytes(addr uint64, n int) []byte {
	s := p.sectionAt(addr)
	if s == nil || s.data == nil || n < 0 {
		return nil
	}
	off := addr - s.addr
	return s.data[off:min(off+uint64(n), uint64(len(s.data)))]
}

// rangeOf returns the bytes between two symbols and their address.
func (p *Program) rangeOf(start, end string) ([]byte, uint64) {
	s, ok := p.symbols[start]
	e, ok2 := p.symbols[end]
	if !ok || !ok2 || e <= s || e-s > 1<<30 {
		return nil, 0
	}
	return p.Bytes(s, int(e-s)), s
}
