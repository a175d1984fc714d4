// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"golang.org/x/arch/x86/x86asm"
)

// Shadow is a slot of the frame with the address of a place of the frame, shifted to the right. gcc computes it once
// (-fsanitize=kernel-address with asan-stack=1), marks the frame's redzones in KASAN's shadow of the stack, and
// takes the marks away where the function ends: in __schedule, behind the context switch. Where nothing was marked, as in the
// stub's frame, that does nothing. The module's own __schedule, whose frame is left behind, marks nothing (module.Options).
type Shadow struct {
	At    int64 // the slot
	Of    int64 // the place
	Shift int64 // bits
}

// A frameDescription is what functions begin with that keep variables in memory, where KASAN looks after the stack: they
// store a magic number, the address of a text and their own address into three words of their frame, for reports
// (gcc's asan.cc, asan_emit_stack_protection). Nobody calls a function by that.
type frameDescription struct {
	base x86asm.Reg
	disp int64
	at   uint64
}

const (
	frameMagic = 0x41b58ab3 // ASAN_STACK_FRAME_MAGIC
	// near bounds how far, in bytes of code, the three stores are from one another, and from the function's entry.
	near = 256
)

// names reports the instruction that stores the function's own address.
func (f *frameDescription) names(in *x86asm.Inst, site uint64) bool {
	to, store := in.Args[0].(x86asm.Mem)
	imm, constant := in.Args[1].(x86asm.Imm)
	if in.Op != x86asm.MOV || !store || !constant || to.Index != 0 || to.Base != x86asm.RSP && to.Base != x86asm.RBP {
		return false
	}
	disp, target := int64(int32(to.Disp)), uint64(int64(imm))
	if imm == frameMagic {
		*f = frameDescription{to.Base, disp, site}
		return false
	}
	return f.base == to.Base && disp == f.disp+16 && site-f.at < near && site-target < near
}

// findShadow looks for the slot, which nothing else may be stored into before the context switch.
func (p *prover) findShadow() error {
	places := map[x86asm.Reg]Shadow{}
	return p.straight(func(in x86asm.Inst, _ uint64, s *stack) bool {
		to, isReg := in.Args[0].(x86asm.Reg)
		mem, store := in.Args[0].(x86asm.Mem)
		from, _ := in.Args[1].(x86asm.Reg)
		shift, _ := in.Args[1].(x86asm.Imm)
		if _, understood := effects[in.Op]; !understood {
			clear(places) // it may change registers that it does not name
		}
		place, known := places[from]
		switch {
		case store && in.Op == x86asm.MOV && known && place.Shift > 0 && in.MemBytes == 8:
			if at, ok := s.slot(mem); ok && p.storedOnce(at) {
				place.At = at
				p.sb.Shadow = &place
				return false
			}
		case isReg && in.Op == x86asm.LEA:
			delete(places, wide(to))
			if at, ok := s.slot(in.Args[1].(x86asm.Mem)); ok && to == wide(to) {
				places[to] = Shadow{Of: at}
			}
		case isReg && in.Op == x86asm.MOV && known && to == wide(to):
			places[to] = place
		case isReg && in.Op == x86asm.SHR && places[to] != Shadow{} && places[to].Shift == 0 && shift > 0:
			places[to] = Shadow{Of: places[to].Of, Shift: int64(shift)}
		case isReg && (writes(in) || in.Op == x86asm.POP):
			delete(places, wide(to))
		}
		return true
	})
}

// A span is a stretch of the frame, in bytes.
type span struct{ at, size int64 }

// widest is the size of the widest store, which is taken for one whose size is not known.
const widest = 64

// storedOnce reports whether of the instructions on the ways to the context switch one stores into a slot of 8 bytes, and
// no other into any part of it.
func (p *prover) storedOnce(at int64) bool {
	n, whole := 0, false
	for _, s := range p.stores {
		if s.at < at+8 && s.at+s.size > at {
			n, whole = n+1, s == span{at, 8}
		}
	}
	return n == 1 && whole
}
