// SPDX-License-Identifier: BSD-3-Clause

package asm

// isBranch reports mnemonics whose symbol operand is a branch target: x86's
// call and jumps, arm64's b, bl, b.cond, cbz and tbz.
func isBranch(m string) bool {
	switch m {
	case "call", "callq", "jmp", "jmpq", "b", "bl":
		return true
	}
	return len(m) >= 2 && m[0] == 'j' || len(m) > 2 && m[:2] == "b."
}

// prefix reports instruction prefixes that stand before a mnemonic.
func prefix(m string) bool {
	switch m {
	case "lock", "rep", "repe", "repz", "repne", "repnz", "cs", "ds", "notrack", "data16":
		return true
	}
	return false
}
