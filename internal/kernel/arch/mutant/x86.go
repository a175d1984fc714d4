// SPDX-License-Identifier: BSD-3-Clause

package mutant

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/arch/x86/x86asm"

	"plugsched/internal/kernel/arch/isa"
	"plugsched/internal/kernel/arch/x86"
)

// gsBase is where gs leads.
const gsBase = 0xffff888000000000

// X86 is how x86-64's tails are proven, taken apart and run.
var X86 = &Arch[*x86.Springboard]{
	Prove:  x86.ProveSpringboard,
	Return: func(s *x86.Springboard) uint64 { return s.Return },
	Decode: decodeX86,
	Run: func(r *isa.Routine, s *x86.Springboard, world, frame uint64) []string {
		m := startX86(r, s, world, frame)
		m.run()
		return m.events
	},
}

// decodeX86 takes apart an instruction, which begins at a place.
func decodeX86(r *isa.Routine, at uint64) (*instruction, error) {
	in, err := x86asm.Decode(r.Bytes(at), 64)
	if err != nil {
		return nil, err
	}
	out := &instruction{text: in.String(), size: in.Len}
	next := at + uint64(in.Len)
	rel, direct := in.Args[0].(x86asm.Rel)
	to := next + uint64(int64(rel))
	switch {
	case in.Op == x86asm.RET:
	case in.Op == x86asm.JMP:
		out.to = []uint64{to}
	case in.Op == x86asm.CALL:
		if !direct || r.Returns(to) {
			out.to = []uint64{next}
		}
	case direct:
		out.to = []uint64{to, next}
	default:
		out.to = []uint64{next}
	}
	return out, nil
}

// x86Machine runs x86-64's code.
type x86Machine struct {
	memory
	r      *isa.Routine
	at     uint64
	regs   [16]uint64
	zf, sf bool
	cf, of bool
	// callers are what its caller has in registers.
	callers map[int]uint64
}

// register is a general register's number, its size in bytes, and how far up its part begins.
func register(r x86asm.Reg) (n, size, shift int, ok bool) {
	switch {
	case r >= x86asm.AL && r <= x86asm.BL:
		return int(r - x86asm.AL), 1, 0, true
	case r >= x86asm.AH && r <= x86asm.BH:
		return int(r - x86asm.AH), 1, 8, true
	case r >= x86asm.SPB && r <= x86asm.R15B:
		return int(r-x86asm.SPB) + 4, 1, 0, true
	case r >= x86asm.AX && r <= x86asm.R15W:
		return int(r - x86asm.AX), 2, 0, true
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return int(r - x86asm.EAX), 4, 0, true
	case r >= x86asm.RAX && r <= x86asm.R15:
		return int(r - x86asm.RAX), 8, 0, true
	}
	return 0, 0, 0, false
}

func (m *x86Machine) address(a x86asm.Mem, next uint64) uint64 {
	v := uint64(int64(int32(a.Disp)))
	if a.Base == x86asm.RIP {
		v += next
	} else if n, _, _, ok := register(a.Base); ok {
		v += m.regs[n]
	}
	if n, _, _, ok := register(a.Index); ok {
		v += m.regs[n] * uint64(a.Scale)
	}
	if a.Segment == x86asm.GS {
		v += gsBase
	}
	return v
}

// get is an operand's value; size is that of memory, and of what a constant is extended to.
func (m *x86Machine) get(a x86asm.Arg, size int, next uint64) uint64 {
	switch a := a.(type) {
	case x86asm.Reg:
		n, size, shift, _ := register(a)
		return m.regs[n] >> shift & mask(size)
	case x86asm.Mem:
		return m.load(m.address(a, next), size)
	case x86asm.Imm:
		return uint64(int64(a)) & mask(size)
	}
	return 0
}

func (m *x86Machine) set(a x86asm.Arg, size int, next, v uint64) {
	switch a := a.(type) {
	case x86asm.Reg:
		n, size, shift, _ := register(a)
		if size == 4 {
			m.regs[n] = v & mask(4)
			return
		}
		m.regs[n] = m.regs[n]&^(mask(size)<<shift) | v&mask(size)<<shift
	case x86asm.Mem:
		m.store(m.address(a, next), size, v)
	}
}

const (
	rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi = 0, 1, 2, 3, 4, 5, 6, 7
)

func (m *x86Machine) push(v uint64) {
	m.regs[rsp] -= 8
	m.store(m.regs[rsp], 8, v)
}

func (m *x86Machine) pop() uint64 {
	v := m.load(m.regs[rsp], 8)
	m.regs[rsp] += 8
	return v
}

