// SPDX-License-Identifier: BSD-3-Clause

package vmlinux

import "encoding/binary"

// tables reads what the kernel's own tables say about its text: ftrace sites and
// the places that it rewrites.
func (l *loader) tables() error {
	p := l.prog
	le := binary.LittleEndian
	mcount, _ := p.rangeOf("__start_mcount_loc", "__stop_mcount_loc")
	for ; len(mcount) >= 8; mcount = mcount[8:] {
		site := le.Uint64(mcount)
		if f := p.FuncAt(site); f != nil && site-f.Addr < 16 {
			f.FtraceSite = int(site - f.Addr)
		}
	}
	// arch/x86/include/asm/jump_label.h, struct jump_entry: code, target and key,
	// each relative to its own place. A site is 2 or 5 bytes; 5 is the safe guess.
	jumps, at := p.rangeOf("__start___jump_table", "__stop___jump_table")
	for ; len(jumps) >= 16; jumps, at = jumps[16:], at+16 {
		site := at + uint64(int64(int32(le.Uint32(jumps))))
		size := 5
		if b := p.Bytes(site, 2); len(b) == 2 && (b[0] == 0xeb || b[0] == 0x66 && b[1] == 0x90) {
			size = 2 // jmp rel8, or its 2-byte nop
		}
		p.PatchSites = append(p.PatchSites, PatchSite{site, size, SiteStaticKey})
	}
	// include/linux/static_call_types.h, struct static_call_site.
	calls, at := p.rangeOf("__start_static_call_sites", "__stop_static_call_sites")
	for ; len(calls) >= 8; calls, at = calls[8:], at+8 {
		p.PatchSites = append(p.PatchSites, PatchSite{at + uint64(int64(int32(le.Uint32(calls)))), 5, SiteStaticCall})
	}
	// arch/x86/include/asm/alternative.h, LOCK_PREFIX.
	locks, at := p.rangeOf("__smp_locks", "__smp_locks_end")
	for ; len(locks) >= 4; locks, at = locks[4:], at+4 {
		p.PatchSites = append(p.PatchSites, PatchSite{at + uint64(int64(int32(le.Uint32(locks)))), 1, SiteSMPLock})
	}
	return nil
}
