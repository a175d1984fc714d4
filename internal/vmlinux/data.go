// SPDX-License-Identifier: BSD-3-Clause

package vmlinux

import (
	"encoding/binary"
	"errors"
	"sort"
)

// metadata are tables that name functions without ever calling through the
// entries; "" as the second symbol means a section of that name.
var metadata = []struct{ start, end, why string }{
	{"__start_mcount_loc", "__stop_mcount_loc", "ftrace's sites: every traceable function is in it"},
	{"__start_kprobe_blacklist", "__stop_kprobe_blacklist", "functions that must not be probed"},
	{"__start_error_injection_whitelist", "__stop_error_injection_whitelist", "functions whose return value may be overridden"},
	{"__start___ex_table", "__stop___ex_table", "places of faulting instructions"},
	{"__start___jump_table", "__stop___jump_table", "places of static keys"},
	{"__start_static_call_sites", "__stop_static_call_sites", "places of static calls"},
	{"__start___bug_table", "__stop___bug_table", "places of WARN and BUG"},
	{"__start_orc_unwind", "__stop_orc_unwind", "stack layout"},
	{"__start_orc_unwind_ip", "__stop_orc_unwind_ip", "stack layout"},
	{"__parainstructions", "__parainstructions_end", "places of paravirt calls"},
	{"__retpoline_sites", "__retpoline_sites_end", "places of indirect branches"},
	{"__return_sites", "__return_sites_end", "places of returns"},
	{"__alt_instructions", "__alt_instructions_end", "places of alternatives"},
	{".BTF", "", "types"},
	{".BTF_ids", "", "types"},
	{".notes", "", "notes"},
	{"__ksymtab", "", "exports, known from the symbols' names"},
	{"__ksymtab_gpl", "", "exports, known from the symbols' names"},
	{"__ksymtab_strings", "", "names"},
	{"__kcrctab", "", "checksums of exports"},
	{"__kcrctab_gpl", "", "checksums of exports"},
	{"__bug_table", "", "places of WARN and BUG"},
	{".orc_unwind", "", "stack layout"},
	{".orc_unwind_ip", "", "stack layout"},
	{".orc_header", "", "stack layout"},
	{".parainstructions", "", "places of paravirt calls"},
	{".retpoline_sites", "", "places of indirect branches"},
	{".return_sites", "", "places of returns"},
	{".call_sites", "", "places of calls"},
	{".altinstructions", "", "places of alternatives"},
	{".smp_locks", "", "places of lock prefixes"},
	{".ibt_endbr_seal", "", "places of landing instructions"},
}

// data finds pointers to functions in static data.
func (l *loader) data() error {
	p := l.prog
	l.indexObjects()
	starts := make(map[uint64]*Function, len(p.Functions))
	for _, f := range p.Functions {
		starts[f.Addr] = f
	}
	low, high := p.Functions[0].Addr, p.Functions[len(p.Functions)-1].Addr
	skip := l.metadataRanges()
	for i := range p.sections {
		s := &p.sections[i]
		if s.exec || s.data == nil {
			continue
		}
		first := (8 - s.addr%8) % 8
		for off := first; off+8 <= uint64(len(s.data)); off += 8 {
			v := binary.LittleEndian.Uint64(s.data[off:])
			if v < low || v > high {
				continue
			}
			f := starts[v]
			at := s.addr + off
			if f == nil || inRanges(skip, at) {
				continue
			}
			t := DataTake{Addr: at, To: f, In: p.ObjectAt(at)}
			if t.In != nil {
				t.Offset = at - t.In.Addr
			}
			p.DataTakes = append(p.DataTakes, t)
		}
	}
	if len(p.DataTakes) == 0 {
		return errors.New("its data holds no pointers to functions: they are in relocations only, which this kernel's build must have left in the file")
	}
	sort.Slice(p.DataTakes, func(i, j int) bool { return p.DataTakes[i].Addr < p.DataTakes[j].Addr })
	return nil
}

func (l *loader) indexObjects() {
	var end uint64
	l.prog.objectEnds = make([]uint64, len(l.prog.Objects))
	for i, o := range l.prog.Objects {
		end = max(end, o.Addr+o.Size)
		l.prog.objectEnds[i] = end
	}
}

type addrRange struct{ start, end uint64 }

func (l *loader) metadataRanges() []addrRange {
	var out []addrRange
	for _, m := range metadata {
		if m.end != "" {
			s, ok := l.prog.symbols[m.start]
			e, ok2 := l.prog.symbols[m.end]
			if ok && ok2 && s < e {
				out = append(out, addrRange{s, e})
			}
			continue
		}
		for _, s := range l.prog.sections {
			if s.name == m.start {
				out = append(out, addrRange{s.addr, s.addr + s.size})
			}
		}
	}
	return out
}

func inRanges(list []addrRange, addr uint64) bool {
	for _, r := range list {
		if addr >= r.start && addr < r.end {
			return true
		}
	}
	return false
}
