// SPDX-License-Identifier: BSD-3-Clause

// Package x86 decodes x86-64 code: what instructions refer to, and the proof that
// __schedule can be split at its context switch.
package x86

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/arch/x86/x86asm"

	"plugsched/internal/kernel/arch/isa"
)

// Springboard is what the proof of one kernel's __schedule yields: the frame
// that its prologue builds, and where it calls the context switch.
//
// The kernel's __schedule is entered by a stub that builds this frame and calls
// the module's __schedule. To switch, the stub's frame is made current again and
// control goes to Call; the sleeper then holds only the kernel's own text.
type Springboard struct {
	Call     uint64   // offset of "call __switch_to_asm" in __schedule
	Return   uint64   // offset of the instruction behind it: every sleeper's return address
	Pushes   []string // registers in the order of the prologue, rbp first if it is the frame pointer
	FramePtr bool     // "mov %rsp,%rbp" follows the first push
	Locals   int64    // bytes subtracted from rsp after the pushes
	Canary   int64    // offset of the stack protector's slot from rsp, -1 when there is none
	Reads    []string // what the code behind the call reads, as proven
	Callees  []string // functions that the code behind the call calls: the kernel's own code does
}

// FrameSize is the distance in bytes from rsp, once the frame is built, to the
// return address.
func (s *Springboard) FrameSize() int64 { return s.Locals + 8*int64(len(s.Pushes)) }

// canaryAddr is the offset of the stack protector's value from gs.
// (arch/x86/include/asm/processor.h, struct fixed_percpu_data).
const canaryAddr = 0x28

// ProveSpringboard decodes __schedule (its code, linked at addr) and shows that
// the code behind its one call of __switch_to_asm needs nothing but the return
// value, the frame registers, the saved registers and the stack protector's
// slot. Anything else is an error that says what was read.
func ProveSpringboard(code []byte, addr uint64, name isa.Symbolic) (*Springboard, error) {
	p := &prover{code: code, addr: addr, name: name, sb: &Springboard{Canary: -1}}
	if err := p.prologue(); err != nil {
		return nil, err
	}
	if err := p.findCall(); err != nil {
		return nil, err
	}
	if err := p.tail(); err != nil {
		return nil, err
	}
	return p.sb, nil
}

// Prove is ProveSpringboard for those who only want to use it.
func Prove(code []byte, addr uint64, name isa.Symbolic) (*isa.Springboard, error) {
	s, err := ProveSpringboard(code, addr, name)
	if err != nil {
		return nil, err
	}
	return &isa.Springboard{Call: s.Call, Return: s.Return, Reads: s.Reads, Callees: s.Callees, Assembly: s.Assembly()}, nil
}

type prover struct {
	code []byte
	addr uint64
	name isa.Symbolic
	sb   *Springboard

	defined map[x86asm.Reg]bool
	depth   int // pops seen in the epilogue
}

func (p *prover) decode(off uint64) (x86asm.Inst, error) {
	if off >= uint64(len(p.code)) {
		return x86asm.Inst{}, fmt.Errorf("code at +%#x is outside of the function", off)
	}
	in, err := x86asm.Decode(p.code[off:], 64)
	if err != nil {
		return in, fmt.Errorf("cannot decode the instruction at +%#x: %w", off, err)
	}
	return in, nil
}

// target returns the offset that a direct branch at off leads to.
func target(in x86asm.Inst, off uint64) (uint64, bool) {
	rel, ok := in.Args[0].(x86asm.Rel)
	return off + uint64(in.Len) + uint64(int64(rel)), ok
}

func (p *prover) callee(in x86asm.Inst, off uint64) string {
	t, ok := target(in, off)
	if !ok {
		return ""
	}
	return p.name(p.addr + t)
}

