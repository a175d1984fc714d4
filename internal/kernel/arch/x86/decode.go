// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"sort"

	"golang.org/x/arch/x86/x86asm"

	"plugsched/internal/kernel/arch/isa"
)

// Size is that of the instruction that code begins with, prefixes included; 0 if it is not
// known.
func Size(code []byte) int {
	in, err := x86asm.Decode(code, 64)
	if err != nil {
		return 0
	}
	return in.Len
}

// Refs decodes code, linked at addr, and yields what its instructions branch to
// and which addresses they yield as values, in order. Indirect branches and
// memory operands are not references: they read a pointer, which whoever stored
// it took.
//
// Bytes that are no known instruction are stepped over; their number is
// returned. Code is decoded from its start, so the caller has to begin at an
// instruction.
func Refs(code []byte, addr uint64, yield func(isa.Ref)) (undecoded int) {
	var described frameDescription
	for pos := 0; pos < len(code); {
		if n := emulatePrefix(code[pos:]); n > 0 {
			pos += n
			continue
		}
		inst, err := x86asm.Decode(code[pos:], 64)
		// x86asm answers a cut-off instruction with a lone prefix.
		if err != nil || inst.Op == 0 {
			n := unknownLen(code[pos:])
			if n == 0 {
				n = 1
				undecoded++
			}
			pos += n
			continue
		}
		site := addr + uint64(pos)
		pos += inst.Len
		if described.names(&inst, site) {
			continue
		}
		refsOf(&inst, site, site+uint64(inst.Len), yield)
	}
	return undecoded
}

// emulatePrefix is the length of the ud2 and signature with which a guest asks
// Xen or KVM to emulate the instruction behind it; read as code, the signature
// is a jump. (arch/x86/include/asm/emulate_prefix.h)
func emulatePrefix(b []byte) int {
	if len(b) >= 5 && b[0] == 0x0f && b[1] == 0x0b && (string(b[2:5]) == "xen" || string(b[2:5]) == "kvm") {
		return 5
	}
	return 0
}

func refsOf(inst *x86asm.Inst, site, next uint64, yield func(isa.Ref)) {
	if inst.Op == x86asm.LEA {
		if m, ok := inst.Args[1].(x86asm.Mem); ok && m.Segment == 0 && m.Index == 0 {
			// x86asm does not sign-extend a 32-bit displacement.
			disp := uint64(int64(int32(m.Disp)))
			switch m.Base {
			case x86asm.RIP:
				yield(isa.Ref{Site: site, Target: next + disp, Kind: isa.RefAddress})
			case 0:
				yield(isa.Ref{Site: site, Target: disp, Kind: isa.RefAddress})
			}
		}
		return
	}
	for _, a := range inst.Args {
		switch a := a.(type) {
		case nil:
			return
		case x86asm.Rel:
			kind := isa.RefJump
			if inst.Op == x86asm.CALL {
				kind = isa.RefCall
			}
			yield(isa.Ref{Site: site, Target: next + uint64(int64(a)), Kind: kind})
		case x86asm.Imm:
			// The kernel's text is in the top 2 GiB (-mcmodel=kernel), so
			// only a sign-extended or a 64-bit immediate can be its address;
			// 32-bit operations with the same bits are hashes and masks.
			switch {
			case inst.Op == x86asm.PUSH, inst.Op == x86asm.MOV && inst.DataSize == 64:
				yield(isa.Ref{Site: site, Target: uint64(int64(a)), Kind: isa.RefAddress})
			case inst.DataSize == 64:
				yield(isa.Ref{Site: site, Target: uint64(int64(a)), Kind: isa.RefOperand})
			}
		}
	}
}

// unknownLen is the length of an instruction that x86asm does not know, for the
// encodings whose length follows from a ModRM byte: two-byte opcodes (such as
// clac, rdpid, xsaves), VEX and EVEX. It is 0 for anything else.
// (Intel SDM, volume 2, chapter 2.)
func unknownLen(b []byte) int {
	n := 0
	for n < len(b) && isPrefix(b[n]) {
		n++
	}
	if n < len(b) && b[n]&0xf0 == 0x40 {
		n++
	}
	imm := 0
	switch at := func(i int) byte {
		if n+i < len(b) {
			return b[n+i]
		}
		return 0
	}; at(0) {
	case 0x0f:
		switch at(1) {
		case 0x38:
			n += 3
		case 0x3a:
			n, imm = n+3, 1
		case 0x01, 0x0d, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0xae, 0xb8, 0xc7:
			n += 2
		default:
			return 0
		}
	case 0xc5:
		imm = vexImm(1, at(2))
		n += 3
	case 0xc4:
		imm = vexImm(at(1)&0x1f, at(3))
		n += 4
	case 0x62:
		imm = vexImm(at(1)&7, at(4))
		n += 5
	default:
		return 0
	}
	m := modrmLen(b[min(n, len(b)):])
	if m == 0 || n+m+imm > len(b) {
		return 0
	}
	return n + m + imm
}

