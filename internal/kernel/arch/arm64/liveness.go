// SPDX-License-Identifier: BSD-3-Clause

package arm64

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"plugsched/internal/kernel/arch/isa"
)

var errTail = errors.New("the code behind the context switch")

// facts are what holds, at one place of the tail, as it would with the kernel's own __schedule before the switch
// as well: registers with a value, those with the caller's, the flags, and bytes of the frame.
type facts struct {
	stack
	regs, home regs
	flags      bool
	signed     bool // the return address in the frame, or in x30
	bytes      isa.FrameBytes
}

// tail follows every path from behind the call to the function's ends, whatever static keys
// say, and refuses what reads anything that is not known.
func (p *prover) tail() error {
	start := p.Entry + p.sb.Return
	first := &facts{stack: stack{sp: p.sb.Depth, fp: p.sb.Frame, framed: true}, regs: set(0), signed: p.sb.Signed, bytes: isa.FrameBytes{}}
	for _, at := range p.saved {
		first.bytes.Add(at, 8)
	}
	if p.sb.Canary != 0 {
		first.bytes.Add(p.sb.Canary, 8)
		p.sb.Reads = append(p.sb.Reads, fmt.Sprintf("stack protector's slot (sp%+d)", p.sb.Depth+p.sb.Canary), "stack protector's value")
	}
	err := isa.Walk(p.Routine, start, first, func(at uint64, k *facts) ([]uint64, error) {
		t := &step{prover: p, facts: k, at: at}
		err := t.run()
		return t.follow, err
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errTail, err)
	}
	p.sb.Callees = slices.Compact(slices.Sorted(slices.Values(p.sb.Callees)))
	return nil
}

// Clone implements isa.Known.
func (k *facts) Clone() *facts {
	c := *k
	c.bytes = maps.Clone(k.bytes)
	return &c
}

// Meet implements isa.Known: the frame has to be the same.
func (k *facts) Meet(o *facts) (less, same bool) {
	if k.stack != o.stack || k.signed != o.signed {
		return false, false
	}
	less = k.regs&^o.regs != 0 || k.home&^o.home != 0 || k.flags && !o.flags
	k.regs, k.home, k.flags = k.regs&o.regs, k.home&o.home, k.flags && o.flags
	return k.bytes.Keep(o.bytes) || less, true
}

// give notes that registers have a value now.
func (k *facts) give(r regs) {
	k.regs |= r
	k.home &^= r
}

// A step is one instruction of the tail.
type step struct {
	*prover
	*facts
	at     uint64
	w      uint32
	follow []uint64 // where it may go on, in the function
}

func (t *step) errorf(format string, args ...any) error {
	return fmt.Errorf("at %s %s", t.Place(t.at), fmt.Sprintf(format, args...))
}

func (t *step) run() (err error) {
	if t.w, err = t.decode(t.at); err != nil {
		return err
	}
	next := t.at + MaxInstruction
	if t.Replaced(t.at, MaxInstruction) {
		return t.errorf("is code that the kernel may replace at boot")
	}
	if to, key := t.Patched(t.at); key {
		t.follow = []uint64{next}
		return t.branch(to)
	}
	form, _, distance := branchOf(t.w)
	to := t.at + uint64(distance)
	switch {
	case t.w == ret:
		return t.leave("returns")
	case form == branchJump:
		return t.branch(to)
	case form == branchCall:
		return t.call(to)
	case form == branchCond:
		if err := t.condition(); err != nil {
			return err
		}
		t.follow = []uint64{next}
		return t.branch(to)
	case form != noBranch:
		return t.errorf("branches to where a register says: %#08x", t.w)
	}
	t.follow = []uint64{next}
	return t.plain()
}

// condition is what a conditional branch goes by: flags, or a register.
func (t *step) condition() error {
	if t.w>>24&0xfe == 0x54 {
		if !t.flags {
			return t.errorf("branches by flags that are not known")
		}
		return nil
	}
	return t.read(t.w & 31)
}

// branch goes to another place of the function, or leaves it.
func (t *step) branch(to uint64) error {
	if t.Within(to) {
		t.follow = append(t.follow, to)
		return nil
	}
	name := t.Name(to)
	if name == "" {
		return t.errorf("leaves for %#x, where no function begins", to)
	}
	t.sb.Callees = append(t.sb.Callees, name)
	return t.leave("leaves for " + name)
}

