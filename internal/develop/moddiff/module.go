// SPDX-License-Identifier: BSD-3-Clause

// Package moddiff says what differs between two finished modules: functions by their code,
// whatever they refer to by its name, variables by their contents, and what the modules say of
// themselves.
package moddiff

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"plugsched/internal/artefact/desc"
	"plugsched/internal/elffile"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/outcome"
)

// most bounds what is read as a module, in bytes.
const most = 256 << 20

// Module is a finished module, indexed.
type Module struct {
	Path string
	Desc *desc.Description

	arch     *arch.Arch
	file     *elf.File
	data     map[int][]byte // of sections that are loaded, but for those without contents
	relocs   map[int][]reloc
	symbols  []elf.Symbol         // by the symbol table's index - 1
	spans    map[int][]elf.Symbol // functions and objects of a section, by place
	sites    map[int][]site       // of a section of code, by place
	kernel   []symbol             // the kernel's that it refers to, by address; empty in older modules
	anchor   uint64               // link address of the symbol by which it is bound, 0 if unknown
	anchored string
}

type symbol struct {
	name string
	addr uint64
}

type reloc struct {
	off    uint64
	kind   uint32
	symbol int
	addend int64
}

// Open reads a module.
func Open(path string) (*Module, error) {
	m, err := open(path)
	if err != nil && outcome.Of(err) == outcome.Failed {
		err = outcome.With(outcome.Precondition, err)
	}
	return m, err
}

