// SPDX-License-Identifier: BSD-3-Clause

package arm64

import (
	"encoding/binary"
	"fmt"
	"slices"

	"plugsched/internal/kernel/arch/isa"
)

// nop is what a static key's site is that does nothing
// (arch/arm64/include/asm/jump_label.h).
const nop = 0xd503201f

// JumpLabelSize is the size of a static key's site: one instruction.
func JumpLabelSize([]byte) int { return MaxInstruction }

// JumpLabelJump is the size of the static key's site that begins with code if it jumps, else 0.
func JumpLabelJump(code []byte) int {
	if w, ok := word(code); ok && w&0xfc000000 == 0x14000000 {
		return MaxInstruction
	}
	return 0
}

// JumpLabelNop is the size of the static key's site that begins with code if it does nothing,
// else 0.
func JumpLabelNop(code []byte) int {
	if w, ok := word(code); ok && w == nop {
		return MaxInstruction
	}
	return 0
}

// altEntry is the size of struct alt_instr: two distances, the capability, two lengths
// (arch/arm64/include/asm/alternative.h).
const altEntry = 12

// Alternatives reads .altinstructions, linked at addr. An entry without a replacement names a
// function that makes it while the kernel boots.
func Alternatives(table []byte, addr uint64, isText, isReplacement func(addr uint64) bool) ([]isa.Alternative, error) {
	bad := func(off int) error {
		return fmt.Errorf(".altinstructions: the entry at %#x is none of a known kernel", addr+uint64(off))
	}
	if len(table)%altEntry != 0 {
		return nil, bad(len(table) / altEntry * altEntry)
	}
	var out []isa.Alternative
	for off := 0; off < len(table); off += altEntry {
		e := table[off : off+altEntry]
		distance := func(at int) uint64 {
			return addr + uint64(off+at) + uint64(int64(int32(binary.LittleEndian.Uint32(e[at:]))))
		}
		a := isa.Alternative{Site: distance(0), Replacement: distance(4), SiteLen: int(e[10]), ReplacementLen: int(e[11])}
		if !isText(a.Site) || a.ReplacementLen > 0 && !isReplacement(a.Replacement) {
			return nil, bad(off)
		}
		out = append(out, a)
	}
	slices.SortStableFunc(out, func(a, b isa.Alternative) int {
		if a.Replacement < b.Replacement {
			return -1
		}
		return int(min(a.Replacement-b.Replacement, 1))
	})
	return out, nil
}

// uaccess is the type of an entry of __ex_table for an instruction that reaches for user space's
// memory (arch/arm64/include/asm/asm-extable.h, EX_TYPE_UACCESS_ERR_ZERO). Those of whole copies
// have another one in later kernels, and are in functions of their own.
const uaccess = 2

// UserFault reports an entry of __ex_table, from its type on, for memory of user space.
func UserFault(entry []byte) bool { return binary.LittleEndian.Uint16(entry) == uaccess }