// call is another function: it may do what it likes with what a function may change.
func (m *x86Machine) call(to string) {
	m.calls++
	m.event("call %s(%x %x %x %x %x %x)", to, m.regs[rdi], m.regs[rsi], m.regs[rdx], m.regs[rcx], m.regs[8], m.regs[9])
	for _, n := range []int{rax, rcx, rdx, rsi, rdi, 8, 9, 10, 11} {
		m.regs[n] = hash(m.world, uint64(m.calls), uint64(n))
	}
}

// leave ends a run: what the caller sees. What is not the caller's own counts as different.
func (m *x86Machine) leave(to string) {
	m.event("%s rsp %x rbx %x rbp %x %x", to, m.regs[rsp], m.regs[rbx], m.regs[rbp], m.regs[12:])
	lost := m.regs[rsp] != caller-8
	for n, v := range m.callers {
		lost = lost || m.regs[n] != v
	}
	if lost {
		m.event("the caller of frame %d has lost something", m.frame)
	}
}

var thunk = regexp.MustCompile(`^__x86_indirect_\w*thunk_(\w+)$`)

// run goes on until the code leaves the function, or does something that is none of a tail's.
func (m *x86Machine) run() {
	for range longest {
		code := m.r.Bytes(m.at)
		in, err := x86asm.Decode(code, 64)
		if err != nil || in.Op == 0 || !m.r.Within(m.at) {
			m.event("no code at %#x", m.at)
			return
		}
		next := m.at + uint64(in.Len)
		if to, ok := m.r.Patched(m.at); ok {
			if m.at = next; hash(m.world, next)&1 == 0 {
				m.at = to
			}
			continue
		}
		rel, direct := in.Args[0].(x86asm.Rel)
		to := next + uint64(int64(rel))
		name := m.r.Name(to)
		switch {
		case in.Op == x86asm.RET, in.Op == x86asm.JMP && direct && strings.HasSuffix(name, "return_thunk"):
			m.leave("return")
			return
		case in.Op == x86asm.CALL:
			if !direct {
				name = fmt.Sprintf("%#x", m.get(in.Args[0], 8, next))
			} else if thunk.MatchString(name) {
				name = m.through(to)
			}
			if m.call(name); direct && !m.r.Returns(to) {
				return
			}
			m.at = next
			continue
		case direct && in.Op != x86asm.JMP && !m.holds(in.Op):
			m.at = next
			continue
		case direct:
			if !m.r.Within(to) {
				m.leave("jump to " + name)
				return
			}
			m.at = to
			continue
		case !m.plain(in, next):
			m.event("%v at %#x", in, m.at)
			return
		}
		m.at = next
	}
	m.event("goes on and on")
}

// through is where a thunk leads, by whichever of its names has a register.
func (m *x86Machine) through(addr uint64) string {
	for _, name := range m.r.Symbols(addr) {
		if t := thunk.FindStringSubmatch(name); t != nil && slices.Contains(names, t[1]) {
			return fmt.Sprintf("%#x", m.regs[slices.Index(names, t[1])])
		}
	}
	return "a thunk of nothing"
}

var names = []string{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}

func (m *x86Machine) holds(op x86asm.Op) bool {
	switch op {
	case x86asm.JE, x86asm.SETE, x86asm.CMOVE:
		return m.zf
	case x86asm.JNE, x86asm.SETNE, x86asm.CMOVNE:
		return !m.zf
	case x86asm.JS:
		return m.sf
	case x86asm.JNS:
		return !m.sf
	case x86asm.JB:
		return m.cf
	case x86asm.JAE:
		return !m.cf
	case x86asm.JA:
		return !m.cf && !m.zf
	case x86asm.JBE:
		return m.cf || m.zf
	case x86asm.JL:
		return m.sf != m.of
	case x86asm.JGE:
		return m.sf == m.of
	case x86asm.JG:
		return !m.zf && m.sf == m.of
	case x86asm.JLE:
		return m.zf || m.sf != m.of
	case x86asm.JO:
		return m.of
	case x86asm.JNO:
		return !m.of
	}
	return hash(m.world, m.regs[rax])&1 == 0 // parity, of which nobody here knows
}

// bit is bt: a bit's number in memory leads as far as it is great.
func (m *x86Machine) bit(in x86asm.Inst, size, fromSize int, next uint64) {
	n := m.get(in.Args[1], fromSize, next)
	a, isMem := in.Args[0].(x86asm.Mem)
	if _, far := in.Args[1].(x86asm.Reg); isMem && far {
		by := int64(n<<(64-8*fromSize)) >> (64 - 8*fromSize)
		m.cf = m.load(m.address(a, next)+uint64(by>>3), 1)>>(by&7)&1 == 1
		return
	}
	m.cf = m.get(in.Args[0], size, next)>>(n%uint64(8*size))&1 == 1
}

