// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/arch/x86/x86asm"

	"plugsched/internal/kernel/arch/isa"
)

var errTail = errors.New("the code behind the context switch")

// Parts of a register that hold a value of the kernel's own: its low byte, the next one, the
// rest. home says that all of it is the caller's value again.
const (
	lowPart, highPart, restPart = 1, 2, 4
	whole                       = lowPart | highPart | restPart
	home                        = 8
)

// Parts of the flags: most instructions set all, some only the carry.
const carry, others = 1, 2

// known is what holds, at one place of the tail, a value that it would hold with the
// kernel's own __schedule before the switch as well.
type known struct {
	stack
	regs  [16]uint8
	flags uint8
	bytes isa.FrameBytes // of the frame, by place
}

// tail follows every path from behind the call to the function's ends, whatever static keys
// say, and refuses what reads anything that is not known.
func (p *prover) tail() error {
	start := p.Entry + p.sb.Return
	first := known{stack: stack{sp: p.sb.Depth}, bytes: isa.FrameBytes{}}
	if p.sb.FramePtr {
		first.bp, first.framed = 16, true
	}
	first.regs[index(x86asm.RAX)] = whole
	for _, at := range p.saved {
		first.bytes.Add(at, 8)
	}
	if p.sb.Canary != 0 {
		first.bytes.Add(p.sb.Canary, 8)
	}
	if p.sb.Shadow != nil {
		first.bytes.Add(p.sb.Shadow.At, 8)
	}
	err := isa.Walk(p.Routine, start, &first, func(at uint64, k *known) ([]uint64, error) {
		t := &step{prover: p, known: k, at: at}
		err := t.run()
		return t.follow, err
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errTail, err)
	}
	p.sb.Callees = slices.Compact(slices.Sorted(slices.Values(p.sb.Callees)))
	canary, guard := fmt.Sprintf("stack protector's slot (rsp%+d)", p.sb.Depth+p.sb.Canary), "stack protector's value"
	if p.sb.Canary != 0 {
		p.sb.Reads = append(p.sb.Reads, canary, guard)
	}
	if p.sb.Shadow != nil {
		p.sb.Reads = append(p.sb.Reads, fmt.Sprintf("frame's address in its shadow (rsp%+d)", p.sb.Depth+p.sb.Shadow.At))
	}
	return nil
}

// Clone implements isa.Known.
func (k *known) Clone() *known {
	c := *k
	c.bytes = maps.Clone(k.bytes)
	return &c
}

// Meet implements isa.Known: the frame has to be the same.
func (k *known) Meet(o *known) (less, same bool) {
	if k.stack != o.stack {
		return false, false
	}
	for i := range k.regs {
		both := k.regs[i] & o.regs[i]
		less = less || both != k.regs[i]
		k.regs[i] = both
	}
	both := k.flags & o.flags
	less = less || both != k.flags
	k.flags = both
	return k.bytes.Keep(o.bytes) || less, true
}

// A step is one instruction of the tail.
type step struct {
	*prover
	*known
	at     uint64
	in     x86asm.Inst
	next   uint64
	follow []uint64 // where it may go on, in the function
}

func (t *step) errorf(format string, args ...any) error {
	return fmt.Errorf("at %s %s", t.Place(t.at), fmt.Sprintf(format, args...))
}

func (t *step) run() (err error) {
	if t.in, err = t.decode(t.at); err != nil {
		return err
	}
	t.next = t.at + uint64(t.in.Len)
	if t.Replaced(t.at, t.in.Len) {
		return t.errorf("is code that the kernel may replace at boot")
	}
	if to, key := t.Patched(t.at); key {
		t.follow = []uint64{t.next}
		return t.branch(to)
	}
	to, direct := target(t.in, t.at)
	switch op := t.in.Op; {
	case t.in.DataSize == 16 && usesStack(op), op == x86asm.RET && t.in.Args[0] != nil:
		return t.errorf("is not understood: %v", t.in)
	case op == x86asm.RET:
		return t.leave("returns")
	case op == x86asm.JMP && direct:
		return t.branch(to)
	case op == x86asm.JMP:
		return t.errorf("jumps indirectly: %v", t.in)
	case op == x86asm.CALL:
		return t.call(to, direct)
	case isJcc(op) && direct:
		if need := flagsOf(op); need == 0 || t.flags&need != need {
			return t.errorf("branches by what is not known: %v", t.in)
		}
		t.follow = append(t.follow, t.next)
		return t.branch(to)
	case op == x86asm.UD2:
		return t.errorf("is a WARN or a BUG, of which nobody knows whether it goes on")
	}
	t.follow = []uint64{t.next}
	return t.plain()
}

