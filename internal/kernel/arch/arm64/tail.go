// SPDX-License-Identifier: BSD-3-Clause

package arm64

import (
	"fmt"

	"plugsched/internal/kernel/arch/isa"
)

// Tail follows every path from start to the function's ends, whatever static keys say.
// Code that cannot be decoded is an error. Calls by pointer are not listed: somebody took
// the address of what they call. Behind a trap (brk) code may go on, as WARN's does.
func Tail(t *isa.Text, start uint64) (*isa.Tail, error) {
	out := &isa.Tail{}
	called, seen := map[uint64]bool{}, map[uint64]bool{}
	work := []uint64{start}
	leave := func(to uint64) {
		if !called[to] {
			called[to] = true
			out.Calls = append(out.Calls, to)
		}
	}
	branch := func(to uint64) {
		if t.Within(to) {
			work = append(work, to)
		} else {
			leave(to)
		}
	}
	for len(work) > 0 {
		at := work[len(work)-1]
		work = work[:len(work)-1]
		for falls := true; falls && !seen[at]; at += MaxInstruction {
			seen[at] = true
			if to, ok := t.Patched(at); ok {
				out.Keys = append(out.Keys, at)
				branch(to)
			}
			w, ok := word(t.Bytes(at))
			if !ok || !known(w) {
				return nil, fmt.Errorf("cannot decode the instruction at %#x", at)
			}
			form, field, distance := branchOf(w)
			to := at + uint64(distance)
			switch {
			case form == branchCall:
				leave(to)
				falls = t.Returns(to)
			case field != 0:
				branch(to)
				falls = form != branchJump
			case form == branchTo, form == branchRet:
				falls = false
			case isTrap(w):
				falls = t.Within(at + MaxInstruction)
			}
		}
	}
	return out, nil
}

// isTrap reports brk, which BUG and WARN are made of.
func isTrap(w uint32) bool { return w&0xffe0001f == 0xd4200000 }