func isPrefix(c byte) bool {
	switch c {
	case 0x66, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65:
		return true
	}
	return false
}

// vexImm is the size of the immediate of opcode op in VEX opcode map m.
func vexImm(m, op byte) int {
	switch {
	case m == 3:
		return 1
	case m == 1 && (op >= 0x70 && op <= 0x73 || op == 0xc2 || op >= 0xc4 && op <= 0xc6):
		return 1
	}
	return 0
}

// modrmLen is the length of a ModRM byte with its SIB byte and displacement.
func modrmLen(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	mod, rm := b[0]>>6, b[0]&7
	if mod == 3 {
		return 1
	}
	n := 1
	if rm == 4 {
		if len(b) < 2 {
			return 0
		}
		n = 2
		if mod == 0 && b[1]&7 == 5 {
			return n + 4
		}
	}
	switch {
	case mod == 1:
		n++
	case mod == 2, mod == 0 && rm == 5:
		n += 4
	}
	return n
}

// JumpLabelSize is the size of the static key's site that begins with code: 2
// for "jmp rel8" and its nop, 5 for "jmp rel32" and its nop
// (arch/x86/kernel/jump_label.c). It is 5 when the bytes are neither.
func JumpLabelSize(code []byte) int {
	return cmp.Or(JumpLabelJump(code), JumpLabelNop(code), 5)
}

// JumpLabelJump is the size of the static key's site that begins with code if it jumps, else 0.
func JumpLabelJump(code []byte) int {
	switch {
	case len(code) >= 2 && code[0] == 0xeb:
		return 2
	case len(code) >= 5 && code[0] == 0xe9:
		return 5
	}
	return 0
}

// JumpLabelNop is the size of the static key's site that begins with code if it does nothing,
// else 0. (arch/x86/include/asm/nops.h, BYTES_NOP2 and BYTES_NOP5)
func JumpLabelNop(code []byte) int {
	for _, nop := range [][]byte{{0x66, 0x90}, {0x0f, 0x1f, 0x44, 0x00, 0x00}} {
		if bytes.HasPrefix(code, nop) {
			return len(nop)
		}
	}
	return 0
}

// Sizes in bytes of what the kernel rewrites at its other sites.
const (
	StaticCallSize = 5 // call or jmp rel32 (arch/x86/kernel/static_call.c)
	LockSize       = 1 // the lock prefix (arch/x86/kernel/alternative.c, alternatives_smp_lock)
)

// altSizes are the sizes struct alt_instr has had: 12 bytes from 5.17 to 6.2,
// 13 before (padlen), 14 since (flags). Where its two lengths are follows.
// (arch/x86/include/asm/alternative.h)
var altSizes = []struct{ size, lens int }{{12, 10}, {14, 12}, {13, 10}}

// Alternatives reads .altinstructions, linked at addr. The entry's size is not
// recorded in the file: it is the one for which every entry makes sense, that is
// points at text and, if it has a replacement, at a replacement.
func Alternatives(table []byte, addr uint64, isText, isReplacement func(addr uint64) bool) ([]isa.Alternative, error) {
	for _, l := range altSizes {
		if alts, ok := alternatives(table, addr, l.size, l.lens, isText, isReplacement); ok {
			return alts, nil
		}
	}
	return nil, fmt.Errorf(".altinstructions: %d bytes at %#x are no table of alternatives of a known kernel", len(table), addr)
}

func alternatives(table []byte, addr uint64, size, lens int, isText, isReplacement func(uint64) bool) ([]isa.Alternative, bool) {
	if len(table)%size != 0 {
		return nil, false
	}
	out := make([]isa.Alternative, 0, len(table)/size)
	for off := 0; off < len(table); off += size {
		e := table[off : off+size]
		at := addr + uint64(off)
		a := isa.Alternative{
			Site:           at + uint64(int64(int32(binary.LittleEndian.Uint32(e)))),
			Replacement:    at + 4 + uint64(int64(int32(binary.LittleEndian.Uint32(e[4:])))),
			SiteLen:        int(e[lens]),
			ReplacementLen: int(e[lens+1]),
		}
		if !isText(a.Site) || a.ReplacementLen > 0 && !isReplacement(a.Replacement) {
			return nil, false
		}
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Replacement < out[j].Replacement })
	return out, true
}
