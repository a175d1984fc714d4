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
	return isa.FollowTail(t, start, func(at uint64) (isa.Turn, error) {
		w, ok := word(t.Bytes(at))
		if !ok || !known(w) {
			return isa.Turn{}, fmt.Errorf("cannot decode the instruction at %#x", at)
		}
		out := turn(w, at)
		out.Falls = out.Falls && (!isTrap(w) || t.Within(out.Next))
		return out, nil
	})
}

// turn is how an instruction at a place goes on.
func turn(w uint32, at uint64) isa.Turn {
	out := isa.Turn{Next: at + MaxInstruction, Falls: true}
	form, field, distance := branchOf(w)
	if field != 0 {
		out.To = at + uint64(distance)
	}
	switch form {
	case branchCall:
		out.Call = true
	case branchJump, branchTo, branchRet:
		out.Falls = false
	}
	return out
}

// isTrap reports brk, which BUG and WARN are made of.
func isTrap(w uint32) bool { return w&0xffe0001f == 0xd4200000 }
