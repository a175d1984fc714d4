// SPDX-License-Identifier: BSD-3-Clause

//go:build kernels

package kernels

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/kernel/image"
)

// checkRelocations holds the decoded model against the linker's own relocations,
// where the file has kept them (Debian's 5.10 and 6.1): each that names a function of the
// scheduler is a call or an address taken, or in a table that lets nobody call.
func (a *analysed) checkRelocations(t *testing.T) {
	f, err := elf.Open(a.vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Section(".rela.text") == nil {
		return
	}
	p, err := image.Load(t.Context(), a.vmlinux, image.Options{SourceDirs: a.boundary.Sources})
	if err != nil {
		t.Fatal(err)
	}
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	known := knownSites(p)
	perCPU := newPerCPUUsers(a.boundary, p)
	seen := 0
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA || s.Info == 0 || f.Sections[s.Info].Flags&elf.SHF_ALLOC == 0 || uncallable(f.Sections[s.Info].Name) {
			continue
		}
		code := f.Sections[s.Info].Flags&elf.SHF_EXECINSTR != 0
		b, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		for ; len(b) >= 24; b = b[24:] {
			if code {
				perCPU.check(t, syms, b)
			}
			at, to, ok := relocated(p, syms, b, code)
			if !ok || !a.boundary.Owns(to.Unit) {
				continue
			}
			seen++
			if !known.near(at, to) && !explained(p, at, to) {
				t.Errorf("%s: the relocation at %#x names %s, and the model does not know", s.Name, at, to.Name)
			}
		}
	}
	t.Logf("%d relocations name functions of the scheduler", seen)
	if seen < 1000 {
		t.Error("a kernel has more than that")
	}
	perCPU.done(t)
}

// perCPUUsers holds who uses the scheduler's per-CPU variables against the relocations.
type perCPUUsers struct {
	p       *image.Program
	section *image.Section
	objects map[string]*boundary.Object // by name and place
	proven  map[string]bool             // "FUNCTION VARIABLE"
}

func newPerCPUUsers(b *boundary.Boundary, p *image.Program) *perCPUUsers {
	u := &perCPUUsers{p: p, section: p.Section(".data..percpu"), objects: map[string]*boundary.Object{}, proven: map[string]bool{}}
	for _, o := range b.Objects {
		if u.section != nil && o.Addr-u.section.Addr < u.section.Size {
			u.objects[fmt.Sprint(o.Name, o.Addr)] = o
		}
	}
	return u
}

// check: the function of a relocation that names a per-CPU variable is among its users.
func (u *perCPUUsers) check(t *testing.T, syms []elf.Symbol, entry []byte) {
	at, info := binary.LittleEndian.Uint64(entry), binary.LittleEndian.Uint64(entry[8:])
	if info>>32 == 0 || u.section == nil {
		return
	}
	v := syms[info>>32-1].Value + binary.LittleEndian.Uint64(entry[16:])
	if kind := elf.R_X86_64(uint32(info)); kind == elf.R_X86_64_PC32 || kind == elf.R_X86_64_PLT32 {
		// Relative to the end of the instruction, which an immediate may separate from the
		// field's. Such operands are told by their segment: nothing to prove.
		for _, immediate := range []uint64{0, 1, 2, 4} {
			u.used(at, v+4+immediate)
		}
		return
	}
	if b, f := u.used(at, v); b != nil && !slices.Contains(b.Inside, f.Name) && !slices.Contains(b.Outside, f.Name) {
		t.Errorf("%s names %s at %#x, and is not among its users", f.Name, b.Name, at)
	}
}

// used notes that the instruction at a place names what is at an address.
func (u *perCPUUsers) used(at, addr uint64) (*boundary.Object, *image.Function) {
	o, f := u.p.ObjectAt(addr), u.p.FuncAt(at)
	if o == nil || f == nil {
		return nil, nil
	}
	b := u.objects[fmt.Sprint(o.Name, o.Addr)]
	if b == nil {
		return nil, nil
	}
	u.proven[f.Name+" "+b.Name] = true
	if strings.HasPrefix(f.Section, ".init") {
		return nil, nil // of others it is not recorded: it is gone
	}
	return b, f
}

