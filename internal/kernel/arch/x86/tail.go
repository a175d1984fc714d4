// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"fmt"

	"golang.org/x/arch/x86/x86asm"

	"plugsched/internal/kernel/arch/isa"
)

// MaxInstruction is the size in bytes of the longest instruction.
const MaxInstruction = 15

// Tail follows every path from start to the function's ends, whatever static
// keys say. It proves nothing about what the code reads; see ProveSpringboard.
// Code that cannot be decoded is an error. Indirect calls are not listed:
// somebody took the address of what they call.
func Tail(t *isa.Text, start uint64) (*isa.Tail, error) {
	return isa.FollowTail(t, start, func(at uint64) (isa.Turn, error) {
		code := t.Bytes(at)
		in, err := x86asm.Decode(code, 64)
		if err != nil || in.Op == 0 {
			if in = (x86asm.Inst{Len: unknownLen(code)}); in.Len == 0 {
				return isa.Turn{}, fmt.Errorf("cannot decode the instruction at %#x", at)
			}
		}
		out := turn(in, at)
		if in.Op == x86asm.IRETQ || in.Op == x86asm.INT && code[0] == 0xcc {
			out.Falls = false
		}
		return out, nil
	})
}

// turn is how an instruction at a place goes on.
func turn(in x86asm.Inst, at uint64) isa.Turn {
	to, direct := target(in, at)
	out := isa.Turn{Next: at + uint64(in.Len), Falls: true}
	if direct {
		out.To, out.Call = to, in.Op == x86asm.CALL
	}
	switch in.Op {
	case x86asm.JMP, x86asm.RET, x86asm.UD2:
		out.Falls = false
	}
	return out
}
