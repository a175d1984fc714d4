// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"strings"

	"plugsched/internal/gobfile"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
	"plugsched/internal/kernel/image"
)

// Code is the kernel's machine code of the scheduler's functions, kept so that
// the comparison does not need the vmlinux again.
type Code struct{ Functions []FunctionCode }

// FunctionCode is one function's code as shipped.
type FunctionCode struct {
	Name    string
	Aliases []string
	Unit    string
	Addr    uint64
	Code    []byte
	Calls   map[uint64][]string // offset of a direct branch to the names of its target
	Keys    map[uint64]Key      // offset of a static key's site
}

// Key is where a static key's site leads to.
type Key struct {
	Names  []string // of the function with the target
	Offset uint64   // of the target in it
}

// KernelCode collects the code of the functions of the units that want accepts.
func KernelCode(prog *image.Program, want func(unit string) bool) *Code {
	c := &Code{}
	keys := map[uint64]uint64{}
	for _, s := range prog.PatchSites {
		if s.Kind == image.SiteStaticKey {
			keys[s.Addr] = s.Target
		}
	}
	for _, f := range prog.Functions {
		if want(f.Unit) && !strings.HasPrefix(f.Name, "__SCT__") && !strings.HasPrefix(f.Name, "__pfx_") {
			fc := FunctionCode{Name: f.Name, Aliases: f.Aliases, Unit: f.Unit, Addr: f.Addr, Code: prog.Bytes(f.Addr, int(f.Size)),
				Calls: map[uint64][]string{}, Keys: map[uint64]Key{}}
			for at := range f.Size {
				if target, ok := keys[f.Addr+at]; ok {
					fc.Keys[at] = keyOf(prog.FuncAt(target), target)
				}
			}
			for _, call := range f.Calls {
				if call.Site-f.Addr < f.Size && call.Offset == 0 {
					fc.Calls[call.Site-f.Addr] = append([]string{call.To.Name}, call.To.Aliases...)
				}
			}
			c.Functions = append(c.Functions, fc)
		}
	}
	return c
}

func keyOf(f *image.Function, target uint64) Key {
	if f == nil {
		return Key{}
	}
	return Key{append([]string{f.Name}, f.Aliases...), target - f.Addr}
}

// Places are the addresses of a unit's functions.
func (c *Code) Places(unit string) map[string]uint64 {
	out := map[string]uint64{}
	for _, f := range c.Functions {
		if f.Unit == unit {
			for _, name := range append([]string{f.Name}, f.Aliases...) {
				out[name] = f.Addr
			}
		}
	}
	return out
}

// Save writes the code to a file.
func (c *Code) Save(path string) error { return gobfile.Save(path, c) }

// LoadCode reads what Save wrote.
func LoadCode(path string) (*Code, error) {
	c := &Code{}
	return c, gobfile.Load(path, c)
}

// Mismatch is a function that the pristine source does not reproduce.
type Mismatch struct {
	Function string
	Unit     string
	Why      string
}

// Reproduction is the comparison of compiled pristine source with the kernel.
type Reproduction struct {
	Functions  int // functions of the kernel in these units
	Reproduced int // of those, with equal size and code
	Mismatches []Mismatch
}

// Reproduce compares the functions of an object file, compiled from pristine
// source, with the kernel's: same name, same size, same code, and direct calls to
// the same functions. Addresses in other instructions cannot be compared by
// value: gcc is free to emit a unit's functions in another order.
//
// A static key's site is a jump for gcc, which objtool turns into a nop of the same
// size where the key is off at first (tools/objtool/check.c, add_jump_table_alts); with
// some configurations it only does so to the linked kernel. The two are equal if
// both belong to a key and lead to the same place when it is on.
func Reproduce(kernel *Code, unit, object string) (*Reproduction, error) {
	f, err := elf.Open(object)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a, err := arch.Of(f.Machine)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object, err)
	}
	r := &reproducer{arch: a, unit: unit, file: f, relocs: map[int][]reloc{}, code: map[int][]byte{}, at: map[place]string{},
		keys: map[place]place{}, out: &Reproduction{}}
	ours, err := r.load()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object, err)
	}
	for i := range kernel.Functions {
		if fn := &kernel.Functions[i]; fn.Unit == unit {
			r.out.Functions++
			if why := r.compare(fn, ours); why != "" {
				r.out.Mismatches = append(r.out.Mismatches, Mismatch{fn.Name, unit, why})
			} else {
				r.out.Reproduced++
			}
		}
	}
	sort.Slice(r.out.Mismatches, func(i, j int) bool { return r.out.Mismatches[i].Function < r.out.Mismatches[j].Function })
	return r.out, nil
}

