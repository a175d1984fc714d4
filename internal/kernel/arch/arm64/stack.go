// SPDX-License-Identifier: BSD-3-Clause

package arm64

import "fmt"

// regFrame leads to the frame record (AAPCS64, 6.4.6).
const regFrame = 29

// stack is where sp is, and x29 if it leads into the frame: so far below the caller's frame.
type stack struct {
	sp, fp int64
	framed bool
}

// Clone implements isa.Known.
func (s *stack) Clone() *stack {
	c := *s
	return &c
}

// Meet implements isa.Known.
func (s *stack) Meet(o *stack) (less, same bool) { return false, *s == *o }

// base is where a register leads that is in the frame, below the caller's.
func (s *stack) base(r uint32) (below int64, ok bool) {
	switch {
	case r == regSP:
		return s.sp, true
	case r == regFrame && s.framed:
		return s.fp, true
	}
	return 0, false
}

// step applies what an instruction does to sp and x29.
func (s *stack) step(w uint32) error {
	rd, rn := w&31, base(w)
	if isAdd(w) || isSub(w) {
		if from, ok := s.base(rn); ok && (rd == regSP || rd == regFrame) {
			by := int64(constant(w))
			if isAdd(w) {
				by = -by
			}
			if rd == regSP {
				s.sp = from + by
			} else {
				s.fp, s.framed = from+by, true
			}
			return nil
		}
	}
	if isPair(w) && rn == regSP && w>>23&1 == 1 { // the address's register is written back
		s.sp -= pairDistance(w)
	} else if isIndexed(w) && rn == regSP {
		s.sp -= int64(w) << (64 - 21) >> (64 - 9)
	} else if movesStack(w) {
		return fmt.Errorf("moves the stack pointer")
	}
	if changes(w)&set(regFrame) != 0 {
		s.framed = false
	}
	return nil
}

// isPair reports ldp and stp of general registers of 64 bits.
func isPair(w uint32) bool { return w&0xfe000000 == 0xa8000000 }

// pairDistance is what ldp and stp add to their register.
func pairDistance(w uint32) int64 { return int64(w) << (64 - 22) >> (64 - 7) * 8 }

// isIndexed reports loads and stores of one register of 64 bits that write the address back.
func isIndexed(w uint32) bool { return w&0xffa00400 == 0xf8000400 }

// movesStack reports instructions that may give the stack pointer another value. It is register 31 where an
// instruction's description says so, else that is zero (Arm ARM, C4.1).
func movesStack(w uint32) bool {
	to := w&31 == regSP
	back := base(w) == regSP
	switch op := w >> 25 & 0xf; {
	case op>>1 == 0b100: // data processing, immediate
		switch w >> 23 & 7 {
		case 2: // add, sub; with S it is a comparison
			return to && w>>29&1 == 0
		case 3: // addg, subg
			return to
		case 4: // logical; ands is a comparison
			return to && w>>29&3 != 3
		}
		return false
	case op&0b111 == 0b101: // data processing, registers
		extended := w&0x1f200000 == 0x0b200000 && w>>29&1 == 0
		return to && (extended || w&0xffe0fc00 == 0x9ac01000) // irg
	case op&0b101 == 0b100: // loads and stores
		switch w >> 28 & 3 {
		case 0b00:
			return back && w>>26&1 == 1 && w>>23&1 == 1 // ld1 and its kind
		case 0b01:
			return back && w>>24&1 == 1 // stg and its kind, stlr with an index
		case 0b10:
			return back && w>>23&1 == 1
		}
		return back && w>>24&1 == 0 && w>>10&1 == 1 // before or after, ldraa
	}
	return false
}
