// SPDX-License-Identifier: BSD-3-Clause

// Package x86 decodes x86-64 code: what instructions refer to, and the proof that
// __schedule can be split at its context switch.
package x86

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/arch/x86/x86asm"

	"plugsched/internal/kernel/arch/isa"
)

// Springboard is what the proof of one kernel's __schedule yields: the frame that is current
// where it calls the context switch, and where that is. Places in the frame are distances
// from where the caller's begins (DWARF's CFA, right above the return address).
//
// The kernel's __schedule is entered by a stub that builds this frame and calls
// the module's __schedule. To switch, the stub's frame is made current again and
// control goes to Call; the sleeper then holds only the kernel's own text.
type Springboard struct {
	Call     uint64   // offset of "call __switch_to_asm" in __schedule
	Return   uint64   // offset of the instruction behind it: every sleeper's return address
	Depth    int64    // how far below the caller's frame rsp is at the call
	FramePtr bool     // rbp leads to where the caller's is saved
	Saved    []Slot   // the caller's registers, from above
	Canary   int64    // the stack protector's slot, 0 when none is read
	Guard    string   // the operand whose value that holds
	GuardAt  int64    // and where that is in the per-CPU area, as linked
	Shadow   *Shadow  // what KASAN's instrumentation keeps in the frame, nil when none is read
	Reads    []string // what the code behind the call reads, as proven
	Callees  []string // functions that the code behind the call calls: the kernel's own code does
}

// Slot is where a register of the caller's is saved.
type Slot struct {
	Reg string
	At  int64
}

// calleeSaved are the registers that a function has to give back as they were.
var calleeSaved = []x86asm.Reg{x86asm.RBP, x86asm.RBX, x86asm.R12, x86asm.R13, x86asm.R14, x86asm.R15}

const switchTo = "__switch_to_asm"

// ProveSpringboard shows that the code of __schedule behind its one call of __switch_to_asm
// needs nothing of what ran before but the return value, the frame's place, the caller's
// registers in it and the stack protector's value. Anything else is an error that says what
// is read.
func ProveSpringboard(r *isa.Routine) (*Springboard, error) {
	p := &prover{Routine: r, sb: &Springboard{}, stores: map[uint64]span{}}
	for _, step := range []func() error{p.findCall, p.frame, p.tail} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return p.sb, nil
}

// Prove is ProveSpringboard for those who only want to use it.
func Prove(r *isa.Routine) (*isa.Springboard, error) {
	s, err := ProveSpringboard(r)
	if err != nil {
		return nil, err
	}
	return &isa.Springboard{Call: s.Call, Return: s.Return, Reads: s.Reads, Callees: s.Callees, Assembly: s.Assembly()}, nil
}

type prover struct {
	*isa.Routine
	sb     *Springboard
	saved  map[x86asm.Reg]int64
	stores map[uint64]span // where instructions store into the frame, on the ways to the context switch
}

func (p *prover) decode(at uint64) (x86asm.Inst, error) {
	code := p.Bytes(at)
	if len(code) == 0 || !p.Within(at) {
		return x86asm.Inst{}, fmt.Errorf("code at %s is outside of the function", p.Place(at))
	}
	in, err := x86asm.Decode(code, 64)
	if err == nil && in.Op != 0 {
		return in, nil
	}
	if n := unknownLen(code); n > 0 {
		return x86asm.Inst{Len: n}, nil
	}
	return in, fmt.Errorf("cannot decode the instruction at %s", p.Place(at))
}

// target returns the address that a direct branch leads to.
func target(in x86asm.Inst, at uint64) (uint64, bool) {
	rel, ok := in.Args[0].(x86asm.Rel)
	return at + uint64(in.Len) + uint64(int64(rel)), ok
}