// prologue follows the straight line from the entry to the subtraction from rsp
// that completes the frame. gcc schedules other instructions in between.
func (p *prover) prologue() error {
	sb := p.sb
	for off := uint64(0); ; {
		in, err := p.decode(off)
		if err != nil {
			return err
		}
		switch in.Op {
		case x86asm.PUSH:
			r, ok := in.Args[0].(x86asm.Reg)
			if !ok {
				return fmt.Errorf("the prologue pushes %v at +%#x, which is not a register", in.Args[0], off)
			}
			sb.Pushes = append(sb.Pushes, strings.ToLower(r.String()))
		case x86asm.MOV:
			if in.Args[0] == x86asm.RBP && in.Args[1] == x86asm.RSP {
				if len(sb.Pushes) != 1 || sb.Pushes[0] != "rbp" {
					return fmt.Errorf("the frame pointer is set up at +%#x, not right behind push %%rbp", off)
				}
				sb.FramePtr = true
			}
		case x86asm.SUB:
			if in.Args[0] == x86asm.RSP {
				n, ok := in.Args[1].(x86asm.Imm)
				if !ok {
					return fmt.Errorf("the frame's size at +%#x is not a constant", off)
				}
				sb.Locals = int64(n)
				return nil
			}
		case x86asm.ADD: // a frame of 128 bytes is "add $-128,%rsp": the shorter encoding
			if in.Args[0] == x86asm.RSP {
				n, ok := in.Args[1].(x86asm.Imm)
				if !ok || n >= 0 {
					return fmt.Errorf("the frame's size at +%#x is not a constant", off)
				}
				sb.Locals = -int64(n)
				return nil
			}
		case x86asm.CALL, x86asm.JMP, x86asm.RET, x86asm.AND, x86asm.LEA:
			if in.Op != x86asm.CALL && in.Op != x86asm.JMP && in.Op != x86asm.RET && in.Args[0] != x86asm.RSP {
				break
			}
			return fmt.Errorf("the prologue has %v at +%#x before its frame is complete", in, off)
		}
		off += uint64(in.Len)
	}
}

// findCall finds the one call of __switch_to_asm.
func (p *prover) findCall() error {
	found := 0
	for off := uint64(0); off < uint64(len(p.code)); {
		in, err := x86asm.Decode(p.code[off:], 64)
		if err != nil {
			off++ // an instruction that the decoder does not know, ud2 tables and the like
			continue
		}
		if in.Op == x86asm.CALL && p.callee(in, off) == "__switch_to_asm" {
			p.sb.Call, p.sb.Return = off, off+uint64(in.Len)
			found++
		}
		off += uint64(in.Len)
	}
	if found != 1 {
		return fmt.Errorf("calls __switch_to_asm %d times, expected once", found)
	}
	return nil
}

// slot turns a stack operand into its offset from rsp as it is once the frame is
// built; ok is false for any other operand.
func (p *prover) slot(m x86asm.Mem) (int64, bool) {
	if m.Index != 0 || m.Segment != 0 && m.Segment != x86asm.SS && m.Segment != x86asm.DS {
		return 0, false
	}
	switch {
	case m.Base == x86asm.RSP:
		return int64(int32(m.Disp)), true
	case m.Base == x86asm.RBP && p.sb.FramePtr:
		return int64(int32(m.Disp)) + p.sb.FrameSize() - 8, true
	}
	return 0, false
}

var errTail = errors.New("the code behind the context switch")

func tailError(off uint64, format string, args ...any) error {
	return fmt.Errorf("%w: at +%#x %s", errTail, off, fmt.Sprintf(format, args...))
}

// tail follows the code from behind the call to the return, and refuses
// whatever would depend on the part of the function that ran in the module.
func (p *prover) tail() error {
	p.defined = map[x86asm.Reg]bool{x86asm.RAX: true, x86asm.RSP: true}
	if p.sb.FramePtr {
		p.defined[x86asm.RBP] = true
	}
	p.sb.Reads = []string{"return value (rax)"}
	released := false // the locals were given back: what follows are the pops
	for off, steps := p.sb.Return, 0; ; steps++ {
		if steps > 200 {
			return tailError(off, "is longer than expected")
		}
		in, err := p.decode(off)
		if err != nil {
			return err
		}
		next := off + uint64(in.Len)
		switch {
		case in.Op == x86asm.RET:
			return p.atReturn(off)
		case in.Op == x86asm.JMP:
			t, ok := target(in, off)
			if !ok {
				return tailError(off, "jumps indirectly")
			}
			if t >= uint64(len(p.code)) {
				if n := p.callee(in, off); !strings.Contains(n, "return_thunk") {
					return tailError(off, "leaves for %q", n)
				}
				return p.atReturn(off)
			}
			next = t
		case in.Op == x86asm.CALL:
			callee := p.callee(in, off)
			if callee == "" {
				return tailError(off, "calls indirectly")
			}
			p.sb.Callees = append(p.sb.Callees, callee)
			for _, r := range callerSaved {
				p.defined[r] = false
			}
			p.defined[x86asm.RAX] = true
		case isJcc(in.Op):
			t, _ := target(in, off)
			if t >= uint64(len(p.code)) || !p.canaryFailure(t) {
				return tailError(off, "branches to +%#x, which is not the stack protector's failure", t)
			}
		case in.Op == x86asm.POP:
			r, ok := in.Args[0].(x86asm.Reg)
			if want := len(p.sb.Pushes) - 1 - p.depth; !ok || !released || want < 0 || strings.ToLower(r.String()) != p.sb.Pushes[want] {
				return tailError(off, "pops %v out of order", in.Args[0])
			}
			p.depth++
			p.defined[r] = true
		case in.Op == x86asm.LEAVE:
			if !p.sb.FramePtr || len(p.sb.Pushes) != 1 {
				return tailError(off, "leaves a frame that the prologue did not build")
			}
			p.depth, released = 1, true
		case in.Op == x86asm.ADD && in.Args[0] == x86asm.RSP, in.Op == x86asm.SUB && in.Args[0] == x86asm.RSP:
			n, ok := in.Args[1].(x86asm.Imm)
			if in.Op == x86asm.SUB {
				n = -n
			}
			if !ok || int64(n) != p.sb.Locals || released {
				return tailError(off, "releases %v bytes of a frame of %d", in.Args[1], p.sb.Locals)
			}
			released = true
		default:
			if err := p.plain(in, off); err != nil {
				return err
			}
		}
		off = next
	}
}

