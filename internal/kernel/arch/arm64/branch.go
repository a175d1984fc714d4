// SPDX-License-Identifier: BSD-3-Clause

package arm64

import (
	"debug/elf"
	"encoding/binary"
	"regexp"
	"strings"

	"plugsched/internal/kernel/arch/isa"
)

// MaxInstruction is the size in bytes of an instruction: all have the same.
const MaxInstruction = 4

// word is the instruction that code begins with.
func word(code []byte) (uint32, bool) {
	if len(code) < MaxInstruction {
		return 0, false
	}
	return binary.LittleEndian.Uint32(code), true
}

// Size is that of the instruction that code begins with; 0 if it is cut off, or none.
func Size(code []byte) int {
	if w, ok := word(code); !ok || !known(w) {
		return 0
	}
	return MaxInstruction
}

// signed takes a field of some bits out of an instruction, as a distance in instructions.
func signed(w uint32, at, bits int) int64 {
	return int64(w) << (64 - at - bits) >> (64 - bits) * MaxInstruction
}

// The fields in which linker and module loader fill in where something is
// (arch/arm64/kernel/module.c, arch/arm64/kernel/insn.c).
const (
	imm26  = 0x03ffffff // b, bl
	imm19  = 0x00ffffe0 // b.cond, cbz, cbnz, ldr of a literal
	imm14  = 0x0007ffe0 // tbz, tbnz
	imm12  = 0x003ffc00 // add, loads and stores
	immAdr = 0x60ffffe0 // adr, adrp
)

// form is what an instruction does with where it goes.
type form uint8

const (
	noBranch    form = iota
	branchCall       // bl
	branchJump       // b
	branchCond       // b.cond, cbz, cbnz, tbz, tbnz
	branchTo         // br: to where a register says
	branchCalls      // blr: the same, and back
	branchRet        // ret, eret and what else leaves
)

// branchOf decodes a branch. Only those with a distance have a field.
func branchOf(w uint32) (f form, field uint32, distance int64) {
	switch {
	case w&0xfc000000 == 0x94000000:
		return branchCall, imm26, signed(w, 0, 26)
	case w&0xfc000000 == 0x14000000:
		return branchJump, imm26, signed(w, 0, 26)
	case w&0xff000000 == 0x54000000, w&0x7e000000 == 0x34000000: // b.cond and bc.cond; cbz, cbnz
		return branchCond, imm19, signed(w, 5, 19)
	case w&0x7e000000 == 0x36000000: // tbz, tbnz
		return branchCond, imm14, signed(w, 5, 14)
	case w&0xfe000000 != 0xd6000000:
		return noBranch, 0, 0
	}
	// br, blr, ret, eret, drps, and those that authenticate (braa ... eretab).
	switch w >> 21 & 0xf {
	case 0, 8:
		return branchTo, 0, 0
	case 1, 9:
		return branchCalls, 0, 0
	}
	return branchRet, 0, 0
}

func fieldOf(mask uint32, branch bool) isa.Field {
	return isa.Field{Mask: binary.LittleEndian.AppendUint32(nil, mask), Branch: branch}
}

// Branch decodes a direct branch, all of which have relocations.
func Branch(code []byte) (isa.Branch, bool) {
	w, ok := word(code)
	if !ok {
		return isa.Branch{}, false
	}
	_, field, distance := branchOf(w)
	if field == 0 {
		return isa.Branch{}, false
	}
	return isa.Branch{Field: fieldOf(field, true), Distance: distance}, true
}

// Field is what a relocation fills in. One that is not known, which no module may have,
// fills in nothing: the code is held against it as it is.
func Field(relocation uint32) isa.Field {
	switch elf.R_AARCH64(relocation) {
	case elf.R_AARCH64_ABS64, elf.R_AARCH64_PREL64:
		return isa.Field{Mask: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	case elf.R_AARCH64_ABS32, elf.R_AARCH64_PREL32:
		return fieldOf(0xffffffff, false)
	case elf.R_AARCH64_CALL26, elf.R_AARCH64_JUMP26:
		return fieldOf(imm26, true)
	case elf.R_AARCH64_CONDBR19:
		return fieldOf(imm19, true)
	case elf.R_AARCH64_LD_PREL_LO19:
		return fieldOf(imm19, false)
	case elf.R_AARCH64_TSTBR14:
		return fieldOf(imm14, true)
	case elf.R_AARCH64_ADR_PREL_LO21, elf.R_AARCH64_ADR_PREL_PG_HI21, elf.R_AARCH64_ADR_PREL_PG_HI21_NC:
		return fieldOf(immAdr, false)
	case elf.R_AARCH64_ADD_ABS_LO12_NC, elf.R_AARCH64_LDST8_ABS_LO12_NC, elf.R_AARCH64_LDST16_ABS_LO12_NC,
		elf.R_AARCH64_LDST32_ABS_LO12_NC, elf.R_AARCH64_LDST64_ABS_LO12_NC, elf.R_AARCH64_LDST128_ABS_LO12_NC:
		return fieldOf(imm12, false)
	}
	return isa.Field{}
}

// IsBranch reports whether a relocation is one of branches, which no other instruction has.
func IsBranch(relocation uint32, _ []byte, _ int) bool {
	f := Field(relocation)
	return f.Branch
}

// BranchMnemonic reports branches to a symbol. gcc writes beq, other assembly b.eq too.
func BranchMnemonic(m string) bool {
	switch m {
	case "b", "bl", "cbz", "cbnz", "tbz", "tbnz":
		return true
	}
	if len(m) < 3 || m[0] != 'b' {
		return false
	}
	switch strings.TrimPrefix(m[1:], ".") {
	case "eq", "ne", "cs", "hs", "cc", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al", "any", "none":
		return true
	}
	return false
}

// PrefixMnemonic reports words before a mnemonic: there are none.
func PrefixMnemonic(string) bool { return false }

// operatorRE is that of a symbol's part, such as :lo12:, before the symbol.
var operatorRE = regexp.MustCompile(`:[a-z0-9_]+:$`)

// IsSymbol reports where symbols are in assembly: behind an operator, in the operand of a branch and of adr, and in
// data. All other words are registers, conditions and names of the system's registers.
func IsSymbol(mnemonic, before string) bool {
	before = strings.TrimRight(before, " \t")
	switch mnemonic {
	case ".macro", ".purgem", ".irp", ".irpc", ".arch", ".arch_extension", ".cpu", ".tune":
		return false
	case "b", "bl":
		return true
	case "adr", "adrp":
		return strings.Contains(before, ",")
	case "cbz", "cbnz":
		return strings.Count(before, ",") == 1
	case "tbz", "tbnz":
		return strings.Count(before, ",") == 2
	}
	return mnemonic != "" && mnemonic[0] == '.' || BranchMnemonic(mnemonic) || operatorRE.MatchString(before) || strings.HasSuffix(before, "=")
}