func usesStack(op x86asm.Op) bool {
	return slices.Contains([]x86asm.Op{x86asm.PUSH, x86asm.POP, x86asm.LEAVE, x86asm.CALL, x86asm.JMP, x86asm.RET}, op)
}

// branch goes to another place of the function, or leaves it.
func (t *step) branch(to uint64) error {
	if t.Within(to) {
		t.follow = append(t.follow, to)
		return nil
	}
	name := t.Name(to)
	switch {
	case strings.HasSuffix(name, "return_thunk"):
		return t.leave("returns")
	case name == "" || thunk.MatchString(name):
		return t.errorf("leaves for %q at %#x", name, to)
	}
	t.sb.Callees = append(t.sb.Callees, name)
	return t.leave("leaves for " + name)
}

// leave checks that the caller gets back what is its.
func (t *step) leave(how string) error {
	if t.sp != 8 {
		return t.errorf("%s with %d bytes on the stack", how, t.sp-8)
	}
	for _, r := range calleeSaved {
		if t.regs[index(r)]&home == 0 {
			return t.errorf("%s without the caller's %v", how, r)
		}
	}
	return nil
}

// thunk stands for an indirect branch through a register.
var thunk = regexp.MustCompile(`^__x86_indirect_(?:call_|jump_|its_)?thunk_(\w+)$`)

// through is the register of a thunk, by whichever of its names has it.
func (t *step) through(addr uint64) x86asm.Reg {
	for _, name := range t.Symbols(addr) {
		if m := thunk.FindStringSubmatch(name); m != nil && register(m[1]) != 0 {
			return register(m[1])
		}
	}
	return 0
}

// call: what the callee does with registers is the ABI's business: none that it may read and
// that is not known here held anything behind the context switch, which is a call as well.
func (t *step) call(to uint64, direct bool) error {
	switch {
	case direct:
		name := t.Name(to)
		if name == "" {
			return t.errorf("calls %#x, where no function begins", to)
		}
		if thunk.MatchString(name) {
			r := t.through(to)
			if r == 0 || t.regs[index(r)]&whole != whole {
				return t.errorf("calls through %v, which the module would have to provide", r)
			}
			break
		}
		t.sb.Callees = append(t.sb.Callees, name)
		if !t.Returns(to) {
			return nil
		}
	default:
		if err := t.read(t.in.Args[0]); err != nil {
			return err
		}
	}
	for _, r := range callerSaved {
		t.regs[index(r)] = 0
	}
	t.regs[index(x86asm.RAX)] = whole
	t.flags = 0
	t.follow = []uint64{t.next}
	return nil
}

var callerSaved = []x86asm.Reg{x86asm.RAX, x86asm.RCX, x86asm.RDX, x86asm.RSI, x86asm.RDI, x86asm.R8, x86asm.R9, x86asm.R10, x86asm.R11}

// effect is what an instruction does with its first operand and the flags. The others it reads.
type effect struct {
	reads, writes bool
	sets, flags   uint8 // of the flags: those that it sets, and reads
}

const all = carry | others