type reloc struct {
	off    uint64
	field  isa.Field
	target string // name of the symbol, "" when it is not a function's start
}

type place struct {
	section int
	off     uint64
}

type reproducer struct {
	arch   *arch.Arch
	unit   string
	file   *elf.File
	relocs map[int][]reloc // by section, sorted
	code   map[int][]byte
	at     map[place]string // functions by place
	keys   map[place]place  // sites of static keys, and where they lead to
	spans  []elf.Symbol     // functions with a size
	out    *Reproduction
}

// load reads the code sections, the functions in them and the relocations.
func (r *reproducer) load() (map[string]elf.Symbol, error) {
	for i, s := range r.file.Sections {
		if s.Type == elf.SHT_PROGBITS && s.Flags&elf.SHF_EXECINSTR != 0 {
			data, err := s.Data()
			if err != nil {
				return nil, err
			}
			r.code[i] = data
		}
	}
	syms, err := r.file.Symbols()
	if err != nil {
		return nil, err
	}
	ours := map[string]elf.Symbol{}
	for _, s := range syms {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Section != elf.SHN_UNDEF {
			r.at[place{int(s.Section), s.Value}] = s.Name
			if s.Size > 0 {
				ours[s.Name] = s
				r.spans = append(r.spans, s)
			}
		}
	}
	for _, s := range r.file.Sections {
		if s.Type == elf.SHT_RELA && r.code[int(s.Info)] != nil {
			data, err := s.Data()
			if err != nil {
				return nil, err
			}
			r.relocs[int(s.Info)] = r.readRelocs(data, syms)
		}
		if s.Type == elf.SHT_RELA && r.file.Sections[s.Info].Name == keySection {
			if err := r.readKeys(s, syms); err != nil {
				return nil, err
			}
		}
	}
	return ours, nil
}

func (r *reproducer) readRelocs(data []byte, syms []elf.Symbol) []reloc {
	var out []reloc
	for ; len(data) >= 24; data = data[24:] {
		off, info, addend := binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint64(data[8:]), int64(binary.LittleEndian.Uint64(data[16:]))
		l := reloc{off: off, field: r.arch.Field(uint32(info))}
		// The debug/elf package leaves out the null symbol.
		if n := int(info>>32) - 1; l.field.Branch && n >= 0 && n < len(syms) {
			s, addend := syms[n], addend+l.field.Bias
			if elf.ST_TYPE(s.Info) == elf.STT_SECTION {
				l.target = r.at[place{int(s.Section), s.Value + uint64(addend)}]
			} else if addend == 0 {
				l.target = s.Name
			}
		}
		out = append(out, l)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].off < out[j].off })
	return out
}

// keySection has a struct jump_entry for each site (include/linux/jump_label.h, with
// HAVE_ARCH_JUMP_LABEL_RELATIVE): where it is and where it leads to, each relative to its
// own place and 4 bytes long, and the key, 8 bytes.
const (
	keySection   = "__jump_table"
	keyEntrySize = 16
)

