// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"golang.org/x/arch/x86/x86asm"

	"plugsched/internal/kernel/arch/isa"
)

// dwarfRegs are DWARF's numbers of rax to r15 (System V ABI, AMD64 supplement,
// figure 3.36).
var dwarfRegs = [16]int{0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15}

// MemoryOperands decodes code, linked at addr, and yields the memory operands of
// its instructions, those of lea included. Constants that are added to a 64-bit
// register are yielded as lea's would be: they may make a member's address. So
// are 64-bit constants that are loaded, stored or compared with: they may be an object's.
func MemoryOperands(code []byte, addr uint64, yield func(isa.Memory)) {
	for pos := 0; pos < len(code); {
		if n := emulatePrefix(code[pos:]); n > 0 {
			pos += n
			continue
		}
		in, err := x86asm.Decode(code[pos:], 64)
		if err != nil || in.Op == 0 {
			pos += max(1, unknownLen(code[pos:]))
			continue
		}
		site := addr + uint64(pos)
		pos += in.Len
		memoryOf(&in, site, site+uint64(in.Len), yield)
	}
}

func memoryOf(in *x86asm.Inst, site, next uint64, yield func(isa.Memory)) {
	if in.Op == x86asm.NOP {
		return
	}
	for i, a := range in.Args {
		switch a := a.(type) {
		case nil:
			return
		case x86asm.Mem:
			m := isa.Memory{Site: site, Index: a.Index != 0, Disp: int64(int32(a.Disp)), Size: in.MemBytes, PerCPU: a.Segment == x86asm.GS}
			m.Write = i == 0 && in.Op != x86asm.CMP && in.Op != x86asm.TEST && in.Op != x86asm.PUSH && in.Op != x86asm.CALL && in.Op != x86asm.JMP
			switch {
			case in.Op == x86asm.LEA:
				m.Size, m.Write = 0, false
			case m.Size == 0:
				m.Size = 1
			}
			switch {
			case a.Base == x86asm.RIP:
				m.Disp += int64(next)
			case a.Base >= x86asm.RAX && a.Base <= x86asm.R15:
				m.Based, m.Stack = true, a.Base == x86asm.RSP
				m.Reg = dwarfRegs[a.Base-x86asm.RAX]
			}
			yield(m)
		case x86asm.Imm:
			r, ok := in.Args[0].(x86asm.Reg)
			switch {
			case in.DataSize != 64:
			case !ok:
				if in.Op == x86asm.MOV {
					yield(isa.Memory{Site: site, Disp: int64(a)})
				}
			case in.Op == x86asm.ADD && r >= x86asm.RAX && r <= x86asm.R15:
				yield(isa.Memory{Site: site, Based: true, Stack: r == x86asm.RSP, Reg: dwarfRegs[r-x86asm.RAX], Disp: int64(a)})
			case in.Op == x86asm.MOV:
				// For a small number gcc takes the shorter 32-bit form, which clears the
				// upper half; a symbol of -mcmodel=kernel has to be sign-extended.
				yield(isa.Memory{Site: site, Disp: int64(a), Address: true})
			case in.Op == x86asm.CMP:
				yield(isa.Memory{Site: site, Disp: int64(a)})
			}
		}
	}
}
