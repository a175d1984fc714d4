// SPDX-License-Identifier: BSD-3-Clause

package arm64

import "plugsched/internal/kernel/arch/isa"

// isMemory reports loads and stores.
func isMemory(w uint32) bool { return w>>25&0b0101 == 0b0100 }

// MemoryOperands decodes code, linked at addr, and yields the memory operands of its
// instructions, and the addresses that they compute by adding a constant to a register: these
// may be a member's.
func MemoryOperands(code []byte, addr uint64, yield func(isa.Memory)) {
	f := follow(code, addr)
	f.each(func(i int, w uint32, s *state) {
		m := isa.Memory{Site: f.at(i)}
		switch {
		case isADR(w):
			m.Disp = int64(adr(m.Site, w))
			yield(m)
			return
		case isLiteral(w):
			m.Disp, m.Size = int64(m.Site)+signed(w, 5, 19), 4<<(w>>30&1)
			yield(m)
			return
		case isAdd(w):
			m.Disp = int64(constant(w))
		case isSub(w):
			m.Disp = -int64(constant(w))
		case !isMemory(w) || !operand(w, &m):
			return
		}
		f.based(&m, base(w), s, yield)
	})
}

// based yields an operand that is relative to a register: by its address where that is known.
func (f *flow) based(m *isa.Memory, r uint32, s *state, yield func(isa.Memory)) {
	known := f.bases(s, r, func(v value) {
		whole := *m
		whole.Disp += int64(v.addr)
		yield(whole)
	})
	if known {
		return
	}
	m.Based, m.Stack, m.Reg = true, r == regSP, int(r)
	yield(*m)
}

// isLiteral reports ldr of what is at a distance from the instruction.
func isLiteral(w uint32) bool { return w&0x3b000000 == 0x18000000 && w>>30 != 3 }

// operand decodes what a load or a store adds to its register, how much it reaches, and
// whether it writes there. It is false for what reaches nothing, such as a prefetch.
func operand(w uint32, m *isa.Memory) bool {
	vector := w>>26&1 == 1
	size := 1 << (w >> 30)
	switch w >> 28 & 3 {
	case 0b00:
		if vector { // ld1, st1 and their kind: of up to four registers
			m.Size, m.Write = 16, w>>22&1 == 0
			return true
		}
		exclusive(w, m)
		return true
	case 0b01:
		if w>>24&1 == 0 {
			return false // a prefetch of a literal
		}
		m.Disp, m.Size, m.Write = int64(w)<<(64-21)>>(64-9), size, w>>22&3 == 0 // ldapur, stlur
		return true
	case 0b10:
		return pair(w, vector, m)
	}
	if vector {
		size = 1 << (w>>30 | w>>23&1<<2)
	} else if w>>30 == 3 && w>>22&3 == 2 && (w>>24&1 == 1 || w>>21&1 == 0 || w>>10&3 == 2) {
		return false // prfm
	}
	m.Size, m.Write = size, !isLoad(w)
	if vector {
		m.Write = w>>22&1 == 0
	}
	switch sub := w >> 10 & 3; {
	case w>>24&1 == 1:
		m.Disp = int64(w>>10&0xfff) * int64(size)
	case w>>21&1 == 0:
		if sub != 1 { // 1: the distance is added behind the access
			m.Disp = int64(w) << (64 - 21) >> (64 - 9)
		}
	case sub == 2:
		m.Index = true
	case sub == 0:
		m.Write = w>>12&0xf != 0b1100 // ldapr has the others' encoding
	default: // ldraa, ldrab
		m.Disp, m.Write = (int64(w)<<(64-21)>>(64-9)&0x1ff|-int64(w>>22&1)<<9)*int64(size), false
	}
	return true
}

// exclusive decodes those that are alone with their memory, and those that are in order.
func exclusive(w uint32, m *isa.Memory) {
	m.Size, m.Write = 1<<(w>>30), w>>22&1 == 0
	switch o2, o1 := w>>23&1, w>>21&1; {
	case o2 == 1 && o1 == 1: // cas
		m.Write = true
	case o1 == 1: // ldxp, stxp; casp
		m.Size = 8 << (w >> 30 & 1)
		m.Write = m.Write || w>>31 == 0
	}
}

// pair decodes ldp and stp.
func pair(w uint32, vector bool, m *isa.Memory) bool {
	size := int64(4)
	switch opc := w >> 30; {
	case vector:
		size <<= opc
	case opc == 2:
		size = 8
	}
	if w>>23&3 != 1 { // 1: the distance is added behind the access
		m.Disp = int64(w) << (64 - 22) >> (64 - 7) * size
	}
	m.Size, m.Write = int(2*size), w>>22&1 == 0
	return true
}
