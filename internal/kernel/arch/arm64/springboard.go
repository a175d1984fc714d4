// SPDX-License-Identifier: BSD-3-Clause

package arm64

import (
	"fmt"
	"slices"
	"strings"

	"plugsched/internal/kernel/arch/isa"
)

// Springboard is what the proof of one kernel's __schedule yields: the frame that is current
// where it calls the context switch, and where that is. Places in the frame are distances
// from where the caller's begins (DWARF's CFA, what sp is at the function's entry).
type Springboard struct {
	Call, Return uint64   // offsets of "bl __switch_to" in __schedule, and of the instruction behind it
	Depth        int64    // how far below the caller's frame sp is at the call
	Frame        int64    // how far x29 is
	Saved        []Slot   // the caller's registers, from above
	Signed       bool     // the return address is, with what sp is at the entry
	Canary       int64    // the stack protector's slot, 0 when none is read
	Guard        uint64   // the value's offset in the current task (-mstack-protector-guard-offset)
	Reads        []string // what the code behind the call reads, as proven
	Callees      []string // functions that it calls
}

// Slot is where a register of the caller's is saved.
type Slot struct {
	Reg uint32
	At  int64
}

// calleeSaved are the registers that a function has to give back as they were, and the return address.
const calleeSaved = regs(0xfff << 19)

const switchTo = "__switch_to"

// Instructions of the only form in which they are.
const (
	paciasp = 0xd503233f
	autiasp = 0xd50323bf
	ret     = 0xd65f03c0
	// current is mrs of sp_el0, which has the address of the current task (arch/arm64/include/asm/current.h).
	current, currentMask = 0xd5384100, 0xffffffe0
)

// ProveSpringboard shows that the code of __schedule behind its one call of __switch_to needs nothing of what
// ran before but the return value, the frame's place, the caller's registers in it and the stack protector's
// value. Anything else is an error that says what is read.
func ProveSpringboard(r *isa.Routine) (*Springboard, error) {
	p := &prover{Routine: r, sb: &Springboard{}, saved: map[uint32]int64{}}
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
	sb    *Springboard
	saved map[uint32]int64
}

func (p *prover) decode(at uint64) (uint32, error) {
	w, ok := word(p.Bytes(at))
	if !ok || !p.Within(at) {
		return 0, fmt.Errorf("code at %s is outside of the function", p.Place(at))
	}
	if !known(w) {
		return 0, fmt.Errorf("cannot decode the instruction at %s", p.Place(at))
	}
	return w, nil
}

// findCall finds the one call of the context switch, and where the stack is there.
func (p *prover) findCall() error {
	call, site, s, err := isa.FindCall(p.Routine, switchTo, &stack{}, func(at uint64, s *stack) (isa.Turn, error) {
		w, err := p.decode(at)
		if err != nil {
			return isa.Turn{}, err
		}
		if err := s.step(w); err != nil {
			return isa.Turn{}, fmt.Errorf("at %s it %w", p.Place(at), err)
		}
		return turn(w, at), nil
	})
	if err != nil {
		return err
	}
	if !s.framed {
		return fmt.Errorf("has no frame record at the context switch")
	}
	p.sb.Call, p.sb.Return, p.sb.Depth, p.sb.Frame = site-p.Entry, call.Next-p.Entry, s.sp, s.fp
	return nil
}

// frame takes the frame apart that is current at the call.
func (p *prover) frame() error {
	sb := p.sb
	row, err := p.Routine.Frame(p.Entry + sb.Return)
	if err != nil {
		return fmt.Errorf("the frame at the context switch: %w", err)
	}
	by, ok := map[int]int64{regSP: sb.Depth, regFrame: sb.Frame}[row.Base]
	if !ok {
		return fmt.Errorf("the frame at the context switch goes by DWARF's register %d, which does not lead into it", row.Base)
	}
	if row.Offset != by {
		return fmt.Errorf("the frame at the context switch is %d bytes by the code, and %d by its debug information", by, row.Offset)
	}
	if sb.Depth%16 != 0 || sb.Depth > maxDepth {
		return fmt.Errorf("the frame at the context switch has %d bytes, which the stub cannot make", sb.Depth)
	}
	for r := uint32(0); r < regSP; r++ {
		if calleeSaved&set(r) == 0 {
			continue
		}
		at, ok := row.Saved[int(r)]
		if !ok {
			return fmt.Errorf("the frame at the context switch does not hold the caller's x%d, which the module's code may change", r)
		}
		if at < -sb.Depth || at > -8 || at%8 != 0 {
			return fmt.Errorf("the caller's x%d is %d bytes from the caller's frame, outside of the one at the context switch", r, at)
		}
		p.saved[r] = at
		sb.Saved = append(sb.Saved, Slot{r, at})
	}
	slices.SortFunc(sb.Saved, func(a, b Slot) int { return int(b.At - a.At) })
	for i := 1; i < len(sb.Saved); i++ {
		if sb.Saved[i].At == sb.Saved[i-1].At {
			return fmt.Errorf("the frame at the context switch holds x%d and x%d in one place", sb.Saved[i-1].Reg, sb.Saved[i].Reg)
		}
	}
	if p.saved[regFrame] != -sb.Frame || p.saved[regLink] != -sb.Frame+8 {
		return fmt.Errorf("x29 does not lead to a frame record at the context switch")
	}
	sb.Signed = row.Signed
	sb.Reads = []string{"return value (x0)", "saved registers"}
	if sb.Signed {
		sb.Reads = append(sb.Reads, "the return address's signature")
	}
	return p.findCanary()
}