func (p *prover) atReturn(off uint64) error {
	if p.depth != len(p.sb.Pushes) {
		return tailError(off, "returns with %d of %d registers restored", p.depth, len(p.sb.Pushes))
	}
	return nil
}

var callerSaved = []x86asm.Reg{x86asm.RAX, x86asm.RCX, x86asm.RDX, x86asm.RSI, x86asm.RDI, x86asm.R8, x86asm.R9, x86asm.R10, x86asm.R11}

func (p *prover) read(what string) {
	for _, r := range p.sb.Reads {
		if r == what {
			return
		}
	}
	p.sb.Reads = append(p.sb.Reads, what)
}

// plain checks an instruction that only computes: its inputs must be known.
func (p *prover) plain(in x86asm.Inst, off uint64) error {
	if in.Op == x86asm.NOP {
		return nil
	}
	if in.Op == x86asm.PUSH || in.Op == x86asm.ENTER {
		return tailError(off, "moves the frame: %v", in)
	}
	if r, ok := in.Args[0].(x86asm.Reg); ok && in.Op != x86asm.CMP && in.Op != x86asm.TEST {
		if r = wide(r); r == x86asm.RSP || r == x86asm.RBP && p.sb.FramePtr && p.depth == 0 {
			return tailError(off, "moves the frame: %v", in)
		}
	}
	writesOnly := in.Op == x86asm.MOV || in.Op == x86asm.LEA || in.Op == x86asm.MOVZX || in.Op == x86asm.MOVSXD
	clears := in.Op == x86asm.XOR && in.Args[0] == in.Args[1]
	for i, a := range in.Args {
		switch a := a.(type) {
		case x86asm.Mem:
			if a.Segment == x86asm.GS && a.Base == 0 && a.Index == 0 && a.Disp == canaryAddr {
				p.read("stack protector's value")
				continue
			}
			s, ok := p.slot(a)
			if !ok {
				return tailError(off, "has %v: memory outside of the frame", in)
			}
			if i == 0 && in.Op == x86asm.MOV {
				return tailError(off, "stores into the frame: %v", in)
			}
			if err := p.canarySlot(s, off); err != nil {
				return err
			}
		case x86asm.Reg:
			if i == 0 && writesOnly || clears {
				continue
			}
			if !p.defined[wide(a)] {
				return tailError(off, "reads %v, which the module would have to provide: %v", a, in)
			}
		}
	}
	if r, ok := in.Args[0].(x86asm.Reg); ok && (writesOnly || clears) {
		p.defined[wide(r)] = true
	}
	return nil
}

// canarySlot accepts one slot of the frame: the one that the prologue filled
// with the stack protector's value.
func (p *prover) canarySlot(s int64, off uint64) error {
	if p.sb.Canary >= 0 && p.sb.Canary != s {
		return tailError(off, "reads a second slot of the frame, at rsp%+d", s)
	}
	if !p.storesCanary(s) {
		return tailError(off, "reads the frame at rsp%+d, which does not hold the stack protector's value", s)
	}
	p.sb.Canary = s
	p.read(fmt.Sprintf("stack protector's slot (rsp+%d)", s))
	return nil
}

// storesCanary reports whether the straight line from the entry loads the stack
// protector's value and stores it in the slot.
func (p *prover) storesCanary(s int64) bool {
	var holds x86asm.Reg
	for off := uint64(0); off < uint64(len(p.code)); {
		in, err := p.decode(off)
		if err != nil || isJcc(in.Op) || in.Op == x86asm.JMP || in.Op == x86asm.CALL {
			return false
		}
		if in.Op == x86asm.MOV {
			if m, ok := in.Args[1].(x86asm.Mem); ok && m.Segment == x86asm.GS && m.Base == 0 && m.Disp == canaryAddr {
				holds, _ = in.Args[0].(x86asm.Reg)
			}
			if m, ok := in.Args[0].(x86asm.Mem); ok && holds != 0 && in.Args[1] == holds {
				if at, ok := p.slot(m); ok && at == s {
					return true
				}
			}
		}
		off += uint64(in.Len)
	}
	return false
}