// plain runs an instruction that is followed by the next, and says whether it knows it.
func (m *x86Machine) plain(in x86asm.Inst, next uint64) bool {
	size := in.MemBytes
	if r, ok := in.Args[0].(x86asm.Reg); ok {
		if _, size, _, ok = register(r); !ok {
			return false
		}
	}
	from := in.Args[1]
	fromSize := size
	if r, ok := from.(x86asm.Reg); ok {
		if _, fromSize, _, ok = register(r); !ok {
			return false
		}
	} else if _, ok := from.(x86asm.Mem); ok {
		fromSize = in.MemBytes
	}
	a, b := func() uint64 { return m.get(in.Args[0], size, next) }, func() uint64 { return m.get(from, fromSize, next) }
	put := func(v uint64) { m.set(in.Args[0], size, next, v) }
	result := func(v uint64) uint64 {
		v &= mask(size)
		m.zf, m.sf = v == 0, v>>(8*size-1)&1 == 1
		return v
	}
	sub := func(x, y uint64) uint64 {
		v := result(x - y)
		m.cf, m.of = x < y, (x^y)&(x^v)>>(8*size-1)&1 == 1
		return v
	}
	logic := func(v uint64) uint64 {
		m.cf, m.of = false, false
		return result(v)
	}
	signed := func(v uint64) uint64 { return uint64(int64(v<<(64-8*fromSize)) >> (64 - 8*fromSize)) }
	count := func() uint64 {
		if size == 8 {
			return b() & 63
		}
		return b() & 31
	}
	switch in.Op {
	case x86asm.NOP:
	case x86asm.MOV, x86asm.MOVZX:
		put(b())
	case x86asm.MOVSX, x86asm.MOVSXD:
		put(signed(b()))
	case x86asm.LEA:
		put(m.address(from.(x86asm.Mem), next))
	case x86asm.ADD:
		x, y := a(), b()
		v := result(x + y)
		m.cf, m.of = v < x, (x^v)&(y^v)>>(8*size-1)&1 == 1
		put(v)
	case x86asm.SUB:
		put(sub(a(), b()))
	case x86asm.CMP:
		sub(a(), b())
	case x86asm.NEG:
		put(sub(0, a()))
	case x86asm.AND:
		put(logic(a() & b()))
	case x86asm.TEST:
		logic(a() & b())
	case x86asm.BT:
		m.bit(in, size, fromSize, next)
	case x86asm.OR:
		put(logic(a() | b()))
	case x86asm.XOR:
		put(logic(a() ^ b()))
	case x86asm.NOT:
		put(^a())
	case x86asm.INC:
		put(result(a() + 1))
	case x86asm.DEC:
		put(result(a() - 1))
	case x86asm.SHL:
		put(result(a() << count()))
	case x86asm.SHR:
		put(result(a() >> count()))
	case x86asm.SAR:
		put(result(uint64(int64(a()<<(64-8*size)) >> (64 - 8*size) >> count())))
	case x86asm.PUSH:
		if _, ok := in.Args[0].(x86asm.Imm); ok {
			size = 8
		}
		m.push(a())
	case x86asm.POP:
		v := m.pop()
		put(v)
	case x86asm.LEAVE:
		m.regs[rsp] = m.regs[rbp]
		m.regs[rbp] = m.pop()
	case x86asm.SETE, x86asm.SETNE:
		v := uint64(0)
		if m.holds(in.Op) {
			v = 1
		}
		put(v)
	case x86asm.CMOVE, x86asm.CMOVNE:
		v := a()
		if m.holds(in.Op) {
			v = b()
		}
		put(v)
	default:
		return false
	}
	return true
}

// startX86 is the machine behind the context switch. What another function may change is the
// same for both: the switch left it there.
func startX86(r *isa.Routine, s *x86.Springboard, world, frame uint64) *x86Machine {
	m := &x86Machine{memory: newMemory(world, frame, caller-8), r: r, at: r.Entry + s.Return, callers: map[int]uint64{}}
	for n := range m.regs {
		m.regs[n] = hash(world, uint64(n))
	}
	for _, n := range []int{rbx, rbp, 12, 13, 14, 15} {
		m.regs[n] = hash(frame, uint64(n))
	}
	m.regs[rsp] = caller - uint64(s.Depth)
	if s.FramePtr {
		m.regs[rbp] = caller - 16
	}
	for _, slot := range s.Saved {
		n := slices.Index(names, slot.Reg)
		m.callers[n] = hash(world, 1000+uint64(n))
		m.put(caller+uint64(slot.At), m.callers[n])
	}
	if s.Canary != 0 {
		m.put(caller+uint64(s.Canary), m.load(gsBase+uint64(s.GuardAt), 8))
	}
	if s.Shadow != nil {
		m.put(caller+uint64(s.Shadow.At), (caller+uint64(s.Shadow.Of))>>s.Shadow.Shift)
	}
	return m
}
