// SPDX-License-Identifier: BSD-3-Clause

package elffile

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"

	"plugsched/internal/fuzzing"
)

// section is a header and, if not nil, the contents to place in the file.
type section struct {
	elf.Section64
	data string
}

// file makes an ELF file of an empty section, those given and .shstrtab.
func file(secs ...section) []byte {
	const names = "\x00.shstrtab\x00"
	secs = append(append([]section{{}}, secs...), section{elf.Section64{Name: 1, Type: uint32(elf.SHT_STRTAB)}, names})
	var body, out bytes.Buffer
	for i := range secs {
		if s := &secs[i]; s.data != "" {
			s.Off, s.Size = uint64(64+body.Len()), uint64(len(s.data))
			body.WriteString(s.data)
		}
	}
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Shoff: uint64(64 + body.Len()),
		Ehsize: 64, Shentsize: 64, Shnum: uint16(len(secs)), Shstrndx: uint16(len(secs) - 1)}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	binary.Write(&out, binary.LittleEndian, h)
	out.Write(body.Bytes())
	for _, s := range secs {
		binary.Write(&out, binary.LittleEndian, s.Section64)
	}
	return out.Bytes()
}

func symbols(names string) []section {
	var syms bytes.Buffer
	binary.Write(&syms, binary.LittleEndian, []elf.Sym64{{}, {Name: 1, Shndx: 1}})
	return []section{
		{elf.Section64{Type: uint32(elf.SHT_SYMTAB), Link: 2, Entsize: 24}, syms.String()},
		{elf.Section64{Type: uint32(elf.SHT_STRTAB)}, names},
	}
}

func compressed(size uint64) []section {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, elf.Chdr64{Type: uint32(elf.COMPRESS_ZLIB), Size: size, Addralign: 1})
	return []section{{elf.Section64{Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_COMPRESSED)}, b.String()}}
}

func TestNewFile(t *testing.T) {
	overlapping := make([]section, 100)
	for i := range overlapping {
		overlapping[i].Section64 = elf.Section64{Type: uint32(elf.SHT_PROGBITS), Size: 4096}
	}
	long := bytes.Replace(file(section{data: strings.Repeat("x", 2000)}), []byte("\x00.shstrtab\x00"), []byte("\x00.shstrtabx"), 1)
	bits32 := file()
	bits32[elf.EI_CLASS] = byte(elf.ELFCLASS32)
	for name, tt := range map[string]struct {
		image []byte
		want  string // of the error, "" for none
	}{
		"plain":           {file(symbols("\x00main\x00")...), ""},
		"long symbol":     {file(symbols("\x00" + strings.Repeat("x", maxName+1) + "\x00")...), "longer than"},
		"longest symbol":  {file(symbols("\x00" + strings.Repeat("x", maxName) + "\x00")...), ""},
		"compressed":      {file(compressed(24 * maxRatio)...), ""},
		"bomb":            {file(compressed(1 << 40)...), "would unpack"},
		"overlapping":     {file(overlapping...), "overlap"},
		"unnamed section": {long, "section name"},
		"32 bits":         {bits32, "64-bit"},
		"text":            {[]byte("#!/bin/sh"), ""},
	} {
		f, err := NewFile(bytes.NewReader(tt.image), int64(len(tt.image)))
		if tt.want == "" {
			if _, plain := elf.NewFile(bytes.NewReader(tt.image)); (err == nil) != (plain == nil) {
				t.Errorf("%s: %v, of debug/elf %v", name, err, plain)
			}
		} else if f != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
}

func TestSectionNames(t *testing.T) {
	image := file()
	names := bytes.Index(image, []byte("\x00.shstrtab\x00"))
	var h elf.Header64
	if err := binary.Read(bytes.NewReader(image), binary.LittleEndian, &h); err != nil {
		t.Fatal(err)
	}
	// A table of names that reaches over what is appended.
	image = append(image, strings.Repeat("x", maxName+1)...)
	size := h.Shoff + uint64(h.Shstrndx)*64 + 32
	binary.LittleEndian.PutUint64(image[size:], uint64(len(image)-names))
	if _, err := NewFile(bytes.NewReader(image), int64(len(image))); err == nil || !strings.Contains(err.Error(), "names of sections") {
		t.Errorf("error %v", err)
	}
}

func TestCheckStrings(t *testing.T) {
	const buf = 64 << 10 // of the reader; strings may straddle it
	for _, tt := range []struct {
		text string
		most int
		ok   bool
	}{
		{"", 0, true}, {"\x00\x00", 0, true}, {"abc\x00", 3, true}, {"abc\x00", 2, false}, {"a\x00abc", 2, false},
		{strings.Repeat("x", buf-2) + "\x00" + strings.Repeat("y", 4), buf, true},
		{strings.Repeat("x\x00", buf/2-1) + strings.Repeat("y", 6), 5, false},
		{strings.Repeat("x\x00", buf/2-1) + strings.Repeat("y", 6), 6, true},
	} {
		if err := CheckStrings(strings.NewReader(tt.text), tt.most); (err == nil) != tt.ok {
			t.Errorf("%.20q..., most %d: %v", tt.text, tt.most, err)
		}
	}
}

// FuzzNewFile: what is accepted can be read in bounded memory.
func FuzzNewFile(f *testing.F) {
	f.Add(file())
	f.Add(file(symbols("\x00main\x00")...))
	f.Add(file(compressed(100)...))
	f.Fuzz(func(t *testing.T, image []byte) {
		fuzzing.Bounded(t, func() {
			e, err := NewFile(bytes.NewReader(image), int64(len(image)))
			if err != nil {
				return
			}
			e.Symbols()
			for _, s := range e.Sections {
				if s.FileSize <= uint64(len(image)) {
					s.Data()
				}
			}
		})
	})
}