// frame takes the frame apart that is current at the call.
func (p *prover) frame() error {
	sb := p.sb
	row, err := p.Frame(p.Entry + sb.Return)
	if err != nil {
		return fmt.Errorf("the frame at the context switch: %w", err)
	}
	reg := func(r x86asm.Reg) int { return dwarfRegs[r-x86asm.RAX] }
	above := map[int]int64{reg(x86asm.RSP): sb.Depth}
	if sb.FramePtr {
		above[reg(x86asm.RBP)] = 16
	}
	if by, ok := above[row.Base]; !ok {
		return fmt.Errorf("the frame at the context switch goes by DWARF's register %d, which does not lead into it", row.Base)
	} else if row.Offset != by {
		return fmt.Errorf("the frame at the context switch is %d bytes by the code, and %d by its debug information", by, row.Offset)
	}
	p.saved = map[x86asm.Reg]int64{}
	for _, r := range calleeSaved {
		at, ok := row.Saved[reg(r)]
		if !ok {
			return fmt.Errorf("the frame at the context switch does not hold the caller's %v, which the module's code may change", r)
		}
		if at < -sb.Depth || at > -16 || at%8 != 0 {
			return fmt.Errorf("the caller's %v is %d bytes from the caller's frame, outside of the one at the context switch", r, at)
		}
		p.saved[r] = at
		sb.Saved = append(sb.Saved, Slot{strings.ToLower(r.String()), at})
	}
	slices.SortFunc(sb.Saved, func(a, b Slot) int { return int(b.At - a.At) })
	for i := 1; i < len(sb.Saved); i++ {
		if sb.Saved[i].At == sb.Saved[i-1].At {
			return fmt.Errorf("the frame at the context switch holds %s and %s in one place", sb.Saved[i-1].Reg, sb.Saved[i].Reg)
		}
	}
	if sb.FramePtr && sb.Saved[0] != (Slot{"rbp", -16}) {
		return fmt.Errorf("the caller's frame pointer is not where the function's leads to")
	}
	p.sb.Reads = []string{"return value (rax)", "saved registers"}
	if err := p.findCanary(); err != nil {
		return err
	}
	return p.findShadow()
}

// straight yields the instructions on the straight line from the entry, which every path takes, each with the stack as it
// is before. It ends where yield returns false.
func (p *prover) straight(yield func(in x86asm.Inst, next uint64, s *stack) bool) error {
	s := stack{sp: 8}
	for at := p.Entry; ; {
		in, err := p.decode(at)
		if err != nil {
			return err
		}
		if _, key := p.Patched(at); key || isJcc(in.Op) || in.Op == x86asm.JMP || in.Op == x86asm.CALL || in.Op == x86asm.RET {
			return nil
		}
		at += uint64(in.Len)
		if !yield(in, at, &s) {
			return nil
		}
		if err := s.step(in); err != nil {
			return err
		}
	}
}

// findCanary looks for where the stack protector's value is stored, and nothing else before the context switch.
func (p *prover) findCanary() error {
	var holds x86asm.Reg
	return p.straight(func(in x86asm.Inst, next uint64, s *stack) bool {
		from, load := in.Args[1].(x86asm.Mem)
		to, store := in.Args[0].(x86asm.Mem)
		if _, understood := effects[in.Op]; !understood {
			holds = 0 // it may change registers that it does not name
		}
		switch {
		case in.Op != x86asm.MOV:
			if r, ok := in.Args[0].(x86asm.Reg); ok && in.Op != x86asm.CMP && in.Op != x86asm.TEST && wide(r) == holds {
				holds = 0
			}
		case load && from.Segment == x86asm.GS && in.MemBytes == 8 && from.Index == 0 && (from.Base == 0 || from.Base == x86asm.RIP):
			if text, addr := p.operand(from, next); text != "" {
				holds, _ = in.Args[0].(x86asm.Reg)
				p.sb.Guard, p.sb.GuardAt = text, addr
			} else if r, ok := in.Args[0].(x86asm.Reg); ok && wide(r) == holds {
				holds = 0
			}
		case store && holds != 0 && in.Args[1] == holds && in.MemBytes == 8:
			if slot, ok := s.slot(to); ok && p.storedOnce(slot) {
				p.sb.Canary = slot
				return false
			}
		default:
			if r, ok := in.Args[0].(x86asm.Reg); ok && wide(r) == holds {
				holds = 0
			}
		}
		return true
	})
}

