// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"

	"plugsched/internal/elffile"
	"plugsched/internal/kernel/arch"
)

// Section is an allocated section of the vmlinux.
type Section struct {
	Name string
	Addr uint64
	Size uint64
	Exec bool   // holds code, and is not mixed
	Data []byte // nil when the file holds none (.bss)

	// mixed sections are data with a piece of code that is copied before it runs,
	// and so calls nothing by its address: kexec's, in .data since Linux 6.14
	// (arch/x86/kernel/vmlinux.lds.S, .data..relocate_kernel).
	mixed  bool
	linker bool // relocations, dynamic symbols and the like, not the program's
}

func (s *Section) contains(addr uint64) bool { return addr-s.Addr < s.Size }

// vmlinux is an open file: what Load needs of it, before it is interpreted.
type vmlinux struct {
	file     *os.File
	size     uint64
	elf      *elf.File
	mach     *arch.Arch
	sections []*Section // by section number; nil for those not allocated
	symbols  []elf.Symbol
	literals []uint64 // words between code that relocations fill in
}

// open reads the headers, the symbols and the allocated sections. Debug
// information is left in the file.
func open(path string) (*vmlinux, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	v := &vmlinux{file: f}
	if err := v.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

func (v *vmlinux) close() { v.file.Close() }

func (v *vmlinux) read() error {
	st, err := v.file.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	v.size = uint64(st.Size())
	if v.elf, err = elffile.NewFile(v.file, st.Size()); err != nil {
		return fmt.Errorf("not a vmlinux, or truncated: %w", err)
	}
	if v.mach, err = arch.Of(v.elf.Machine); err != nil {
		return err
	}
	if v.elf.Class != elf.ELFCLASS64 || v.elf.Data != elf.ELFDATA2LSB {
		return errors.New("not a 64-bit little-endian ELF file")
	}
	if v.elf.Type != elf.ET_EXEC && v.elf.Type != elf.ET_DYN {
		return fmt.Errorf("not a linked kernel (ELF type %v)", v.elf.Type)
	}
	for _, s := range v.elf.Sections {
		sec, err := v.allocated(s)
		if err != nil {
			return err
		}
		v.sections = append(v.sections, sec)
	}
	if v.symbols, err = v.elf.Symbols(); err != nil {
		return fmt.Errorf("symbol table: %w", err)
	}
	return nil
}

func (v *vmlinux) allocated(s *elf.Section) (*Section, error) {
	if s.Flags&elf.SHF_ALLOC == 0 || s.Type == elf.SHT_NULL {
		return nil, nil
	}
	if s.Addr+s.Size < s.Addr {
		return nil, fmt.Errorf("section %s: its end wraps around the address space", s.Name)
	}
	exec, write := s.Flags&elf.SHF_EXECINSTR != 0, s.Flags&elf.SHF_WRITE != 0
	sec := &Section{Name: s.Name, Addr: s.Addr, Size: s.Size, Exec: exec && !write, mixed: exec && write}
	switch s.Type {
	case elf.SHT_PROGBITS, elf.SHT_NOBITS, elf.SHT_NOTE, elf.SHT_INIT_ARRAY, elf.SHT_FINI_ARRAY:
	default:
		sec.linker = true
	}
	if s.Type == elf.SHT_NOBITS {
		return sec, nil
	}
	var err error
	sec.Data, err = v.data(s)
	return sec, err
}

// data reads a section. elf.Section.Data would grow its buffer piecemeal, which
// doubles the cost of the large ones.
func (v *vmlinux) data(s *elf.Section) ([]byte, error) {
	if s.Type == elf.SHT_NOBITS {
		return nil, nil
	}
	if s.Offset > v.size || s.FileSize > v.size-s.Offset {
		return nil, fmt.Errorf("truncated: section %s ends at byte %d, the file at %d", s.Name, s.Offset+s.FileSize, v.size)
	}
	if s.Flags&elf.SHF_COMPRESSED != 0 {
		b, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("section %s: %w", s.Name, err)
		}
		return b, nil
	}
	b := make([]byte, s.FileSize)
	if _, err := v.file.ReadAt(b, int64(s.Offset)); err != nil {
		return nil, fmt.Errorf("section %s: %w", s.Name, err)
	}
	return b, nil
}

// named reads the section of that name, nil when there is none.
func (v *vmlinux) named(name string) ([]byte, error) {
	s := v.elf.Section(name)
	if s == nil {
		return nil, nil
	}
	return v.data(s)
}

// section returns the allocated section that a symbol is in, or nil.
func (v *vmlinux) section(i elf.SectionIndex) *Section {
	if i == elf.SHN_UNDEF || int(i) >= len(v.sections) {
		return nil
	}
	return v.sections[i]
}

// buildID finds the GNU build-id among the notes. A vmlinux has all its notes in
// one section, which begins with those of Xen.
func (v *vmlinux) buildID() string {
	for i, s := range v.elf.Sections {
		if s.Type != elf.SHT_NOTE || v.sections[i] == nil {
			continue
		}
		if id, ok := elffile.BuildID(v.sections[i].Data, v.elf.ByteOrder); ok {
			return id
		}
	}
	return ""
}