// leave checks that the caller gets back what is its.
func (t *step) leave(how string) error {
	if t.sp != 0 {
		return t.errorf("%s with %d bytes on the stack", how, t.sp)
	}
	if t.signed {
		return t.errorf("%s with a signed return address", how)
	}
	if lost := calleeSaved &^ t.home; lost != 0 {
		for r := range uint32(regSP) {
			if lost&set(r) != 0 {
				return t.errorf("%s without the caller's x%d", how, r)
			}
		}
	}
	return nil
}

// call: what the callee does with registers is the ABI's business: none that it may read and
// that is not known here held anything behind the context switch, which is a call as well.
func (t *step) call(to uint64) error {
	name := t.Name(to)
	if name == "" {
		return t.errorf("calls %#x, where no function begins", to)
	}
	t.sb.Callees = append(t.sb.Callees, name)
	if !t.Returns(to) {
		return nil
	}
	lost := callerSaved | set(regLink)
	t.regs, t.home, t.flags = t.regs&^lost|set(0), t.home&^lost, false
	t.follow = []uint64{t.at + MaxInstruction}
	return nil
}

// read checks that a register, or zero, has a value that is known.
func (t *step) read(r uint32) error {
	if r == regSP {
		return nil // zero, to those who ask here
	}
	if _, framed := t.base(r); framed {
		return t.errorf("takes the frame's address: %#08x", t.w)
	}
	if t.regs&set(r) == 0 {
		return t.errorf("reads x%d, which the module would have to provide: %#08x", r, t.w)
	}
	return nil
}

func (t *step) reads(list ...uint32) error {
	for _, r := range list {
		if err := t.read(r); err != nil {
			return err
		}
	}
	return nil
}

// plain is an instruction that is followed by the next. What is not understood is refused.
func (t *step) plain() error {
	w := t.w
	rd, rn, rm := w&31, base(w), w>>16&31
	switch {
	case w == nop:
		return nil
	case w == autiasp:
		return t.authenticate()
	case w&currentMask == current:
		return t.result(rd)
	case isPair(w):
		return t.pair()
	case isMemory(w) && w>>28&3 == 3 && w>>26&1 == 0:
		return t.memory()
	case isADR(w), isADRP(w), w&0x7f800000 == 0x52800000, w&0x7f800000 == 0x12800000: // and movz, movn
		return t.result(rd)
	case w&0x7f800000 == 0x72800000: // movk
		return t.together(rd, rd)
	case w&0x1f800000 == 0x11000000: // add and sub of a constant
		return t.add()
	case w&0x1f000000 == 0x0a000000, w&0x1f200000 == 0x0b000000: // logical, add and sub, of two registers
		if w>>29&3 == 3 || w>>24&1 == 1 && w>>29&1 == 1 {
			if err := t.reads(rn, rm); err != nil {
				return err
			}
			t.flags = true
		}
		return t.together(rd, rn, rm)
	}
	return t.errorf("is not understood: %#08x", w)
}

// together gives a register a value that follows from those of others.
func (t *step) together(rd uint32, from ...uint32) error {
	if err := t.reads(from...); err != nil {
		return err
	}
	return t.result(rd)
}

// result gives a register a known value.
func (t *step) result(rd uint32) error {
	if rd == regSP {
		return nil // zero: thrown away
	}
	t.give(set(rd))
	if rd == regFrame {
		t.framed = false
	}
	return nil
}

// authenticate is what makes of the signed return address the caller's own.
func (t *step) authenticate() error {
	switch {
	case !t.signed:
		return t.errorf("authenticates a return address that is not signed")
	case t.sp != 0 || t.home&set(regLink) == 0:
		return t.errorf("authenticates another return address than the one that was signed")
	}
	t.signed = false
	return nil
}

