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
	out := &isa.Tail{}
	called := map[uint64]bool{}
	seen := map[uint64]bool{}
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
		for falls := true; falls && !seen[at]; {
			seen[at] = true
			if to, ok := t.Patched(at); ok {
				out.Keys = append(out.Keys, at)
				branch(to)
			}
			code := t.Bytes(at)
			in, err := x86asm.Decode(code, 64)
			n := uint64(in.Len)
			if err != nil || in.Op == 0 {
				if n = uint64(unknownLen(code)); n == 0 {
					return nil, fmt.Errorf("cannot decode the instruction at %#x", at)
				}
				in = x86asm.Inst{}
			}
			next := at + n
			rel, direct := in.Args[0].(x86asm.Rel)
			to := next + uint64(int64(rel))
			switch {
			case in.Op == x86asm.CALL && direct:
				leave(to)
				falls = t.Returns(to)
			case in.Op == x86asm.JMP && direct:
				branch(to)
				falls = false
			case direct: // a conditional branch
				branch(to)
			case in.Op == x86asm.JMP, in.Op == x86asm.RET, in.Op == x86asm.IRETQ, in.Op == x86asm.UD2, in.Op == x86asm.INT && code[0] == 0xcc:
				falls = false
			}
			at = next
		}
	}
	return out, nil
}