// canaryFailure reports whether the code at off does nothing but call
// __stack_chk_fail.
func (p *prover) canaryFailure(off uint64) bool {
	in, err := p.decode(off)
	return err == nil && in.Op == x86asm.CALL && p.callee(in, off) == "__stack_chk_fail"
}

func isJcc(op x86asm.Op) bool {
	switch op {
	case x86asm.JA, x86asm.JAE, x86asm.JB, x86asm.JBE, x86asm.JCXZ, x86asm.JE, x86asm.JECXZ, x86asm.JG, x86asm.JGE,
		x86asm.JL, x86asm.JLE, x86asm.JNE, x86asm.JNO, x86asm.JNP, x86asm.JNS, x86asm.JO, x86asm.JP, x86asm.JRCXZ, x86asm.JS:
		return true
	}
	return false
}

// wide returns the 64-bit register that r is a part of.
func wide(r x86asm.Reg) x86asm.Reg {
	switch {
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return r - x86asm.EAX + x86asm.RAX
	case r >= x86asm.AX && r <= x86asm.R15W:
		return r - x86asm.AX + x86asm.RAX
	}
	return r
}

// Assembly renders the stub for the module: plugsched_schedule, which the
// kernel's __schedule is redirected to, and plugsched_switch_to, which the
// module's __schedule calls in place of __switch_to_asm.
func (s *Springboard) Assembly() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "\t"+format+"\n", args...) }
	b.WriteString(springboardHead)
	b.WriteString("SYM_FUNC_START(plugsched_schedule)\n")
	for i, r := range s.Pushes {
		line("pushq\t%%%s", r)
		if i == 0 && s.FramePtr {
			line("movq\t%%rsp, %%rbp")
		}
	}
	line("subq\t$%d, %%rsp", s.Locals)
	if s.Canary >= 0 {
		line("movq\t%%gs:%d, %%rax", canaryAddr)
		line("movq\t%%rax, %d(%%rsp)", s.Canary)
	}
	line("movq\t%%rsp, PER_CPU_VAR(plugsched_frame)")
	line("call\t__schedule")
	b.WriteString("\t/* Nothing was switched: return as the kernel's function would. */\n")
	line("addq\t$%d, %%rsp", s.Locals)
	for i := len(s.Pushes) - 1; i >= 0; i-- {
		line("popq\t%%%s", s.Pushes[i])
	}
	line("RET")
	b.WriteString("SYM_FUNC_END(plugsched_schedule)\n\n")

	b.WriteString(switchHead)
	b.WriteString("SYM_CODE_START(plugsched_switch_to)\n\tUNWIND_HINT_FUNC\n")
	line("movq\tPER_CPU_VAR(plugsched_frame), %%rsp")
	line("UNWIND_HINT sp_reg=ORC_REG_SP sp_offset=%d type=UNWIND_HINT_TYPE_CALL", s.FrameSize()+8)
	if s.FramePtr {
		line("leaq\t%d(%%rsp), %%rbp", s.FrameSize()-8)
	}
	line("jmp\t__orig___schedule + %d", s.Call)
	b.WriteString("SYM_CODE_END(plugsched_switch_to)\n\n")

	b.WriteString(blacklistHead)
	for _, f := range []string{"__schedule", "plugsched_switch_to"} {
		line("_ASM_NOKPROBE(%s)", f)
	}
	return b.String()
}

const blacklistHead = `/*
 * No kprobes in functions whose frames are left behind at the switch: a return
 * probe would wait for a return that never comes, and take the next one for it.
 */
`

const springboardHead = `/* SPDX-License-Identifier: GPL-2.0-only */
/* Generated from the kernel's own __schedule; see docs/project/update.md. */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/percpu.h>
#include <asm/unwind_hints.h>

	.text

/*
 * void plugsched_schedule(unsigned int sched_mode)
 *
 * Builds the frame of the kernel's __schedule and calls the module's.
 * Context: as __schedule: preemption is off, so that no other task of this CPU
 * gets here before the switch.
 */
`

const switchHead = `/*
 * plugsched_switch_to(prev, next)
 *
 * Leaves the module for good: back to the frame that plugsched_schedule built,
 * and on to the kernel's own call of __switch_to_asm, whose arguments are ours.
 * Context: run queue locked, IRQs off.
 */
`
