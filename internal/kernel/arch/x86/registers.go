// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"strings"

	"golang.org/x/arch/x86/x86asm"
)

// index is the number of the general register that r is a part of, as its encoding has it; -1
// for any other register.
func index(r x86asm.Reg) int {
	switch {
	case r >= x86asm.AL && r <= x86asm.BL:
		return int(r - x86asm.AL)
	case r >= x86asm.AH && r <= x86asm.BH:
		return int(r - x86asm.AH)
	case r >= x86asm.SPB && r <= x86asm.R15B:
		return int(r-x86asm.SPB) + 4
	case r >= x86asm.AX && r <= x86asm.R15W:
		return int(r - x86asm.AX)
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return int(r - x86asm.EAX)
	case r >= x86asm.RAX && r <= x86asm.R15:
		return int(r - x86asm.RAX)
	}
	return -1
}

// parts are those of the register that r is. Writing the lower half clears the upper.
func parts(r x86asm.Reg) uint8 {
	switch {
	case r >= x86asm.AH && r <= x86asm.BH:
		return highPart
	case r >= x86asm.AL && r <= x86asm.R15B:
		return lowPart
	case r >= x86asm.AX && r <= x86asm.R15W:
		return lowPart | highPart
	}
	return whole
}

// wide returns the 64-bit register that r is a part of.
func wide(r x86asm.Reg) x86asm.Reg {
	if i := index(r); i >= 0 {
		return x86asm.RAX + x86asm.Reg(i)
	}
	return r
}

// register finds a 64-bit register by name; 0 if there is none.
func register(name string) x86asm.Reg {
	for r := x86asm.RAX; r <= x86asm.R15; r++ {
		if strings.EqualFold(r.String(), name) {
			return r
		}
	}
	return 0
}
