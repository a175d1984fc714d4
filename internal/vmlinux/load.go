// SPDX-License-Identifier: BSD-3-Clause

package vmlinux

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// Options for Load.
type Options struct {
	// SourceDirs are the directories, relative to the kernel tree, whose units
	// are described in full: declarations, inlining, objects.
	SourceDirs []string
}

func (o *Options) source(unit string) bool {
	for _, d := range o.SourceDirs {
		if strings.HasPrefix(unit, strings.TrimSuffix(d, "/")+"/") {
			return true
		}
	}
	return false
}

// ErrNoDWARF means that a vmlinux has no debug information.
var ErrNoDWARF = errors.New("has no debug information (DWARF): take the vmlinux of the kernel's -dbg package")

// Load reads a vmlinux.
func Load(ctx context.Context, path string, opt Options) (*Program, error) {
	p, err := load(ctx, path, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// loader holds what is only needed while a Program is made.
type loader struct {
	ctx  context.Context
	opt  Options
	file *elf.File
	raw  []byte // the file, mapped
	prog *Program
}

func load(ctx context.Context, path string, opt Options) (*Program, error) {
	raw, unmap, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	defer unmap()
	f, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("not an ELF file, or truncated: %w", err)
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return nil, errors.New("not a linked kernel (vmlinux)")
	}
	l := &loader{ctx: ctx, opt: opt, file: f, raw: raw, prog: &Program{Path: path, Machine: f.Machine}}
	for _, step := range []func() error{l.sections, l.notes, l.symbols, l.debugInfo, l.tables, l.code, l.data} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := step(); err != nil {
			return nil, err
		}
	}
	l.prog.finish()
	return l.prog, nil
}

func mapFile(path string) ([]byte, func(), error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, unwrapPath(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if st.Size() == 0 || !st.Mode().IsRegular() {
		return nil, nil, errors.New("not a regular file, or empty")
	}
	raw, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil, fmt.Errorf("mmap: %w", err)
	}
	return raw, func() { unix.Munmap(raw) }, nil
}

// unwrapPath drops the path that the caller adds anyway.
func unwrapPath(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// contents returns a section's bytes in the mapped file; nil for sections that
// have none there.
func (l *loader) contents(s *elf.Section) []byte {
	if s == nil || s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 {
		return nil
	}
	if s.Offset > uint64(len(l.raw)) || s.FileSize > uint64(len(l.raw))-s.Offset {
		return nil
	}
	return l.raw[s.Offset : s.Offset+s.FileSize]
}

// sections keeps a copy of what is loaded into memory: the mapping ends with Load.
func (l *loader) sections() error {
	for _, s := range l.file.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Size == 0 {
			continue
		}
		sec := section{name: s.Name, addr: s.Addr, size: s.Size, exec: s.Flags&elf.SHF_EXECINSTR != 0}
		if s.Type != elf.SHT_NOBITS {
			data := l.contents(s)
			if data == nil {
				return fmt.Errorf("truncated: section %s ends behind the end of the file", s.Name)
			}
			sec.data = bytes.Clone(data)
		}
		l.prog.sections = append(l.prog.sections, sec)
	}
	sort.SliceStable(l.prog.sections, func(i, j int) bool { return l.prog.sections[i].addr < l.prog.sections[j].addr })
	if len(l.prog.sections) == 0 {
		return errors.New("has no loaded sections: not a kernel")
	}
	return nil
}

func (l *loader) notes() error {
	for _, s := range l.file.Sections {
		if s.Type != elf.SHT_NOTE {
			continue
		}
		if id := buildID(l.contents(s), l.file); id != "" {
			l.prog.BuildID = id
			return nil
		}
	}
	return errors.New("has no GNU build-id")
}

func buildID(b []byte, f *elf.File) string {
	for len(b) >= 12 {
		namesz, descsz, kind := uint64(f.ByteOrder.Uint32(b)), uint64(f.ByteOrder.Uint32(b[4:])), f.ByteOrder.Uint32(b[8:])
		desc := 12 + (namesz+3)&^3
		if desc+descsz > uint64(len(b)) {
			return ""
		}
		if kind == 3 && string(b[12:12+namesz]) == "GNU\x00" { // NT_GNU_BUILD_ID
			return hex.EncodeToString(b[desc : desc+descsz])
		}
		b = b[min(desc+(descsz+3)&^3, uint64(len(b))):]
	}
	return ""
}