// effects are the instructions that are understood: all others are refused. Those whose
// operand says which flags they set are taken to set none.
var effects = map[x86asm.Op]effect{
	x86asm.MOV: {writes: true}, x86asm.MOVZX: {writes: true}, x86asm.MOVSX: {writes: true}, x86asm.MOVSXD: {writes: true},
	x86asm.LEA: {writes: true},
	x86asm.ADD: {true, true, all, 0}, x86asm.SUB: {true, true, all, 0}, x86asm.AND: {true, true, all, 0},
	x86asm.OR: {true, true, all, 0}, x86asm.XOR: {true, true, all, 0}, x86asm.NEG: {true, true, all, 0},
	x86asm.NOT: {reads: true, writes: true}, x86asm.INC: {reads: true, writes: true}, x86asm.DEC: {reads: true, writes: true},
	x86asm.SHL: {reads: true, writes: true}, x86asm.SHR: {reads: true, writes: true}, x86asm.SAR: {reads: true, writes: true},
	x86asm.CMP: {reads: true, sets: all}, x86asm.TEST: {reads: true, sets: all}, x86asm.BT: {reads: true, sets: carry},
	x86asm.PUSH: {reads: true}, x86asm.POP: {writes: true}, x86asm.LEAVE: {}, x86asm.NOP: {},
	x86asm.SETE: {writes: true, flags: others}, x86asm.SETNE: {writes: true, flags: others},
	x86asm.CMOVE: {true, true, 0, others}, x86asm.CMOVNE: {true, true, 0, others},
}

// flagsOf are those that a conditional branch goes by; 0 if it goes by anything else.
func flagsOf(op x86asm.Op) uint8 {
	switch op {
	case x86asm.JCXZ, x86asm.JECXZ, x86asm.JRCXZ:
		return 0
	case x86asm.JB, x86asm.JAE:
		return carry
	case x86asm.JA, x86asm.JBE:
		return all
	}
	return others
}

// plain is an instruction that is followed by the next.
func (t *step) plain() error {
	in := t.in
	e, ok := effects[in.Op]
	repeats := func(x x86asm.Prefix) bool { return x&0xff == x86asm.PrefixREP || x&0xff == x86asm.PrefixREPN }
	if !ok || slices.ContainsFunc(in.Prefix[:], repeats) {
		return t.errorf("is not understood: %v", in)
	}
	if in.Op == x86asm.NOP {
		return nil
	}
	if t.flags&e.flags != e.flags {
		return t.errorf("reads flags that the module would have to provide: %v", in)
	}
	if m, ok := in.Args[0].(x86asm.Mem); ok && in.Op == x86asm.BT {
		// A bit's number may lead anywhere from there.
		if _, framed := t.slot(m); framed {
			return t.errorf("takes the frame's address: %v", in)
		}
	}
	dest, isReg := in.Args[0].(x86asm.Reg)
	moves := isReg && e.writes && wide(dest) == x86asm.RSP || in.Op == x86asm.LEAVE
	frames := isReg && in.Op == x86asm.MOV && dest == x86asm.RBP && in.Args[1] == x86asm.RSP
	clears := (in.Op == x86asm.XOR || in.Op == x86asm.SUB) && isReg && in.Args[0] == in.Args[1] && wide(dest) != x86asm.RSP
	if !moves && !frames && !clears {
		for i, a := range in.Args {
			if i == 0 && !e.reads {
				if err := t.address(a); err != nil {
					return err
				}
				continue
			}
			if a == nil {
				break
			}
			if err := t.read(a); err != nil {
				return err
			}
		}
	}
	after, err := t.result(e, clears)
	if err != nil {
		return err
	}
	if err := t.step(in); err != nil {
		return t.errorf("%v", err)
	}
	if in.Op == x86asm.PUSH {
		if err := t.store(-t.sp, 8); err != nil {
			return err
		}
	}
	t.bytes.DropBelow(-t.sp)
	if t.sp < 8 {
		return t.errorf("leaves its own frame: %v", in)
	}
	if after != nil {
		after()
	}
	t.flags |= e.sets
	return nil
}