// maxDepth is what one instruction takes off sp, and less than what a store reaches.
const maxDepth = 4080

// findCanary looks on the straight line from the entry, which every path takes, for where a word of the current
// task is stored in the frame: the stack protector's value. Whichever it is, the stub stores the same.
func (p *prover) findCanary() error {
	var task, holds regs // registers that hold the current task's address, and its word
	var guard uint64
	var s stack
	for at := p.Entry; ; at += MaxInstruction {
		w, err := p.decode(at)
		if err != nil {
			return err
		}
		if _, key := p.Patched(at); key {
			return nil
		}
		if form, _, _ := branchOf(w); form != noBranch {
			return nil
		}
		var m isa.Memory
		rt := w & 31
		whole := w>>30 == 3 && w>>26&1 == 0 && isMemory(w) && w>>28&3 == 3 && operand(w, &m)
		into, framed := s.base(base(w))
		loads := whole && isLoad(w) && !m.Index && !writesBack(w) && !framed && set(base(w))&task != 0 && m.Disp > 0
		if whole && m.Write && !m.Index && !writesBack(w) && framed && set(rt)&holds != 0 {
			p.sb.Canary, p.sb.Guard = m.Disp-into, guard
			return nil
		}
		gone := changes(w)
		task, holds = task&^gone, holds&^gone
		switch {
		case w&currentMask == current:
			task |= set(rt)
		case loads:
			holds, guard = set(rt), uint64(m.Disp)
		}
		if err := s.step(w); err != nil {
			return err
		}
	}
}

// writesBack reports loads and stores of one register that change the address's register.
func writesBack(w uint32) bool { return w>>24&1 == 0 && w>>21&1 == 0 && w>>10&1 == 1 }

// Assembly renders the stub for the module: plugsched_schedule, which the
// kernel's __schedule is redirected to, and plugsched_switch_to, which the
// module's __schedule calls in place of __switch_to.
func (s *Springboard) Assembly() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "\t"+format+"\n", args...) }
	slots := func(instruction string) {
		for _, r := range s.Saved {
			line("%s\tx%d, [sp, #%d]", instruction, r.Reg, s.Depth+r.At)
		}
	}
	b.WriteString(springboardHead)
	b.WriteString("SYM_FUNC_START(plugsched_schedule)\n")
	if s.Signed {
		line("paciasp")
	}
	line("sub\tsp, sp, #%d", s.Depth)
	slots("str")
	line("add\tx29, sp, #%d", s.Depth-s.Frame)
	if s.Canary != 0 {
		line("mrs\tx16, sp_el0")
		line("ldr\tx16, [x16, #%d]", s.Guard)
		line("str\tx16, [sp, #%d]", s.Depth+s.Canary)
	}
	line("adr_this_cpu x16, plugsched_frame, x17")
	line("mov\tx17, sp")
	line("str\tx17, [x16]")
	line("bl\t__schedule")
	b.WriteString("\t/* Nothing was switched: return as the kernel's function would. */\n")
	slots("ldr")
	line("add\tsp, sp, #%d", s.Depth)
	if s.Signed {
		line("autiasp")
	}
	line("ret")
	b.WriteString("SYM_FUNC_END(plugsched_schedule)\n\n")

	b.WriteString(switchHead)
	b.WriteString("SYM_FUNC_START(plugsched_switch_to)\n")
	line("adr_this_cpu x16, plugsched_frame, x17")
	line("ldr\tx16, [x16]")
	line("mov\tsp, x16")
	line("add\tx29, sp, #%d", s.Depth-s.Frame)
	line("b\t__orig___schedule + %d", s.Call)
	b.WriteString("SYM_FUNC_END(plugsched_switch_to)\n\n")

	b.WriteString(blacklistHead)
	for _, f := range []string{"__schedule", "plugsched_switch_to"} {
		line("NOKPROBE(%s)", f)
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
#include <asm/assembler.h>

	.arch_extension pauth
	.text

/*
 * void plugsched_schedule(unsigned int sched_mode)
 *
 * Builds the frame of the kernel's __schedule and calls the module's. The return
 * address is signed with the key of the task that is left, and is authenticated when
 * that task runs again, with its key.
 * Context: as __schedule: preemption is off, so that no other task of this CPU
 * gets here before the switch.
 */
`

const switchHead = `/*
 * plugsched_switch_to(prev, next)
 *
 * Leaves the module for good: back to the frame that plugsched_schedule built,
 * and on to the kernel's own call of __switch_to, whose arguments are ours. The
 * branch may go by way of the module loader's veneer, which needs x16 and x17 only.
 * Context: run queue locked, IRQs off.
 */
`