// symbols makes Functions and Objects from the symbol table. Assembly entry
// points without a type are functions too, so that calls from them have a caller.
func (l *loader) symbols() error {
	syms, err := l.file.Symbols()
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, elf.ErrNoSymbols) {
			return errors.New("has no symbol table")
		}
		return fmt.Errorf("symbol table: %w", err)
	}
	p := l.prog
	p.symbols = make(map[string]uint64, len(syms))
	byAddr := map[uint64][]elf.Symbol{}
	exported := map[string]bool{}
	for _, s := range syms {
		if s.Name == "" || s.Section == elf.SHN_UNDEF {
			continue
		}
		if _, dup := p.symbols[s.Name]; !dup || elf.ST_BIND(s.Info) == elf.STB_GLOBAL {
			p.symbols[s.Name] = s.Value
		}
		if name, ok := strings.CutPrefix(s.Name, "__ksymtab_"); ok {
			exported[name] = true
		}
		sec := p.sectionAt(s.Value)
		if sec == nil || int(s.Section) >= len(l.file.Sections) || l.file.Sections[s.Section].Name != sec.name {
			continue
		}
		switch t := elf.ST_TYPE(s.Info); {
		case t == elf.STT_FUNC, t == elf.STT_NOTYPE && sec.exec && !strings.HasPrefix(s.Name, "__pfx_") && !marker(s.Name):
			byAddr[s.Value] = append(byAddr[s.Value], s)
		case t == elf.STT_OBJECT:
			p.Objects = append(p.Objects, &Object{Name: s.Name, Addr: s.Value, Size: s.Size, Section: sec.name, Global: elf.ST_BIND(s.Info) != elf.STB_LOCAL})
		}
	}
	for addr, list := range byAddr {
		p.Functions = append(p.Functions, l.function(addr, list, exported))
	}
	sort.Slice(p.Functions, func(i, j int) bool { return p.Functions[i].Addr < p.Functions[j].Addr })
	sort.Slice(p.Objects, func(i, j int) bool {
		a, b := p.Objects[i], p.Objects[j]
		if a.Addr != b.Addr {
			return a.Addr < b.Addr
		}
		return a.Name < b.Name
	})
	l.sizes()
	return nil
}

// marker reports symbols that the linker script and the tables put into text
// without naming code.
func marker(name string) bool {
	return strings.HasPrefix(name, "__start_") || strings.HasPrefix(name, "__stop_") ||
		strings.HasSuffix(name, "_start") || strings.HasSuffix(name, "_end") || strings.HasSuffix(name, "_begin") ||
		name == "_text" || name == "_stext" || name == "_etext" || name == "_sinittext" || name == "_einittext"
}

// function merges the symbols of one address. Typed symbols come before labels,
// global ones before local ones.
func (l *loader) function(addr uint64, list []elf.Symbol, exported map[string]bool) *Function {
	rank := func(s elf.Symbol) int {
		r := 0
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC {
			r += 4
		}
		if elf.ST_BIND(s.Info) == elf.STB_LOCAL {
			r += 2
		}
		if elf.ST_BIND(s.Info) == elf.STB_WEAK {
			r++
		}
		return r
	}
	sort.SliceStable(list, func(i, j int) bool {
		if a, b := rank(list[i]), rank(list[j]); a != b {
			return a < b
		}
		return list[i].Name < list[j].Name
	})
	s := list[0]
	f := &Function{Name: s.Name, Base: base(s.Name), Addr: addr, Size: s.Size, Section: l.prog.sectionAt(addr).name, FtraceSite: -1,
		Global: elf.ST_BIND(s.Info) != elf.STB_LOCAL, Weak: elf.ST_BIND(s.Info) == elf.STB_WEAK}
	for _, a := range list {
		f.Exported = f.Exported || exported[a.Name]
		if a.Name != s.Name {
			f.Aliases = append(f.Aliases, a.Name)
		}
		f.Size = max(f.Size, a.Size)
	}
	sort.Strings(f.Aliases)
	return f
}

// base strips what gcc appends to the name of a clone or a part.
func base(name string) string {
	if b, _, ok := strings.Cut(name, "."); ok && b != "" {
		return b
	}
	return name
}

// sizes lets functions without a size reach to the next symbol.
func (l *loader) sizes() {
	fs := l.prog.Functions
	for i, f := range fs {
		sec := l.prog.sectionAt(f.Addr)
		end := sec.addr + sec.size
		if i+1 < len(fs) && fs[i+1].Addr < end {
			end = fs[i+1].Addr
		}
		if f.Size == 0 {
			f.Size = end - f.Addr
		}
	}
}
