// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"plugsched/internal/kernel/arch"
)

// metadata lists what holds functions' addresses without letting anybody call
// through them, so that a word there does not take an address. An entry is a
// section (a prefix of its name), a range between two linker symbols, or objects
// (a prefix of their name).
var metadata = []struct {
	section, start, stop, object string

	why string
}{
	{section: ".notes", why: "read by boot loaders and hypervisors"},
	{section: ".BTF", why: "types, for BPF's verifier"},
	{section: ".orc_", why: "stack unwinding"},
	{section: "__bug_table", why: "places of WARN and BUG"},
	{section: "__ex_table", why: "places that may fault"},
	{section: "__ksymtab", why: "the export table; Function.Exported says it"},
	{section: "__kcrctab", why: "checksums of exports"},
	{section: ".altinstructions", why: "places patched at boot"},
	{section: ".parainstructions", why: "places patched at boot"},
	{section: ".retpoline_sites", why: "places patched at boot"},
	{section: ".return_sites", why: "places patched at boot"},
	{section: ".call_sites", why: "places patched at boot (call depth tracking)"},
	{section: ".ibt_endbr_seal", why: "functions whose landing instruction is removed at boot"},
	{section: ".cfi_sites", why: "places patched at boot (FineIBT)"},
	{section: ".smp_locks", why: "places of lock prefixes"},
	{start: "__start_mcount_loc", stop: "__stop_mcount_loc", why: "ftrace's sites; Function.FtraceSite says it"},
	{start: "__start_kprobe_blacklist", stop: "__stop_kprobe_blacklist", why: "where kprobes are refused; Function.NoProbe says it"},
	{start: "__start_error_injection_whitelist", stop: "__stop_error_injection_whitelist", why: "where error injection is allowed"},
	{start: "__start___jump_table", stop: "__stop___jump_table", why: "static keys' sites; PatchSites has them"},
	{start: "__start_static_call_sites", stop: "__stop_static_call_sites", why: "static calls' sites; PatchSites has them"},
	{start: "__start_static_call_tramp_key", stop: "__stop_static_call_tramp_key", why: "keys of trampolines exported to modules"},
	{object: "kallsyms_", why: "the kernel's symbol table; its base is _text"},
	{object: noProbePrefix, why: "where kprobes are refused, in kernels without the range's symbols"},
	{object: "_eil_addr_", why: "where error injection is allowed, in kernels without the range's symbols"},
}

// span is the half-open range of addresses [lo, hi).
type span struct{ lo, hi uint64 }

// metadataSpans applies the metadata list to p: spans by address, merged.
func (p *Program) metadataSpans() []span {
	var spans []span
	for _, m := range metadata {
		switch {
		case m.section != "":
			for _, s := range p.index.sections {
				if strings.HasPrefix(s.Name, m.section) {
					spans = append(spans, span{s.Addr, s.Addr + s.Size})
				}
			}
		case m.start != "":
			if lo, hi, ok := p.bounds(m.start, m.stop); ok {
				spans = append(spans, span{lo, hi})
			}
		default:
			for _, o := range p.Objects {
				if strings.HasPrefix(o.Name, m.object) && o.Size > 0 {
					spans = append(spans, span{o.Addr, o.Addr + o.Size})
				}
			}
		}
	}
	return merge(spans)
}

func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && s.lo <= out[n-1].hi {
			out[n-1].hi = max(out[n-1].hi, s.hi)
			continue
		}
		out = append(out, s)
	}
	return out
}

// bounds returns the range between two symbols, if the kernel has it.
func (p *Program) bounds(start, stop string) (lo, hi uint64, ok bool) {
	lo, ok1 := p.Symbol(start)
	hi, ok2 := p.Symbol(stop)
	return lo, hi, ok1 && ok2 && lo <= hi
}

// table returns the contents of the range between two symbols, nil if the kernel
// does not have it.
func (p *Program) table(start, stop string) (data []byte, addr uint64) {
	lo, hi, ok := p.bounds(start, stop)
	if !ok || hi-lo > 1<<31 {
		return nil, 0
	}
	return p.Bytes(lo, int(hi-lo)), lo
}

// readFtrace reads the table of ftrace's sites (kernel/trace/ftrace.c,
// ftrace_process_locs). It is empty in a file whose table is filled from
// relocations at boot.
func (p *Program) readFtrace(m *arch.Arch, begins func(addr uint64) *Function) {
	b, _ := p.table("__start_mcount_loc", "__stop_mcount_loc")
	for ; len(b) >= 8; b = b[8:] {
		site := binary.LittleEndian.Uint64(b)
		if site == 0 {
			continue
		}
		p.FtraceKnown = true
		if f := begins(site + uint64(m.FtraceBefore)); f != nil && p.FuncAt(site) == nil {
			f.FtraceSite = 0
			continue
		}
		if f := p.FuncAt(site); f != nil && f.FtraceSite < 0 {
			f.FtraceSite = int(site - f.Addr)
		}
	}
}

// dropFtraceCalls removes the calls of __fentry__ at ftrace's sites, which the
// kernel turns into nops before it runs anything else.
func (p *Program) dropFtraceCalls() {
	for _, f := range p.Functions {
		if f.FtraceSite >= 0 {
			site := f.Addr + uint64(f.FtraceSite)
			f.Calls = slices.DeleteFunc(f.Calls, func(c Call) bool { return c.Site == site })
		}
	}
}

