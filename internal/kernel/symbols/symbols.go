// SPDX-License-Identifier: BSD-3-Clause

// Package symbols is a vmlinux's symbol table in a form that is quick to load:
// what the build binds the module's references to.
package symbols

import (
	"debug/elf"
	"fmt"
	"sort"
	"strings"

	"plugsched/internal/gobfile"
	"plugsched/internal/kernel/image"
)

// Kind says what a symbol names.
type Kind uint8

// The kinds of symbols.
const (
	Func Kind = iota + 1
	Object
	Other // labels of the linker script and of assembly
)

// Symbol is one symbol of the vmlinux.
type Symbol struct {
	Name   string
	Unit   string // compilation unit, "" when unknown
	Addr   uint64 // link address
	Size   uint64 // bytes
	Kind   Kind
	Global bool
	// Sealed functions must not be called by pointer (image.Function).
	Sealed bool
	// Fixed symbols do not move with KASLR: offsets in the per-CPU area and
	// absolute values.
	Fixed bool
	// Init functions and objects are in memory that the kernel has given back since it booted,
	// or never had (free_initmem() of arch/x86/mm/init.c; __exit of what is built in).
	Init bool
}

// Table is the whole symbol table of one vmlinux.
type Table struct {
	Release string
	BuildID string
	Symbols []Symbol // by name, unit, address

	byName map[string][]int
}

// Read builds the table of the vmlinux that prog models.
func Read(prog *image.Program) (*Table, error) {
	f, err := elf.Open(prog.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", prog.Path, err)
	}
	t := &Table{Release: prog.Release, BuildID: prog.BuildID}
	for _, s := range all {
		if s.Name == "" || s.Section == elf.SHN_UNDEF {
			continue
		}
		sym := Symbol{Name: s.Name, Addr: s.Value, Size: s.Size, Kind: Other, Global: elf.ST_BIND(s.Info) != elf.STB_LOCAL}
		switch elf.ST_TYPE(s.Info) {
		case elf.STT_FILE, elf.STT_SECTION:
			continue
		case elf.STT_FUNC:
			sym.Kind = Func
			if fn := prog.FuncAt(s.Value); fn != nil && fn.Addr == s.Value {
				sym.Unit, sym.Sealed = fn.Unit, fn.Sealed
			}
		case elf.STT_OBJECT:
			sym.Kind = Object
			if o := prog.ObjectNamedAt(s.Name, s.Value); o != nil {
				sym.Unit = o.Unit
			}
		}
		sym.Fixed = s.Section == elf.SHN_ABS || int(s.Section) < len(f.Sections) && f.Sections[s.Section].Addr < imageBase
		sym.Init = sym.Kind != Other && int(s.Section) < len(f.Sections) && InitSection(f.Sections[s.Section].Name)
		t.Symbols = append(t.Symbols, sym)
	}
	sort.SliceStable(t.Symbols, func(i, j int) bool {
		a, b := &t.Symbols[i], &t.Symbols[j]
		if a.Name != b.Name {
			return a.Name < b.Name
		}
		if a.Unit != b.Unit {
			return a.Unit < b.Unit
		}
		return a.Addr < b.Addr
	})
	t.index()
	return t, nil
}

// InitSection reports sections of what ran or was needed at boot, or never is, by the names that they
// have in the kernel's image and in its objects (include/asm-generic/vmlinux.lds.h).
func InitSection(name string) bool {
	return strings.HasPrefix(name, ".init") || strings.HasPrefix(name, ".exit")
}

// imageBase separates the kernel's image, which KASLR moves as a whole, from
// per-CPU offsets, which start at 0 (arch/x86/kernel/vmlinux.lds.S up to 6.14).
const imageBase = 1 << 47

func (t *Table) index() {
	t.byName = make(map[string][]int, len(t.Symbols))
	for i := range t.Symbols {
		n := t.Symbols[i].Name
		t.byName[n] = append(t.byName[n], i)
	}
}

// In returns the symbol of that name which is local to a unit, or defined in it.
func (t *Table) In(name, unit string) *Symbol {
	for _, i := range t.byName[name] {
		if t.Symbols[i].Unit == unit {
			return &t.Symbols[i]
		}
	}
	return nil
}

// Global returns the global symbol of that name.
func (t *Table) Global(name string) *Symbol {
	for _, i := range t.byName[name] {
		if t.Symbols[i].Global {
			return &t.Symbols[i]
		}
	}
	return nil
}

// Named returns every symbol of that name.
func (t *Table) Named(name string) []*Symbol {
	var out []*Symbol
	for _, i := range t.byName[name] {
		out = append(out, &t.Symbols[i])
	}
	return out
}

// After is the lowest address behind one that has a symbol; that one itself if none has.
func (t *Table) After(addr uint64) uint64 {
	next := addr
	for i := range t.Symbols {
		if a := t.Symbols[i].Addr; a > addr && (next == addr || a < next) {
			next = a
		}
	}
	return next
}

// Unique reports whether a name means one address only.
func (t *Table) Unique(name string) bool {
	l := t.byName[name]
	for _, i := range l {
		if t.Symbols[i].Addr != t.Symbols[l[0]].Addr {
			return false
		}
	}
	return len(l) > 0
}

// Save writes the table to a file.
func (t *Table) Save(path string) error { return gobfile.Save(path, t) }

// Load reads a table that Save wrote.
func Load(path string) (*Table, error) {
	t := &Table{}
	if err := gobfile.Load(path, t); err != nil {
		return nil, err
	}
	t.index()
	return t, nil
}
