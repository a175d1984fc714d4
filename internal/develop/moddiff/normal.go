// SPDX-License-Identifier: BSD-3-Clause

package moddiff

import (
	"bytes"
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"plugsched/internal/develop/asm"
	"plugsched/internal/kernel/arch/isa"
)

// normal is what a function or an object is, wherever it and what it refers to lie: its bytes
// without addresses, and for each address what it means.
func (m *Module) normal(s elf.Symbol) string {
	code := m.bytesOf(s)
	var refs strings.Builder
	relocated := map[uint64]bool{}
	for _, r := range m.within(s) {
		at := r.off - s.Value
		field := m.arch.Field(r.kind)
		if at < uint64(len(code)) {
			field.Clear(code[at:])
		}
		relocated[at] = true
		bias := int64(0)
		if field.Branch {
			bias = field.Bias
		}
		fmt.Fprintf(&refs, "%x %d %s\n", at, r.kind, m.target(r, bias))
	}
	if elf.ST_TYPE(s.Info) == elf.STT_FUNC {
		m.branches(s, code, relocated, &refs)
		for _, at := range m.sites[int(s.Section)] {
			if at.at < s.Value || at.at >= s.Value+s.Size {
				continue
			}
			for _, r := range at.rest {
				fmt.Fprintf(&refs, "%x table %s\n", at.at-s.Value, m.target(r, 0))
			}
		}
	}
	return string(code) + "\x00" + refs.String()
}

// branches are those that the assembler has filled in: to others of the same section. (How far away
// they are still shows where that takes a longer instruction.)
func (m *Module) branches(s elf.Symbol, code []byte, relocated map[uint64]bool, refs *strings.Builder) {
	m.arch.Refs(slices.Clone(code), s.Value, func(r isa.Ref) {
		at := r.Site - s.Value
		if !r.Branch() || at >= uint64(len(code)) || r.Target >= s.Value && r.Target < s.Value+s.Size {
			return
		}
		end := at + uint64(max(m.arch.Size(code[at:]), 1))
		for i := at; i < end; i++ {
			if relocated[i] {
				return
			}
		}
		if b, ok := m.arch.Branch(code[at:]); ok {
			b.Field.Clear(code[at+uint64(b.Offset):])
		} else {
			clear(code[at+1 : min(end, uint64(len(code)))]) // a short one: the distance follows
		}
		fmt.Fprintf(refs, "%x branch %s\n", at, m.place(int(s.Section), r.Target))
	})
}

// target names what a relocation refers to.
func (m *Module) target(r reloc, bias int64) string {
	if r.symbol < 1 || r.symbol > len(m.symbols) {
		return "nothing"
	}
	s := m.symbols[r.symbol-1]
	off := r.addend + bias
	switch {
	case s.Section == elf.SHN_UNDEF:
		return m.inKernel(off)
	case s.Section == elf.SHN_ABS:
		return named(s.Name, off)
	case elf.ST_TYPE(s.Info) == elf.STT_SECTION:
		return m.place(int(s.Section), s.Value+uint64(off))
	}
	return named(stem(s), off)
}

// An operand that follows an address in an instruction moves it, by its own size: a symbol closely
// behind is what was meant.
const operand = 4

// inKernel names what is at a distance from the symbol by which the module is bound.
func (m *Module) inKernel(off int64) string {
	if m.anchor == 0 {
		return named(m.anchored, off)
	}
	addr := m.anchor + uint64(off)
	i, exact := slices.BinarySearchFunc(m.kernel, addr, func(s symbol, a uint64) int { return cmp.Compare(s.addr, a) })
	if !exact {
		if i < len(m.kernel) && m.kernel[i].addr-addr <= operand {
			return named(m.kernel[i].name, -int64(m.kernel[i].addr-addr))
		}
		i--
	}
	if i < 0 {
		return fmt.Sprintf("%#x", addr)
	}
	return named(m.kernel[i].name, int64(addr-m.kernel[i].addr))
}

// place names what is at a place of a section: a text by itself, and what has no name by the
// bytes that are there.
func (m *Module) place(section int, at uint64) string {
	if section >= len(m.file.Sections) {
		return "nothing"
	}
	sec, data := m.file.Sections[section], m.data[section]
	if sec.Flags&elf.SHF_STRINGS != 0 && at <= uint64(len(data)) {
		text, _, _ := bytes.Cut(data[at:], []byte{0})
		return fmt.Sprintf("%q", text)
	}
	list := m.spans[section]
	// Signed: a place can be before the first.
	i, found := slices.BinarySearchFunc(list, int64(at), func(s elf.Symbol, at int64) int { return cmp.Compare(int64(s.Value), at) })
	if !found {
		const field = 4 // what is relative to an instruction begins with the address's own bytes
		if i < len(list) && list[i].Value-at <= field+operand {
			return named(stem(list[i]), -int64(list[i].Value-at))
		}
		i--
	}
	if i >= 0 && at < list[i].Value+list[i].Size {
		return named(stem(list[i]), int64(at-list[i].Value))
	}
	const some = 16
	if at > uint64(len(data)) {
		return fmt.Sprintf("%s+%#x", sec.Name, at)
	}
	return fmt.Sprintf("%s %x", sec.Name, data[at:min(at+some, uint64(len(data)))])
}

func named(name string, off int64) string {
	if off == 0 {
		return name
	}
	return fmt.Sprintf("%s%+d", name, off)
}

// stem is a symbol's name; the number of a local variable in it changes with what is before it.
func stem(s elf.Symbol) string {
	if elf.ST_TYPE(s.Info) == elf.STT_OBJECT {
		return asm.Stem(s.Name)
	}
	return s.Name
}
