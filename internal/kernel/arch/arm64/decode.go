// SPDX-License-Identifier: BSD-3-Clause

package arm64

import (
	"plugsched/internal/kernel/arch/isa"
)

// Refs decodes code, linked at addr, and yields what its instructions branch to and which
// addresses they yield as values, in order. Words that are no instruction are counted, in
// bytes.
func Refs(code []byte, addr uint64, yield func(isa.Ref)) (undecoded int) {
	f := follow(code, addr)
	used := f.usedPages()
	f.each(func(i int, w uint32, s *state) {
		site := f.at(i)
		if !known(w) {
			undecoded += MaxInstruction
			return
		}
		take := func(a uint64) { yield(isa.Ref{Site: site, Target: a, Kind: isa.RefAddress}) }
		form, field, distance := branchOf(w)
		switch {
		case form == branchCall:
			yield(isa.Ref{Site: site, Target: site + uint64(distance), Kind: isa.RefCall})
		case field != 0:
			yield(isa.Ref{Site: site, Target: site + uint64(distance), Kind: isa.RefJump})
		case isADR(w):
			take(adr(site, w))
		case isADRP(w):
			// What has no rest is the page's beginning, or is added to where this is not seen.
			if p := adr(site, w); !used[p] {
				take(p)
			}
		case isAdd(w):
			f.bases(s, base(w), func(v value) { take(v.addr + constant(w)) })
		}
	})
	return undecoded + len(code)%MaxInstruction
}

// usedPages are those to which something is added, in an instruction of any kind.
func (f *flow) usedPages() map[uint64]bool {
	used := map[uint64]bool{}
	f.each(func(_ int, w uint32, s *state) {
		if isAdd(w) || isMemory(w) {
			f.bases(s, base(w), func(v value) {
				if v.kind == page {
					used[v.addr] = true
				}
			})
		}
	})
	return used
}
