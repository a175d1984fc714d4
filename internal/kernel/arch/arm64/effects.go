// SPDX-License-Identifier: BSD-3-Clause

// Package arm64 decodes A64 code: what instructions refer to, and what they change.
package arm64

// Registers by their numbers, which are DWARF's too. 31 is the stack pointer for some
// instructions and zero for others.
const (
	regLink = 30
	regSP   = 31
)

// regs is a set of general registers.
type regs uint32

func set(r ...uint32) (s regs) {
	for _, n := range r {
		if n < regSP {
			s |= 1 << n
		}
	}
	return s
}

// callerSaved are registers that a call may leave with any value (AAPCS64, 6.1.1).
const callerSaved = regs(1<<19 - 1)

// known reports a word that the architecture makes an instruction. The others are data, or
// udf, which is none to continue behind.
func known(w uint32) bool {
	switch w >> 25 & 0xf {
	case 0b0000:
		return w>>31 == 1 || w>>16 == 0 // SME; udf
	case 0b0001, 0b0011:
		return false
	}
	return true
}

// changes are the general registers that an instruction gives another value. Of
// instructions of floating point and vectors only the address's register is told: they give
// no address. (Arm ARM, C4.1, "A64 instruction set encoding")
func changes(w uint32) regs {
	switch op := w >> 25 & 0xf; {
	case op>>1 == 0b100: // data processing, immediate
		return destination(w)
	case op>>1 == 0b101:
		return branchChanges(w)
	case op&0b101 == 0b100:
		return memoryChanges(w)
	case op&0b111 == 0b101: // data processing, registers
		switch w >> 21 & 0xff {
		case 0xd0, 0xd2: // adc, sbc, rmif, setf; ccmp, ccmn
			if w>>21&0xff == 0xd2 || w>>10&0x3f != 0 {
				return 0
			}
		}
		return destination(w)
	}
	return 0
}

func destination(w uint32) regs { return set(w & 31) }

func base(w uint32) uint32 { return w >> 5 & 31 }

func branchChanges(w uint32) regs {
	switch f, _, _ := branchOf(w); {
	case f == branchCall || f == branchCalls:
		return set(regLink)
	case f != noBranch:
		return 0
	}
	switch {
	case w&0xffe00000 == 0xd5200000 || w&0xfff00000 == 0xd5300000: // sysl, mrs
		return destination(w)
	case w&0xfffff01f == 0xd503201f: // hints, among them paciasp and pacia1716
		return set(regLink, 17)
	case w&0xff000000 == 0xd4000000 && w&0x1f != 0: // svc, hvc, smc
		return callerSaved
	}
	return 0
}

// memoryChanges is changes of loads and stores.
func memoryChanges(w uint32) regs {
	var (
		rt, rt2, rs, rn = w & 31, w >> 10 & 31, w >> 16 & 31, base(w)
		vector          = w>>26&1 == 1
		back            regs // the address's register, if it is written back
	)
	switch w >> 28 & 3 {
	case 0b00:
		if vector { // ld1 and its kind
			if w>>23&1 == 1 {
				back = set(rn)
			}
			return back
		}
		return exclusiveChanges(w)
	case 0b01:
		if w>>24&1 == 0 { // ldr of a literal
			if vector || w>>30 == 3 {
				return 0
			}
			return set(rt)
		}
		if w>>10&3 == 1 { // cpy, set
			return set(rt, rs, rn)
		}
		if w>>22&3 == 0 && w>>21&1 == 0 { // stlur
			return 0
		}
		return set(rt, rn)
	case 0b10: // pairs
		if w>>23&1 == 1 {
			back = set(rn)
		}
		if w>>22&1 == 0 || vector {
			return back
		}
		return back | set(rt, rt2)
	}
	if w>>24&1 == 0 {
		switch sub := w >> 10 & 3; {
		case w>>21&1 == 0 && sub&1 == 1: // before or after
			back = set(rn)
		case w>>21&1 == 1 && sub == 0: // ldadd, swp, ldapr
			return set(rt, rs)
		case w>>21&1 == 1 && sub&1 == 1: // ldraa, ldrab
			return set(rt, rn)
		}
	}
	if !isLoad(w) || vector {
		return back
	}
	return back | set(rt)
}

// isLoad reports that a load or store of one register loads. prfm does not.
func isLoad(w uint32) bool {
	opc := w >> 22 & 3
	return opc != 0 && !(opc == 2 && w>>30 == 3)
}

func exclusiveChanges(w uint32) regs {
	rt, rt2, rs := w&31, w>>10&31, w>>16&31
	load := w>>22&1 == 1
	switch o2, o1 := w>>23&1, w>>21&1; {
	case o2 == 1 && o1 == 1: // cas
		return set(rs)
	case o2 == 0 && o1 == 1 && w>>31 == 0: // casp
		return set(rs, rs+1)
	case !load && o2 == 0: // stxr: whether it was stored
		return set(rs)
	case load && o1 == 1:
		return set(rt, rt2)
	case load:
		return set(rt)
	}
	return 0
}
