// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"

	"plugsched/internal/develop/bind"
	"plugsched/internal/kernel/arch"
)

// relocate returns a module's image in which the anchor is the only undefined
// symbol. For a symbol S that moves with the kernel, S + A is anchor + A', with
// A' = A + S - anchor known at build. Fixed symbols become absolute, which the
// module loader leaves alone; the others leave the symbol table, because it looks up
// every undefined one, used or not (kernel/module/main.c, simplify_symbols).
func relocate(image []byte, b *Binding) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	a, err := arch.Of(f.Machine)
	if err != nil {
		return nil, err
	}
	r := &relocator{Binding: b, arch: a, file: f, image: bytes.Clone(image), moved: map[uint32]int64{}}
	if err := r.symbols(); err != nil {
		return nil, err
	}
	for _, s := range f.Sections {
		switch s.Type {
		case elf.SHT_RELA:
			err = r.section(s)
		case elf.SHT_REL, elf.SHT_GROUP, elf.SHT_SYMTAB_SHNDX:
			err = fmt.Errorf("section %s is a %v, which is not supported", s.Name, s.Type)
		}
		if err != nil {
			return nil, err
		}
	}
	return r.image, nil
}

type relocator struct {
	*Binding
	arch  *arch.Arch
	file  *elf.File
	image []byte

	names []string         // by index in the old symbol table
	index []uint32         // old to new index; that of the anchor for moved symbols
	moved map[uint32]int64 // distances from the anchor, by old index
}

// symbols rewrites the symbol table. Only global symbols leave it, so that the
// number of local ones, which come first, stays (sh_info).
func (r *relocator) symbols() error {
	section := slices.IndexFunc(r.file.Sections, func(s *elf.Section) bool { return s.Type == elf.SHT_SYMTAB })
	list, err := r.file.Symbols() // without the null symbol
	if err != nil {
		return err
	}
	table := r.file.Sections[section]
	syms := make([]elf.Sym64, len(list)+1)
	if err := r.read(table, syms); err != nil {
		return err
	}
	r.names, r.index = make([]string, len(syms)), make([]uint32, len(syms))
	kept := syms[:1]
	anchor := uint32(0)
	for i, s := range list {
		old, sym := uint32(i+1), syms[i+1]
		r.names[old] = s.Name
		if s.Section == elf.SHN_UNDEF && s.Name != r.Anchor {
			p, err := r.place(s.Name)
			if err != nil {
				return err
			}
			if !p.Fixed {
				r.moved[old] = int64(p.Addr - r.Places[r.Anchor].Addr)
				continue
			}
			sym.Shndx, sym.Value = uint16(elf.SHN_ABS), p.Addr
		}
		r.index[old] = uint32(len(kept))
		if s.Section == elf.SHN_UNDEF && s.Name == r.Anchor {
			anchor = r.index[old]
		}
		kept = append(kept, sym)
	}
	if anchor == 0 {
		return fmt.Errorf("%s is not an undefined symbol of the module", r.Anchor)
	}
	for old := range r.moved {
		r.index[old] = anchor
	}
	if err := r.write(table, kept); err != nil {
		return err
	}
	return r.resize(section, len(kept))
}

// place looks a symbol up. Whatever moves with the anchor is in the same 2 GiB.
func (r *relocator) place(name string) (bind.Place, error) {
	p, ok := r.Places[name]
	if !ok {
		return p, fmt.Errorf("nothing is known about the undefined symbol %s", name)
	}
	if d := int64(p.Addr - r.Places[r.Anchor].Addr); !p.Fixed && d != int64(int32(d)) {
		return p, fmt.Errorf("%s is %#x bytes away from %s: they cannot be in one kernel", name, d, r.Anchor)
	}
	return p, nil
}

// relaSize is sizeof(Elf64_Rela).
const relaSize = 24

// section rewrites the relocations of one section.
func (r *relocator) section(s *elf.Section) error {
	list := make([]elf.Rela64, s.Size/relaSize)
	if err := r.read(s, list); err != nil {
		return err
	}
	for i := range list {
		e := &list[i]
		old, kind := elf.R_SYM64(e.Info), elf.R_TYPE64(e.Info)
		if int(old) >= len(r.index) {
			return fmt.Errorf("%s: entry %d has no symbol", s.Name, i)
		}
		if d, ok := r.moved[old]; ok {
			if !slices.Contains(r.arch.Relocations, kind) {
				return fmt.Errorf("%s: a relocation of type %d against %s is not supported", s.Name, kind, r.names[old])
			}
			sum := e.Addend + d
			if (sum > e.Addend) != (d > 0) && d != 0 {
				return fmt.Errorf("%s: %s%+d is out of reach", s.Name, r.names[old], e.Addend)
			}
			e.Addend = sum
		}
		e.Info = elf.R_INFO(r.index[old], kind)
	}
	return r.write(s, list)
}

func (r *relocator) read(s *elf.Section, to any) error {
	data, err := s.Data()
	if err == nil {
		_, err = binary.Decode(data, r.file.ByteOrder, to)
	}
	if err != nil {
		return fmt.Errorf("section %s: %w", s.Name, err)
	}
	return nil
}

// write puts records over the beginning of a section.
func (r *relocator) write(s *elf.Section, from any) error {
	_, err := binary.Encode(r.image[s.Offset:], r.file.ByteOrder, from)
	return err
}

// resize sets the size of the symbol table.
func (r *relocator) resize(section, symbols int) error {
	var h elf.Header64
	if _, err := binary.Decode(r.image, r.file.ByteOrder, &h); err != nil {
		return err
	}
	var sh elf.Section64
	at := r.image[h.Shoff+uint64(section)*uint64(h.Shentsize):]
	if _, err := binary.Decode(at, r.file.ByteOrder, &sh); err != nil {
		return err
	}
	sh.Size = uint64(symbols) * elf.Sym64Size
	_, err := binary.Encode(at, r.file.ByteOrder, sh)
	return err
}
