// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"fmt"

	"golang.org/x/arch/x86/x86asm"
)

// MaxInstruction is the size in bytes of the longest instruction.
const MaxInstruction = 15

// Text is what Tail needs to know of a kernel's code.
type Text struct {
	Bytes  func(addr uint64) []byte // up to MaxInstruction bytes of code; fewer at the end, none outside
	Within func(addr uint64) bool   // whether addr is in the function or its split-off parts
	// Patched is where the kernel may make the instruction at addr, a static
	// key's site, jump to.
	Patched func(addr uint64) (target uint64, ok bool)
	// Returns is false for functions that do not come back.
	Returns func(addr uint64) bool
}

// TailCode is what the code behind an address can do.
type TailCode struct {
	Calls []uint64 // addresses that it calls, or jumps to outside of the function
	Keys  []uint64 // sites of static keys in it
}

// Tail follows every path from start to the function's ends, whatever static
// keys say. It proves nothing about what the code reads; see ProveSpringboard.
// Code that cannot be decoded is an error. Indirect calls are not listed:
// somebody took the address of what they call.
func Tail(t *Text, start uint64) (*TailCode, error) {
	out := &TailCode{}
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
