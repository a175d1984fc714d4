// SPDX-License-Identifier: BSD-3-Clause

// Package elffile opens ELF files that somebody else made, and reads their
// build-id. debug/elf copies a name for every section and symbol, reads sections
// that overlap once each, and believes the size of a compressed one: with a small
// hostile file it would use all memory.
package elffile

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// maxName is twice the kernel's KSYM_NAME_LEN (include/linux/kallsyms.h).
	maxName = 1024
	// maxRatio is far above what compressed debug information reaches.
	maxRatio = 64
)

// NewFile is elf.NewFile for a 64-bit little-endian file of size bytes. What it
// returns takes memory in proportion to that size.
func NewFile(r io.ReaderAt, size int64) (*elf.File, error) {
	if err := checkSectionNames(r, size); err != nil {
		return nil, err
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	var sum uint64
	for _, s := range f.Sections {
		if s.Type != elf.SHT_NOBITS && s.Offset < uint64(size) {
			sum += min(s.FileSize, uint64(size)-s.Offset)
		}
		if sum > 2*uint64(size) {
			return nil, errors.New("its sections overlap")
		}
		if s.Flags&elf.SHF_COMPRESSED != 0 && s.Size/maxRatio > s.FileSize {
			return nil, fmt.Errorf("section %s: %d bytes would unpack to %d", s.Name, s.FileSize, s.Size)
		}
	}
	for _, s := range f.Sections {
		if (s.Type != elf.SHT_SYMTAB && s.Type != elf.SHT_DYNSYM) || int(s.Link) >= len(f.Sections) {
			continue
		}
		names := f.Sections[s.Link]
		if err := CheckStrings(names.Open(), maxName); err != nil {
			return nil, fmt.Errorf("section %s: %w", names.Name, err)
		}
	}
	return f, nil
}

// checkSectionNames looks at the string table that elf.NewFile takes the
// sections' names from. Headers that are wrong in another way are left to it.
func checkSectionNames(r io.ReaderAt, size int64) error {
	var h elf.Header64
	if err := readAt(r, 0, &h); err != nil || string(h.Ident[:4]) != elf.ELFMAG {
		return nil
	}
	if elf.Class(h.Ident[elf.EI_CLASS]) != elf.ELFCLASS64 || elf.Data(h.Ident[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return errors.New("not a 64-bit little-endian ELF file")
	}
	index := uint64(h.Shstrndx)
	if h.Shstrndx == uint16(elf.SHN_XINDEX) {
		var first elf.Section64
		if err := readAt(r, h.Shoff, &first); err != nil {
			return nil
		}
		index = uint64(first.Link)
	}
	var names elf.Section64
	if err := readAt(r, h.Shoff+index*uint64(h.Shentsize), &names); err != nil {
		return nil
	}
	if names.Off > uint64(size) || names.Size > uint64(size)-names.Off {
		return nil
	}
	if elf.SectionFlag(names.Flags)&elf.SHF_COMPRESSED != 0 {
		return errors.New("the names of its sections are compressed")
	}
	if err := CheckStrings(io.NewSectionReader(r, int64(names.Off), int64(names.Size)), maxName); err != nil {
		return fmt.Errorf("names of sections: %w", err)
	}
	return nil
}

func readAt(r io.ReaderAt, off uint64, v any) error {
	if off > 1<<62 {
		return io.EOF
	}
	return binary.Read(io.NewSectionReader(r, int64(off), 1<<10), binary.LittleEndian, v)
}

// CheckStrings refuses a table of NUL-terminated strings of which one is longer
// than most bytes. References into a table may overlap; only the longest string
// bounds what they cost.
func CheckStrings(r io.Reader, most int) error {
	buf := make([]byte, 64<<10)
	run := 0
	for {
		n, err := r.Read(buf)
		for b := buf[:n]; len(b) > 0; {
			i := bytes.IndexByte(b, 0)
			if i < 0 {
				run += len(b)
				break
			}
			if run += i; run > most {
				break
			}
			run, b = 0, b[i+1:]
		}
		if run > most {
			return fmt.Errorf("a string in it is longer than %d bytes", most)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
