// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"plugsched/internal/outcome"
)

// ErrDataRelocated means that pointers in the vmlinux's data are only written by
// the boot code, from relocations: the file's data says nothing about whose
// address is taken.
var ErrDataRelocated = outcome.With(outcome.Precondition,
	errors.New("pointers in its data are zero in the file and filled from relocations at boot: such a kernel is not supported"))

// pointerSize is the size and alignment of a pointer.
const pointerSize = 8

// readDataTakes finds functions' addresses in the static data, and among literals, which are
// words between code. start returns the function that begins at an address, or nil.
func (p *Program) readDataTakes(literals []uint64, start func(uint64) *Function) {
	skip := p.metadataSpans()
	for _, addr := range literals {
		if to := start(binary.LittleEndian.Uint64(p.Bytes(addr, pointerSize))); to != nil {
			p.DataTakes = append(p.DataTakes, DataTake{Addr: addr, To: to})
		}
	}
	for _, s := range p.index.sections {
		if s.Exec || s.linker || len(s.Data) == 0 {
			continue
		}
		off := -s.Addr % pointerSize
		for ; off+pointerSize <= uint64(len(s.Data)); off += pointerSize {
			to := start(binary.LittleEndian.Uint64(s.Data[off:]))
			if to == nil {
				continue
			}
			addr := s.Addr + off
			for len(skip) > 0 && skip[0].hi <= addr {
				skip = skip[1:]
			}
			if len(skip) > 0 && skip[0].lo <= addr {
				continue
			}
			t := DataTake{Addr: addr, To: to}
			if o := p.ObjectAt(addr); o != nil {
				t.In, t.Offset = o, addr-o.Addr
			}
			p.DataTakes = append(p.DataTakes, t)
		}
	}
	slices.SortFunc(p.DataTakes, func(a, b DataTake) int { return cmp.Compare(a.Addr, b.Addr) })
}

// relocate does for the data what the boot code does: the words that it fills in from
// relocations, which are part of the loaded kernel, are zero in the file or have their value
// already. (arch/arm64/kernel/head.S, __relocate_kernel)
func (v *vmlinux) relocate() error {
	for i, s := range v.elf.Sections {
		if s.Type != elf.SHT_RELA || v.sections[i] == nil {
			continue
		}
		table := v.sections[i].Data
		for ; len(table) >= relaSize; table = table[relaSize:] {
			if uint32(binary.LittleEndian.Uint64(table[8:])) != v.mach.Relative {
				continue
			}
			at, value := binary.LittleEndian.Uint64(table), binary.LittleEndian.Uint64(table[16:])
			sec, word := v.wordAt(at)
			if word == nil {
				continue
			}
			if was := binary.LittleEndian.Uint64(word); was != 0 && was != value {
				return fmt.Errorf("the word at %#x is %#x, and its relocation gives %#x", at, was, value)
			}
			binary.LittleEndian.PutUint64(word, value)
			if sec.Exec {
				v.literals = append(v.literals, at)
			}
		}
	}
	slices.Sort(v.literals)
	return nil
}

// relaSize is that of an entry with an addend (ELF64_Rela).
const relaSize = 24

// samples is the number of relocations that checkDataInPlace looks at in each
// relocation section.
const samples = 256

// checkDataInPlace returns ErrDataRelocated if the relocations that the file
// still has give pointers that its data lacks. Without relocations there is
// nothing else that could fill the data.
func (v *vmlinux) checkDataInPlace() error {
	var seen, missing int
	for _, s := range v.elf.Sections {
		if s.Type != elf.SHT_RELA || s.ReaderAt == nil || s.Entsize != relaSize || s.Size < relaSize {
			continue
		}
		if s.Info != 0 && (int(s.Info) >= len(v.sections) || v.sections[s.Info] == nil || v.sections[s.Info].Exec) {
			continue
		}
		n, m, err := v.sampleRelocations(s)
		if err != nil {
			return err
		}
		seen, missing = seen+n, missing+m
	}
	if missing > seen/2 {
		return fmt.Errorf("%d of %d: %w", missing, seen, ErrDataRelocated)
	}
	return nil
}

func (v *vmlinux) sampleRelocations(s *elf.Section) (seen, missing int, err error) {
	count := s.Size / relaSize
	step := max(1, count/samples)
	var e [relaSize]byte
	for i := uint64(0); i < count; i += step {
		if _, err := s.ReadAt(e[:], int64(i*relaSize)); err != nil {
			return 0, 0, fmt.Errorf("truncated: section %s: %w", s.Name, err)
		}
		info := binary.LittleEndian.Uint64(e[8:])
		value := binary.LittleEndian.Uint64(e[16:])
		switch uint32(info) {
		case v.mach.Abs64:
			sym := info >> 32
			if sym > uint64(len(v.symbols)) {
				return 0, 0, fmt.Errorf("section %s: relocation %d refers to symbol %d of %d", s.Name, i, sym, len(v.symbols))
			}
			if sym > 0 { // elf.File.Symbols leaves the null symbol out
				value += v.symbols[sym-1].Value
			}
		case v.mach.Relative:
		default:
			continue
		}
		word, ok := v.word(binary.LittleEndian.Uint64(e[:]))
		if !ok || value == 0 {
			continue
		}
		seen++
		if word == 0 {
			missing++
		}
	}
	return seen, missing, nil
}

// word reads the pointer at a link address.
func (v *vmlinux) word(addr uint64) (uint64, bool) {
	if _, b := v.wordAt(addr); b != nil {
		return binary.LittleEndian.Uint64(b), true
	}
	return 0, false
}

// wordAt is where the pointer at a link address is kept, nil if the file does not hold it.
func (v *vmlinux) wordAt(addr uint64) (*Section, []byte) {
	for _, s := range v.sections {
		if s == nil {
			continue
		}
		if off := addr - s.Addr; off < uint64(len(s.Data)) && uint64(len(s.Data))-off >= pointerSize {
			return s, s.Data[off : off+pointerSize]
		}
	}
	return nil, nil
}
