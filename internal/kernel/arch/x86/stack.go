// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/arch/x86/x86asm"

	"plugsched/internal/kernel/arch/isa"
)

// stack is where rsp is, and rbp if it leads into the frame: so far below the caller's frame.
type stack struct {
	sp, bp int64
	framed bool
}

// Clone implements isa.Known.
func (s *stack) Clone() *stack {
	c := *s
	return &c
}

// Meet implements isa.Known.
func (s *stack) Meet(o *stack) (less, same bool) { return false, *s == *o }

// slot turns a memory operand into a place of the frame; ok is false for any other.
func (s *stack) slot(m x86asm.Mem) (at int64, ok bool) {
	switch {
	case m.Index != 0 || m.Segment == x86asm.GS || m.Segment == x86asm.FS:
		return 0, false
	case m.Base == x86asm.RSP:
		return int64(int32(m.Disp)) - s.sp, true
	case m.Base == x86asm.RBP && s.framed:
		return int64(int32(m.Disp)) - s.bp, true
	}
	return 0, false
}

// otherPushes move rsp by another size than a register's. No compiler uses them.
var otherPushes = []x86asm.Op{x86asm.PUSHF, x86asm.PUSHFD, x86asm.PUSHA, x86asm.PUSHAD,
	x86asm.POPF, x86asm.POPFD, x86asm.POPA, x86asm.POPAD}

// step applies what an instruction does to rsp and rbp.
func (s *stack) step(in x86asm.Inst) error {
	to, isReg := in.Args[0].(x86asm.Reg)
	imm, hasImm := in.Args[1].(x86asm.Imm)
	mem, hasMem := in.Args[1].(x86asm.Mem)
	switch {
	case in.Op == x86asm.PUSH, in.Op == x86asm.PUSHFQ: // native_save_fl() pushes the flags and pops them
		s.sp += 8
	case in.Op == x86asm.POPFQ:
		s.sp -= 8
	case in.Op == x86asm.POP:
		s.sp -= 8
		if to == x86asm.RSP {
			return fmt.Errorf("pops the stack pointer")
		}
	case slices.Contains(otherPushes, in.Op), in.Op == x86asm.XCHG && in.Args[1] == x86asm.RSP:
		return fmt.Errorf("moves the stack pointer: %v", in)
	case in.Op == x86asm.LEAVE && s.framed:
		s.sp, s.framed = s.bp-8, false
		return nil
	case in.Op == x86asm.LEAVE, in.Op == x86asm.ENTER:
		return fmt.Errorf("%v without a frame pointer", in.Op)
	case !isReg || !writes(in):
		return nil
	case to == x86asm.RSP && in.Op == x86asm.SUB && hasImm:
		s.sp += int64(imm)
		return nil
	case to == x86asm.RSP && in.Op == x86asm.ADD && hasImm:
		s.sp -= int64(imm)
		return nil
	case to == x86asm.RSP && in.Op == x86asm.MOV && in.Args[1] == x86asm.RBP && s.framed:
		s.sp = s.bp
		return nil
	case to == x86asm.RSP && in.Op == x86asm.LEA && hasMem:
		at, ok := s.slot(mem)
		if !ok {
			return fmt.Errorf("moves the stack pointer: %v", in)
		}
		s.sp = -at
		return nil
	case to == x86asm.RBP && in.Op == x86asm.MOV && in.Args[1] == x86asm.RSP:
		s.bp, s.framed = s.sp, true
		return nil
	case wide(to) == x86asm.RSP:
		return fmt.Errorf("moves the stack pointer: %v", in)
	}
	if isReg && wide(to) == x86asm.RBP && (writes(in) || in.Op == x86asm.POP) {
		s.framed = false
	}
	return nil
}

// writes reports instructions that change their first operand. Of those that are not known
// to leave it alone it is assumed.
func writes(in x86asm.Inst) bool {
	switch in.Op {
	case x86asm.CMP, x86asm.TEST, x86asm.BT, x86asm.PUSH, x86asm.CALL, x86asm.JMP, x86asm.NOP:
		return false
	}
	return !isJcc(in.Op)
}

// findCall finds the one call of the context switch, and where the stack is there.
func (p *prover) findCall() error {
	call, site, s, err := isa.FindCall(p.Routine, switchTo, &stack{sp: 8}, func(site uint64, s *stack) (isa.Turn, error) {
		in, err := p.decode(site)
		if err != nil {
			return isa.Turn{}, err
		}
		if to, ok := in.Args[0].(x86asm.Mem); ok && writes(in) {
			if at, ok := s.slot(to); ok {
				p.stores[site] = span{at, int64(cmp.Or(in.MemBytes, widest))}
			}
		}
		if err := s.step(in); err != nil {
			return isa.Turn{}, fmt.Errorf("at %s it %w", p.Place(site), err)
		}
		return turn(in, site), nil
	})
	if err != nil {
		return err
	}
	p.sb.Call, p.sb.Return, p.sb.Depth, p.sb.FramePtr = site-p.Entry, call.Next-p.Entry, s.sp, s.framed && s.bp == 16
	return nil
}