func open(path string) (*Module, error) {
	// Without O_NONBLOCK a FIFO would keep us here.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", path)
	case st.Size() > most:
		return nil, fmt.Errorf("%s: larger than %d MiB, not a scheduler module", path, most>>20)
	}
	image := make([]byte, st.Size())
	if _, err := io.ReadFull(f, image); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m := &Module{Path: path, Desc: &desc.Description{}, data: map[int][]byte{}, relocs: map[int][]reloc{}, spans: map[int][]elf.Symbol{}}
	if err := m.read(image); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func (m *Module) read(image []byte) (err error) {
	// A signature behind the module is nothing to the ELF file.
	if m.file, err = elffile.NewFile(bytes.NewReader(image), int64(len(image))); err != nil {
		return fmt.Errorf("not a kernel module (%w): the file is truncated or something else", err)
	}
	if m.file.Type != elf.ET_REL {
		return errors.New("not a kernel module")
	}
	if m.arch, err = arch.Of(m.file.Machine); err != nil {
		return err
	}
	s := m.file.Section(desc.Section)
	if s == nil {
		return fmt.Errorf("not made by `plugsched build` (it has no %s section)", desc.Section)
	}
	text, err := s.Data()
	if err == nil {
		err = json.Unmarshal(text, m.Desc)
	}
	if err != nil {
		return fmt.Errorf("its description is damaged: %w", err)
	}
	if m.Desc.Format != desc.Version {
		return fmt.Errorf("its description has format %d, this plugsched reads %d: build the module again", m.Desc.Format, desc.Version)
	}
	if m.symbols, err = m.file.Symbols(); err != nil {
		return err
	}
	for i, s := range m.file.Sections {
		if s.Type != elf.SHT_NOBITS && s.Type != elf.SHT_NULL && (s.Offset > uint64(len(image)) || s.FileSize > uint64(len(image))-s.Offset) {
			return fmt.Errorf("truncated: section %s ends behind the end of the file", s.Name)
		}
		switch {
		case s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS:
			m.data[i], err = s.Data()
		case s.Type == elf.SHT_RELA:
			err = m.readRelocs(s)
		}
		if err != nil {
			return fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	m.index()
	return nil
}

const relaSize = 24

func (m *Module) readRelocs(s *elf.Section) error {
	data, err := s.Data()
	if err != nil {
		return err
	}
	to := int(s.Info)
	for e := range slices.Chunk(data, relaSize) {
		if len(e) < relaSize {
			return errors.New("it is cut off")
		}
		info := binary.LittleEndian.Uint64(e[8:])
		m.relocs[to] = append(m.relocs[to], reloc{off: binary.LittleEndian.Uint64(e), kind: uint32(info), symbol: int(info >> 32),
			addend: int64(binary.LittleEndian.Uint64(e[16:]))})
	}
	slices.SortFunc(m.relocs[to], func(a, b reloc) int { return cmp.Compare(a.off, b.off) })
	return nil
}

// index sorts the symbols by what they are of.
func (m *Module) index() {
	for _, s := range m.symbols {
		t := elf.ST_TYPE(s.Info)
		switch {
		case s.Section == elf.SHN_UNDEF && s.Name != "":
			m.anchored = s.Name
		case s.Section < elf.SHN_LORESERVE && (t == elf.STT_FUNC || t == elf.STT_OBJECT) && s.Size > 0:
			m.spans[int(s.Section)] = append(m.spans[int(s.Section)], s)
		}
	}
	for _, list := range m.spans {
		slices.SortFunc(list, func(a, b elf.Symbol) int {
			return cmp.Or(cmp.Compare(a.Value, b.Value), cmp.Compare(a.Name, b.Name))
		})
	}
	for _, name := range slices.Sorted(maps.Keys(m.Desc.Symbols)) {
		m.kernel = append(m.kernel, symbol{name, m.Desc.Symbols[name]})
	}
	slices.SortStableFunc(m.kernel, func(a, b symbol) int { return cmp.Compare(a.addr, b.addr) })
	m.anchor = m.Desc.Symbols[m.anchored]
	m.sites = map[int][]site{}
	for i, s := range m.file.Sections {
		if size := tables[s.Name]; size > 0 {
			m.readTable(i, size)
		}
	}
}

// tables are those whose entries begin with a place in code and say more about it, and the size of an
// entry: include/linux/jump_label.h, include/linux/static_call_types.h.
var tables = map[string]uint64{"__jump_table": 16, ".static_call_sites": 8}

// site is what a table says of a place in code.
type site struct {
	at   uint64
	rest []reloc // of the entry but for its first
}

func (m *Module) readTable(section int, size uint64) {
	entries := map[uint64][]reloc{}
	for _, r := range m.relocs[section] {
		entries[r.off/size] = append(entries[r.off/size], r)
	}
	for _, l := range entries {
		if n := l[0].symbol - 1; n >= 0 && n < len(m.symbols) {
			s := m.symbols[n]
			m.sites[int(s.Section)] = append(m.sites[int(s.Section)], site{s.Value + uint64(l[0].addend), l[1:]})
		}
	}
	for _, l := range m.sites {
		slices.SortFunc(l, func(a, b site) int { return cmp.Compare(a.at, b.at) })
	}
}

// bytesOf are what a symbol covers; without contents they are zero.
func (m *Module) bytesOf(s elf.Symbol) []byte {
	data, at := m.data[int(s.Section)], s.Value
	if int(s.Section) >= len(m.file.Sections) || s.Size > most {
		return nil
	}
	if m.file.Sections[s.Section].Type == elf.SHT_NOBITS {
		return make([]byte, s.Size)
	}
	if at > uint64(len(data)) || s.Size > uint64(len(data))-at {
		return nil
	}
	return slices.Clone(data[at : at+s.Size])
}

// within are the relocations of what a symbol covers.
func (m *Module) within(s elf.Symbol) []reloc {
	l := m.relocs[int(s.Section)]
	from, _ := slices.BinarySearchFunc(l, s.Value, func(r reloc, at uint64) int { return cmp.Compare(r.off, at) })
	to, _ := slices.BinarySearchFunc(l, s.Value+s.Size, func(r reloc, at uint64) int { return cmp.Compare(r.off, at) })
	return l[from:max(from, to)]
}