// add is add and sub of a constant, which move sp too.
func (t *step) add() error {
	w := t.w
	rd, rn, sets := w&31, base(w), w>>29&1 == 1
	_, framed := t.base(rn)
	if !sets && framed && (rd == regSP || rd == regFrame) && w>>31 == 1 {
		was := t.home
		if err := t.step(w); err != nil {
			return t.errorf("%v", err)
		}
		if t.sp < 0 {
			return t.errorf("leaves its own frame: %#08x", w)
		}
		if rd == regFrame {
			t.home = was &^ set(regFrame)
		}
		t.bytes.DropBelow(-t.sp)
		return nil
	}
	if framed || rd == regSP && !sets {
		return t.errorf("takes the frame's address: %#08x", w)
	}
	if err := t.read(rn); err != nil {
		return err
	}
	if sets {
		t.flags = true
	}
	return t.result(rd)
}

// pair is ldp and stp of 64 bits.
func (t *step) pair() error {
	w := t.w
	first, second, rn := w&31, w>>10&31, base(w)
	below, framed := t.base(rn)
	if !framed || w>>23&1 == 1 && rn != regSP {
		return t.errorf("is not understood: %#08x", w)
	}
	at := pairDistance(w) - below
	if w>>23&3 == 1 { // afterwards
		at = -below
	}
	for i, r := range []uint32{first, second} {
		if err := t.slot(r, at+8*int64(i), w>>22&1 == 1); err != nil {
			return err
		}
	}
	return t.moved()
}

// moved applies to sp and x29 what a load or store of the frame does to them.
func (t *step) moved() error {
	if err := t.step(t.w); err != nil {
		return t.errorf("%v", err)
	}
	if t.sp < 0 {
		return t.errorf("leaves its own frame: %#08x", t.w)
	}
	t.bytes.DropBelow(-t.sp)
	return nil
}

// slot loads a register from the frame, or stores it there.
func (t *step) slot(r uint32, at int64, load bool) error {
	if !load {
		if err := t.read(r); err != nil {
			return err
		}
		return t.store(at, 8)
	}
	if !t.bytes.Has(at, 8) {
		return t.errorf("reads the frame at sp%+d, which the module would have to provide: %#08x", t.sp+at, t.w)
	}
	if r == regSP {
		return nil
	}
	t.give(set(r))
	if slot, ok := t.saved[r]; ok && slot == at {
		t.home |= set(r)
	}
	return nil
}

// memory is a load or a store of one register.
func (t *step) memory() error {
	w := t.w
	m := isa.Memory{}
	if !operand(w, &m) || w>>24&1 == 0 && w>>21&1 == 1 && w>>10&3 != 2 {
		return t.errorf("is not understood: %#08x", w) // atomic, ldraa
	}
	rt, rn := w&31, base(w)
	if below, framed := t.base(rn); framed {
		if m.Index || writesBack(w) {
			return t.errorf("is not understood: %#08x", w)
		}
		at := m.Disp - below
		if m.Size == 8 {
			if err := t.slot(rt, at, !m.Write); err != nil {
				return err
			}
			return t.moved()
		}
		if m.Write {
			if err := t.read(rt); err != nil {
				return err
			}
			return t.store(at, m.Size)
		}
		if !t.bytes.Has(at, m.Size) {
			return t.errorf("reads the frame at sp%+d, which the module would have to provide: %#08x", t.sp+at, w)
		}
		return t.result(rt)
	}
	if writesBack(w) {
		return t.errorf("is not understood: %#08x", w)
	}
	if err := t.read(rn); err != nil {
		return err
	}
	if m.Index {
		if err := t.read(w >> 16 & 31); err != nil {
			return err
		}
	}
	if m.Write {
		return t.read(rt)
	}
	return t.result(rt)
}

// store notes that the tail has written to its frame, where nothing is that was there before.
func (t *step) store(at int64, size int) error {
	overlaps := func(slot int64) bool { return at < slot+8 && at+int64(size) > slot }
	switch {
	case size == 0 || at < -t.sp || at+int64(size) > 0:
		return t.errorf("stores outside of its frame: %#08x", t.w)
	case t.sb.Canary != 0 && overlaps(t.sb.Canary):
		return t.errorf("stores into the stack protector's slot: %#08x", t.w)
	}
	for r, slot := range t.saved {
		if overlaps(slot) {
			return t.errorf("stores into the caller's x%d: %#08x", r, t.w)
		}
	}
	t.bytes.Add(at, size)
	return nil
}
