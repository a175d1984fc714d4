// SPDX-License-Identifier: BSD-3-Clause

package x86

import "golang.org/x/arch/x86/x86asm"

// BranchField returns where in a direct branch instruction the relative address
// is, and its size in bytes; size 0 when code does not begin with one.
func BranchField(code []byte) (offset, size int) {
	in, err := x86asm.Decode(code, 64)
	if err != nil || in.PCRel == 0 {
		return 0, 0
	}
	if _, ok := in.Args[0].(x86asm.Rel); !ok {
		return 0, 0
	}
	return in.PCRelOff, in.PCRel
}
