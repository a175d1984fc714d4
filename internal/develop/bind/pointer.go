// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/edits"
)

const doPointer = "call it by name: give the pointer a function of your own that does"

// notCalled are functions of the kernel whose address is taken for something else than a call;
// patterns as of path.Match.
var notCalled = []notCalledBy{
	{"__SCT__*", false, "trampolines of static calls, which __static_call_update() writes (include/linux/static_call.h)"},
	{"preempt_schedule*_thunk", false, "given to __static_call_update() too (__sched_dynamic_update, kernel/sched/core.c)"},
	{"copy_process", true, "the runtime looks for its frames on stacks"},
	{"pre_handler_kretprobe", true, "the runtime tells kretprobes by it"},
}

type notCalledBy struct {
	pattern string
	runtime bool // only the runtime is known not to call it
	why     string
}

// RuntimeStart and RuntimeEnd are the labels between which a module has the runtime's code.
const (
	RuntimeStart = "plugsched_runtime_start"
	RuntimeEnd   = "plugsched_runtime_end"
)

// CheckPointers refuses a linked module in which the address of a function of the kernel
// that must not be called by pointer is anything else than a direct branch's target. Where
// a pointer goes nobody follows: the kernel would die of the call. places are those of the
// undefined symbols; src says what was changed.
func (k *Kernel) CheckPointers(ko string, places map[string]Place, src *edits.Set) ([]Refusal, error) {
	f, err := elf.Open(ko)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ko, err)
	}
	c := &pointers{kernel: k, file: f, symbols: syms, places: places, src: src}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA || int(s.Info) >= len(f.Sections) || f.Sections[s.Info].Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		if err := c.section(s); err != nil {
			return nil, fmt.Errorf("%s: section %s: %w", ko, s.Name, err)
		}
	}
	return Distinct(c.out), nil
}

type pointers struct {
	kernel  *Kernel
	file    *elf.File
	symbols []elf.Symbol
	places  map[string]Place
	src     *edits.Set
	out     []Refusal
}

// section looks at the relocations of a section that is loaded.
func (c *pointers) section(s *elf.Section) error {
	rela, err := s.Data()
	if err != nil {
		return err
	}
	into := c.file.Sections[s.Info]
	var code []byte
	if into.Flags&elf.SHF_EXECINSTR != 0 {
		if code, err = into.Data(); err != nil {
			return err
		}
	}
	for ; len(rela) >= 24; rela = rela[24:] {
		at, info := binary.LittleEndian.Uint64(rela), binary.LittleEndian.Uint64(rela[8:])
		n := int(info>>32) - 1 // the debug/elf package leaves out the null symbol
		if n < 0 || n >= len(c.symbols) || c.symbols[n].Section != elf.SHN_UNDEF {
			continue
		}
		to := c.symbols[n].Name
		branch := at < uint64(len(code)) && c.kernel.Arch.IsBranch(uint32(info), code, int(at))
		if c.places[to].Sealed && !branch && c.called(to, elf.SectionIndex(s.Info), at) {
			c.refuse(holder(c.symbols, elf.SectionIndex(s.Info), at), into.Name, strings.TrimPrefix(to, OrigPrefix))
		}
	}
	return nil
}

// called reports whether who takes a function's address at a place of a section may call it.
func (c *pointers) called(function string, section elf.SectionIndex, at uint64) bool {
	return !slices.ContainsFunc(notCalled, func(n notCalledBy) bool {
		ok, _ := path.Match(n.pattern, function)
		return ok && (!n.runtime || c.inRuntime(section, at))
	})
}

func (c *pointers) inRuntime(section elf.SectionIndex, at uint64) bool {
	beyond := func(label string) bool {
		return slices.ContainsFunc(c.symbols, func(s elf.Symbol) bool {
			return s.Name == label && s.Section == section && at >= s.Value
		})
	}
	return beyond(RuntimeStart) && !beyond(RuntimeEnd)
}

// holder names the definition at a place of a section, "" if there is none.
func holder(syms []elf.Symbol, section elf.SectionIndex, at uint64) string {
	for _, s := range syms {
		t := elf.ST_TYPE(s.Info)
		inside := s.Section == section && at >= s.Value && at < s.Value+s.Size
		if inside && (t == elf.STT_FUNC || t == elf.STT_OBJECT) {
			return s.Name
		}
	}
	return ""
}

func (c *pointers) refuse(who, section, to string) {
	r := Refusal{Class: Pointer, Name: who, File: "runtime", Do: doPointer,
		Why: "takes the address of " + to + ", which must not be called by pointer: this kernel enforces that such calls " +
			"lead to a landing instruction, and as its own code calls that function by name only, it has none"}
	if who == "" {
		r.Name = "section " + section
	}
	for unit, u := range c.kernel.edited {
		if d := u.Lookup(who); d != nil && d.Kind != asm.Alias {
			r.File = unit
		}
	}
	if f := c.kernel.function(who, r.File); f != nil {
		r.File, r.Line = f.DeclFile, f.DeclLine
	}
	if e := c.src.Find(c.kernel.sourceName(who), edits.Function, edits.Variable); e != nil && !e.Gone {
		r.File, r.Line = e.File, e.At
	}
	c.out = append(c.out, r)
}