// result is what becomes of the instruction's first operand.
func (t *step) result(e effect, clears bool) (func(), error) {
	in := t.in
	if in.Op == x86asm.LEAVE {
		back := t.framed && t.saved[x86asm.RBP] == -t.bp
		return func() { t.regs[index(x86asm.RBP)] = asHome(back) }, nil
	}
	if !e.writes {
		return nil, nil
	}
	switch to := in.Args[0].(type) {
	case x86asm.Mem:
		if in.Op == x86asm.POP {
			return nil, t.errorf("is not understood: %v", in)
		}
		if at, ok := t.slot(to); ok && !t.putsBack(at) {
			return nil, t.store(at, in.MemBytes)
		}
	case x86asm.Reg:
		i := index(to)
		if i < 0 {
			return nil, t.errorf("is not understood: %v", in)
		}
		if wide(to) == x86asm.RSP {
			return nil, nil
		}
		part := parts(to)
		kept := t.regs[i] & whole
		if part == whole {
			kept = 0
		}
		value := kept | part
		if in.Op == x86asm.POP && slices.Contains(calleeSaved, to) && t.saved[to] == -t.sp {
			value = whole | home
		}
		if from, ok := in.Args[1].(x86asm.Mem); ok && in.Op == x86asm.MOV && to == wide(to) && in.MemBytes == 8 {
			if at, ok := t.slot(from); ok && slices.Contains(calleeSaved, to) && t.saved[to] == at {
				value = whole | home
			}
		}
		if in.Op == x86asm.POP {
			if !t.holds(-t.sp, 8) {
				return nil, t.errorf("pops what the module would have to provide: %v", in)
			}
		}
		return func() { t.regs[i] = value }, nil
	}
	return nil, nil
}

// putsBack reports that the caller's value of a register is stored where it is already. gcc
// joins the ends of paths that have saved it with those that have not.
func (t *step) putsBack(at int64) bool {
	r, ok := t.in.Args[1].(x86asm.Reg)
	return ok && t.in.Op == x86asm.MOV && t.in.MemBytes == 8 && slices.Contains(calleeSaved, r) &&
		t.saved[r] == at && t.regs[index(r)]&home != 0
}

func asHome(is bool) uint8 {
	if is {
		return whole | home
	}
	return 0
}

// read checks that an operand is known.
func (t *step) read(a x86asm.Arg) error {
	switch a := a.(type) {
	case x86asm.Reg:
		i := index(a)
		switch {
		case i < 0:
			return t.errorf("is not understood: %v", t.in)
		case wide(a) == x86asm.RSP, wide(a) == x86asm.RBP && t.framed:
			return t.errorf("takes the frame's address: %v", t.in)
		case t.regs[i]&parts(a) != parts(a):
			return t.errorf("reads %v, which the module would have to provide: %v", a, t.in)
		}
	case x86asm.Mem:
		if err := t.address(a); err != nil {
			return err
		}
		at, ok := t.slot(a)
		switch {
		case t.in.Op == x86asm.LEA && ok:
			return t.errorf("takes the frame's address: %v", t.in)
		case t.in.Op == x86asm.LEA, !ok:
			return nil
		case !t.holds(at, t.in.MemBytes):
			return t.errorf("reads the frame at rsp%+d, which the module would have to provide: %v", t.sp+at, t.in)
		}
	}
	return nil
}

// address checks the registers of a memory operand, and that it is in the frame if it is
// relative to that.
func (t *step) address(a x86asm.Arg) error {
	m, ok := a.(x86asm.Mem)
	if !ok {
		return nil
	}
	if _, ok := t.slot(m); ok {
		return nil
	}
	for _, r := range []x86asm.Reg{m.Base, m.Index} {
		if r == 0 || r == x86asm.RIP {
			continue
		}
		if err := t.read(r); err != nil {
			return err
		}
	}
	return nil
}

func (t *step) holds(at int64, size int) bool {
	return at >= -t.sp && t.bytes.Has(at, size)
}

// store notes that the tail has written to its frame, where nothing is that was there before.
func (t *step) store(at int64, size int) error {
	overlaps := func(slot int64) bool { return at < slot+8 && at+int64(size) > slot }
	switch {
	case size == 0 || at < -t.sp || at+int64(size) > -8:
		return t.errorf("stores outside of its frame: %v", t.in)
	case t.sb.Canary != 0 && overlaps(t.sb.Canary):
		return t.errorf("stores into the stack protector's slot: %v", t.in)
	}
	for r, slot := range t.saved {
		if overlaps(slot) {
			return t.errorf("stores into the caller's %v: %v", r, t.in)
		}
	}
	t.bytes.Add(at, size)
	return nil
}
