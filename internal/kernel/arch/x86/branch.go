// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"debug/elf"
	"encoding/binary"

	"golang.org/x/arch/x86/x86asm"

	"plugsched/internal/kernel/arch/isa"
)

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

// rel32 is the field of a call, a jmp and a jcc: the distance from its end.
var rel32 = isa.Field{Mask: []byte{0xff, 0xff, 0xff, 0xff}, Branch: true, Bias: 4}

// Branch decodes a direct branch with a rel32, the only ones that lead out of a function.
func Branch(code []byte) (isa.Branch, bool) {
	at, size := BranchField(code)
	if size != len(rel32.Mask) || at+size > len(code) {
		return isa.Branch{}, false
	}
	rel := int64(int32(binary.LittleEndian.Uint32(code[at:])))
	return isa.Branch{Offset: at, Field: rel32, Distance: int64(at+size) + rel}, true
}

// Field is what a relocation fills in. In a call's the addend is -4, as the distance is that
// from the field's end.
func Field(relocation uint32) isa.Field {
	switch elf.R_X86_64(relocation) {
	case elf.R_X86_64_64, elf.R_X86_64_PC64:
		return isa.Field{Mask: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	case elf.R_X86_64_PC32, elf.R_X86_64_PLT32:
		return rel32
	}
	return isa.Field{Mask: rel32.Mask}
}

// IsBranch reports whether a relocation's field, at an offset in code, is that of a call, a
// jmp or a jcc. Before any other rel32 is a ModRM byte, which is none of their opcodes.
func IsBranch(relocation uint32, code []byte, at int) bool {
	if t := elf.R_X86_64(relocation); t != elf.R_X86_64_PC32 && t != elf.R_X86_64_PLT32 || at > len(code) {
		return false
	}
	return at >= 1 && (code[at-1] == 0xe8 || code[at-1] == 0xe9) || at >= 2 && code[at-2] == 0x0f && code[at-1]&0xf0 == 0x80
}

// BranchMnemonic reports call, jmp and the conditional jumps.
func BranchMnemonic(m string) bool {
	return m == "call" || m == "callq" || len(m) >= 2 && m[0] == 'j'
}

// PrefixMnemonic reports instruction prefixes that gas takes as words of their own.
func PrefixMnemonic(m string) bool {
	switch m {
	case "lock", "rep", "repe", "repz", "repne", "repnz", "cs", "ds", "notrack", "data16":
		return true
	}
	return false
}