// readSeals reads the table of landing instructions that are removed at boot, distances
// from their own place. A kernel without the table enforces nothing.
// (arch/x86/kernel/alternative.c, apply_seal_endbr)
func (p *Program) readSeals(m *arch.Arch) {
	if m.Seals == nil {
		return
	}
	if _, _, ok := p.bounds(m.Seals.Start, m.Seals.Stop); !ok {
		return
	}
	sealed := map[uint64]bool{}
	b, addr := p.table(m.Seals.Start, m.Seals.Stop)
	for ; len(b) >= 4; b, addr = b[4:], addr+4 {
		sealed[addr+uint64(int64(int32(binary.LittleEndian.Uint32(b))))] = true
	}
	for _, f := range p.Functions {
		f.Sealed = sealed[f.Addr] || !bytes.Equal(p.Bytes(f.Addr, len(m.Landing)), m.Landing)
	}
}

// noProbePrefix begins the names of the table's entries: NOKPROBE_SYMBOL (include/asm-generic/kprobes.h) has had it
// since 3.16.
const noProbePrefix = "_kbl_addr_"

// readNoProbes marks the functions of the table of NOKPROBE_SYMBOL by address, and, where the file's table is filled
// from relocations at boot, by the name of the entry.
func (p *Program) readNoProbes() {
	addrs, names := map[uint64]bool{}, map[string]bool{}
	add := func(b []byte) {
		for ; len(b) >= 8; b = b[8:] {
			addrs[binary.LittleEndian.Uint64(b)] = true
		}
	}
	b, _ := p.table("__start_kprobe_blacklist", "__stop_kprobe_blacklist")
	add(b)
	for _, o := range p.Objects {
		name, ok := strings.CutPrefix(o.Name, noProbePrefix)
		if !ok || o.Size != 8 {
			continue
		}
		if b := p.Bytes(o.Addr, 8); b != nil && binary.LittleEndian.Uint64(b) != 0 {
			add(b)
		} else {
			names[name] = true
		}
	}
	for _, f := range p.Functions {
		f.NoProbe = addrs[f.Addr] || names[f.Name] || p.InRange(f.Addr, "__kprobes_text_start", "__kprobes_text_end")
	}
}

// readPatchSites reads the tables of places that the kernel rewrites while it
// runs: struct jump_entry (include/linux/jump_label.h), struct static_call_site
// (include/linux/static_call_types.h) and alternatives_smp_lock's offsets
// (arch/x86/kernel/alternative.c). All are relative to their own place.
func (p *Program) readPatchSites(m *arch.Arch) {
	relative := func(b []byte, addr uint64) uint64 { return addr + uint64(int64(int32(binary.LittleEndian.Uint32(b)))) }
	each := func(start, stop string, entry int, visit func(site uint64, b []byte, addr uint64)) {
		b, addr := p.table(start, stop)
		for ; len(b) >= entry; b, addr = b[entry:], addr+uint64(entry) {
			visit(relative(b, addr), b, addr)
		}
	}
	add := func(s PatchSite) { p.PatchSites = append(p.PatchSites, s) }
	each("__start___jump_table", "__stop___jump_table", 16, func(site uint64, b []byte, addr uint64) {
		if code := p.Bytes(site, 2); code != nil {
			add(PatchSite{site, m.KeySize(code), SiteStaticKey, relative(b[4:], addr+4)})
		}
	})
	each("__start_static_call_sites", "__stop_static_call_sites", 8, func(site uint64, _ []byte, _ uint64) {
		add(PatchSite{Addr: site, Size: m.CallSize, Kind: SiteStaticCall})
	})
	each("__smp_locks", "__smp_locks_end", 4, func(site uint64, _ []byte, _ uint64) {
		if p.FuncAt(site) != nil {
			add(PatchSite{Addr: site, Size: m.LockSize, Kind: SiteSMPLock})
		}
	})
	slices.SortFunc(p.PatchSites, func(a, b PatchSite) int {
		return cmp.Or(cmp.Compare(a.Addr, b.Addr), strings.Compare(string(a.Kind), string(b.Kind)))
	})
	p.PatchSites = slices.Compact(p.PatchSites)
}

// readUserFaults reads the table of instructions that may fault: distances of the instruction and of
// where the kernel goes on, and what for (arch/arm64/include/asm/extable.h).
func (p *Program) readUserFaults(m *arch.Arch) {
	s := p.Section("__ex_table")
	if s == nil || m.UserFault == nil {
		return
	}
	const entry = 12
	p.faults = map[uint64]uint64{}
	for b, addr := s.Data, s.Addr; len(b) >= entry; b, addr = b[entry:], addr+entry {
		distance := func(at int) uint64 {
			return addr + uint64(at) + uint64(int64(int32(binary.LittleEndian.Uint32(b[at:]))))
		}
		p.faults[distance(0)] = distance(4)
		if f := p.FuncAt(distance(0)); f != nil && m.UserFault(b[8:entry]) {
			f.UserFault = true
		}
	}
}