// done: most of the users are proven ones, and there were some.
func (u *perCPUUsers) done(t *testing.T) {
	all, extra := 0, []string(nil)
	for _, o := range u.objects {
		for _, f := range slices.Concat(o.Inside, o.Outside) {
			if all++; !u.proven[f+" "+o.Name] {
				extra = append(extra, f+" "+o.Name)
			}
		}
	}
	t.Logf("%d uses of %d per-CPU variables, %d of them by no relocation: %v", all, len(u.objects), len(extra), extra)
	if u.section != nil && (all < 200 || len(extra) > all/20) {
		t.Error("a kernel has more uses than that, and next to none that are none")
	}
}

type sites map[uint64]map[*image.Function]bool

func knownSites(p *image.Program) sites {
	k := sites{}
	add := func(at uint64, to *image.Function) {
		if k[at] == nil {
			k[at] = map[*image.Function]bool{}
		}
		k[at][to] = true
	}
	for _, f := range p.Functions {
		for _, c := range f.Calls {
			add(c.Site, c.To)
		}
		for _, c := range f.Takes {
			add(c.Site, c.To)
		}
	}
	for _, d := range p.DataTakes {
		add(d.Addr, d.To)
	}
	return k
}

// near: a relocation is inside of the instruction that it is for.
func (k sites) near(at uint64, to *image.Function) bool {
	for d := range uint64(12) {
		if k[at-d][to] {
			return true
		}
	}
	return false
}

// relocated returns where the entry applies and the function at whose start it
// points.
func relocated(p *image.Program, syms []elf.Symbol, entry []byte, code bool) (at uint64, to *image.Function, ok bool) {
	at = binary.LittleEndian.Uint64(entry)
	info := binary.LittleEndian.Uint64(entry[8:])
	if info>>32 == 0 {
		return 0, nil, false
	}
	v := syms[info>>32-1].Value + binary.LittleEndian.Uint64(entry[16:])
	switch elf.R_X86_64(uint32(info)) {
	case elf.R_X86_64_PC32, elf.R_X86_64_PLT32:
		if code {
			v += 4 // relative to the end of the field, mostly that of the instruction
		}
	}
	to = p.FuncAt(v)
	return at, to, to != nil && to.Addr == v
}

func uncallable(section string) bool {
	for _, s := range []string{"__ksymtab", ".orc_", ".parainstructions", ".altinstructions", ".return_sites", ".call_sites",
		"__bug_table", "__ex_table"} {
		if strings.HasPrefix(section, s) {
			return true
		}
	}
	return false
}

// explained are the relocations that take no address: the tables that
// image.Program.DataTakes leaves out, initcalls (of __init functions), comparisons
// with a section's bounds, and code that the linker dropped.
func explained(p *image.Program, at uint64, to *image.Function) bool {
	for _, r := range [][2]string{
		{"__start_mcount_loc", "__stop_mcount_loc"},
		{"__start___jump_table", "__stop___jump_table"},
		{"__start_kprobe_blacklist", "__stop_kprobe_blacklist"},
		{"__start_error_injection_whitelist", "__stop_error_injection_whitelist"},
		{"__start_static_call_sites", "__stop_static_call_sites"},
	} {
		if p.InRange(at, r[0], r[1]) {
			return true
		}
	}
	if strings.HasPrefix(to.Section, ".init") {
		return true
	}
	from := p.FuncAt(at)
	if o := p.ObjectAt(at); o != nil {
		return strings.HasPrefix(o.Name, "_kbl_addr_") || strings.HasPrefix(o.Name, "_eil_addr_")
	}
	// Code without a symbol is a weak function that was replaced.
	return from == to || from != nil && from.Name == "in_sched_functions" || from == nil && p.Section(".text").Addr <= at &&
		at < p.Section(".text").Addr+p.Section(".text").Size
}