// readKeys reads the relocations of keySection.
func (r *reproducer) readKeys(s *elf.Section, syms []elf.Symbol) error {
	data, err := s.Data()
	if err != nil {
		return err
	}
	var entries [2]map[uint64]place // sites, targets
	entries[0], entries[1] = map[uint64]place{}, map[uint64]place{}
	for ; len(data) >= 24; data = data[24:] {
		off, info := binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint64(data[8:])
		addend := int64(binary.LittleEndian.Uint64(data[16:]))
		n, field := int(info>>32)-1, off%keyEntrySize/4
		if field < 2 && n >= 0 && n < len(syms) {
			entries[field][off/keyEntrySize] = place{int(syms[n].Section), syms[n].Value + uint64(addend)}
		}
	}
	for i, site := range entries[0] {
		r.keys[site] = entries[1][i]
	}
	return nil
}

// leads reports whether a place is where a key of the kernel's leads to.
func (r *reproducer) leads(to place, key Key) bool {
	for _, s := range r.spans {
		if int(s.Section) == to.section && to.off >= s.Value && to.off < s.Value+s.Size {
			return to.off-s.Value == key.Offset && slices.Contains(key.Names, s.Name)
		}
	}
	return false
}

// compareKeys holds the static keys of a function against the kernel's. Where ours is
// still a jump that the kernel's nop stands for, it makes got equal to want.
func (r *reproducer) compareKeys(fn *FunctionCode, s elf.Symbol, got, want []byte) string {
	for site := range r.keys {
		if _, ok := fn.Keys[site.off-s.Value]; site.section == int(s.Section) && site.off-s.Value < s.Size && !ok {
			return fmt.Sprintf("has a static key at +%#x, in the kernel it has none there", site.off-s.Value)
		}
	}
	code := r.code[int(s.Section)][s.Value:]
	for at, key := range fn.Keys {
		to, ok := r.keys[place{int(s.Section), s.Value + at}]
		if !ok {
			return fmt.Sprintf("has no static key at +%#x, in the kernel it has one", at)
		}
		if !r.leads(to, key) {
			return fmt.Sprintf("has a static key at +%#x that leads to another place than the kernel's", at)
		}
		if n := r.arch.KeyJump(code[at:]); n > 0 && n == r.arch.KeyNop(fn.Code[at:]) {
			copy(got[at:at+uint64(n)], want[at:])
		}
	}
	return ""
}

// compare returns how a function differs, or "".
func (r *reproducer) compare(fn *FunctionCode, ours map[string]elf.Symbol) string {
	s, ok := ours[fn.Name]
	for _, alias := range fn.Aliases {
		if !ok {
			s, ok = ours[alias]
		}
	}
	code := r.code[int(s.Section)]
	switch {
	case !ok:
		return "is not in the compiled source"
	case s.Size != uint64(len(fn.Code)):
		return fmt.Sprintf("is %d bytes long, in the kernel %d", s.Size, len(fn.Code))
	case s.Value+s.Size > uint64(len(code)):
		return "has no code"
	}
	got, want := bytes.Clone(code[s.Value:s.Value+s.Size]), bytes.Clone(fn.Code)
	targets := map[uint64]string{} // offset of a relocated field to its target
	l := r.relocs[int(s.Section)]
	for i := sort.Search(len(l), func(i int) bool { return l[i].off >= s.Value }); i < len(l) && l[i].off < s.Value+s.Size; i++ {
		at := l[i].off - s.Value
		targets[at] = l[i].target
		l[i].field.Clear(got[at:])
		l[i].field.Clear(want[at:])
	}
	for site, names := range fn.Calls {
		branch, ok := r.arch.Branch(fn.Code[site:])
		if !ok {
			continue
		}
		at := site + uint64(branch.Offset)
		target, relocated := targets[at]
		if !relocated {
			if ours, ok := r.arch.Branch(got[site:]); ok {
				target = r.at[place{int(s.Section), s.Value + site + uint64(ours.Distance)}]
			}
			branch.Field.Clear(got[at:])
			branch.Field.Clear(want[at:])
		}
		if !slices.Contains(names, target) {
			return fmt.Sprintf("calls %q at +%#x, in the kernel %s", target, site, names[0])
		}
	}
	if why := r.compareKeys(fn, s, got, want); why != "" {
		return why
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Sprintf("differs at +%#x", i)
		}
	}
	return ""
}
