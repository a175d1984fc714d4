// SPDX-License-Identifier: BSD-3-Clause

package arm64

import (
	"testing"

	"plugsched/internal/fuzzing"
	"plugsched/internal/kernel/arch/isa"
)

// FuzzDecode: whatever the code, decoding ends, in order and within it, and finds each branch that is there.
func FuzzDecode(f *testing.F) {
	for _, in := range pages {
		f.Add(code(in.words...))
	}
	for _, in := range instructions {
		f.Add(code(0x90000001, in.word, 0x91048c22))
	}
	f.Fuzz(func(t *testing.T, c []byte) {
		fuzzing.Bounded(t, func() {
			last, branches := uint64(textBase), 0
			inside := func(site uint64) {
				if site < last || site >= textBase+uint64(len(c)) || site%MaxInstruction != 0 {
					t.Errorf("a reference of %#x, behind one of %#x", site, last)
				}
				last = site
			}
			undecoded := Refs(c, textBase, func(r isa.Ref) {
				inside(r.Site)
				if r.Branch() {
					branches++
				}
			})
			if undecoded < 0 || undecoded > len(c) {
				t.Errorf("%d of %d bytes are not decoded", undecoded, len(c))
			}
			for i := 0; i+MaxInstruction <= len(c); i += MaxInstruction {
				if _, ok := Branch(c[i:]); ok {
					branches--
				}
				JumpLabelSize(c[i:])
			}
			if branches != 0 {
				t.Errorf("%d branches more than there are", branches)
			}
			last = textBase
			MemoryOperands(c, textBase, func(m isa.Memory) { inside(m.Site) })
		})
	})
}