// operand is how assembly writes the stack protector's value: at an offset in the per-CPU
// area (struct fixed_percpu_data), or in a variable, which gcc is told by
// -mstack-protector-guard-symbol.
func (p *prover) operand(m x86asm.Mem, next uint64) (text string, addr int64) {
	addr = int64(int32(m.Disp))
	if m.Base == 0 {
		if addr == fixedGuard {
			text = fmt.Sprintf("%%gs:%d", addr)
		}
		return text, addr
	}
	addr += int64(next)
	for _, name := range p.Symbols(uint64(addr)) {
		if strings.HasSuffix(name, guardVariable) {
			text = fmt.Sprintf("%%gs:%s(%%rip)", name)
			break
		}
	}
	return text, addr
}

const (
	fixedGuard    = 40
	guardVariable = "stack_chk_guard"
)

func isJcc(op x86asm.Op) bool {
	switch op {
	case x86asm.JA, x86asm.JAE, x86asm.JB, x86asm.JBE, x86asm.JCXZ, x86asm.JE, x86asm.JECXZ, x86asm.JG, x86asm.JGE,
		x86asm.JL, x86asm.JLE, x86asm.JNE, x86asm.JNO, x86asm.JNP, x86asm.JNS, x86asm.JO, x86asm.JP, x86asm.JRCXZ, x86asm.JS:
		return true
	}
	return false
}

// Assembly renders the stub for the module: plugsched_schedule, which the
// kernel's __schedule is redirected to, and plugsched_switch_to, which the
// module's __schedule calls in place of __switch_to_asm.
func (s *Springboard) Assembly() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "\t"+format+"\n", args...) }
	b.WriteString(springboardHead)
	b.WriteString("SYM_FUNC_START(plugsched_schedule)\n")
	slots, size := s.Saved, s.Depth-8
	if s.FramePtr {
		line("pushq\t%%rbp")
		line("movq\t%%rsp, %%rbp")
		slots, size = slots[1:], size-8
	}
	line("subq\t$%d, %%rsp", size)
	for _, r := range slots {
		line("movq\t%%%s, %d(%%rsp)", r.Reg, s.Depth+r.At)
	}
	if s.Canary != 0 {
		line("movq\t%s, %%rax", s.Guard)
		line("movq\t%%rax, %d(%%rsp)", s.Depth+s.Canary)
	}
	if s.Shadow != nil {
		line("leaq\t%d(%%rsp), %%rax", s.Depth+s.Shadow.Of)
		line("shrq\t$%d, %%rax", s.Shadow.Shift)
		line("movq\t%%rax, %d(%%rsp)", s.Depth+s.Shadow.At)
	}
	line("movq\t%%rsp, PER_CPU_VAR(plugsched_frame)")
	line("call\t__schedule")
	b.WriteString("\t/* Nothing was switched: return as the kernel's function would. */\n")
	for _, r := range slots {
		line("movq\t%d(%%rsp), %%%s", s.Depth+r.At, r.Reg)
	}
	line("addq\t$%d, %%rsp", size)
	if s.FramePtr {
		line("popq\t%%rbp")
	}
	line("RET")
	b.WriteString("SYM_FUNC_END(plugsched_schedule)\n\n")

	b.WriteString(switchHead)
	b.WriteString("SYM_CODE_START(plugsched_switch_to)\n\tUNWIND_HINT_FUNC\n")
	line("movq\tPER_CPU_VAR(plugsched_frame), %%rsp")
	line("UNWIND_HINT sp_reg=ORC_REG_SP sp_offset=%d type=UNWIND_HINT_TYPE_CALL", s.Depth)
	if s.FramePtr {
		line("leaq\t%d(%%rsp), %%rbp", s.Depth-16)
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
