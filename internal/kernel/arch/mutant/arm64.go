// SPDX-License-Identifier: BSD-3-Clause

package mutant

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"plugsched/internal/kernel/arch/arm64"
	"plugsched/internal/kernel/arch/isa"
)

// task is what sp_el0 has, the address of the current task.
const task = 0xffff000012345600

// ARM64 is how arm64's tails are proven, taken apart and run.
var ARM64 = &Arch[*arm64.Springboard]{
	Prove:  arm64.ProveSpringboard,
	Return: func(s *arm64.Springboard) uint64 { return s.Return },
	Decode: decodeARM64,
	Run: func(r *isa.Routine, s *arm64.Springboard, world, frame uint64) []string {
		m := startARM64(r, s, world, frame)
		m.run()
		return m.events
	},
}

func wordAt(r *isa.Routine, at uint64) (uint32, bool) {
	code := r.Bytes(at)
	if len(code) < 4 || !r.Within(at) {
		return 0, false
	}
	return binary.LittleEndian.Uint32(code), true
}

// extend is the number that some bits of a word are.
func extend(w uint32, at, size int) int64 { return int64(w) << (64 - at - size) >> (64 - size) }

// Branches, by masks of their own: the proof's decoder is what is tested.
func isB(w uint32) bool     { return w>>26 == 0b000101 }
func isBL(w uint32) bool    { return w>>26 == 0b100101 }
func isBcond(w uint32) bool { return w>>24 == 0x54 }
func isCBZ(w uint32) bool   { return w>>25&0x3f == 0b011010 }
func isTBZ(w uint32) bool   { return w>>25&0x3f == 0b011011 }

const ret = 0xd65f03c0

func target(w uint32, at uint64) uint64 {
	switch {
	case isB(w), isBL(w):
		return at + uint64(4*extend(w, 0, 26))
	case isTBZ(w):
		return at + uint64(4*extend(w, 5, 14))
	}
	return at + uint64(4*extend(w, 5, 19))
}

func decodeARM64(r *isa.Routine, at uint64) (*instruction, error) {
	w, ok := wordAt(r, at)
	if !ok {
		return nil, fmt.Errorf("no code at %#x", at)
	}
	out := &instruction{text: fmt.Sprintf("%#08x", w), size: 4}
	switch next, to := at+4, target(w, at); {
	case w == ret:
	case isB(w):
		out.to = []uint64{to}
	case isBL(w):
		if r.Returns(to) {
			out.to = []uint64{next}
		}
	case isBcond(w), isCBZ(w), isTBZ(w):
		out.to = []uint64{to, next}
	default:
		out.to = []uint64{next}
	}
	return out, nil
}

// arm64Machine runs arm64's code.
type arm64Machine struct {
	memory
	r          *isa.Routine
	at         uint64
	regs       [31]uint64
	sp         uint64
	n, z, c, v bool
	callers    [12]uint64 // what its caller has in x19 to x30
}

// startARM64 is the machine behind the context switch. What another function may change is the same for both: the switch
// left it there.
func startARM64(r *isa.Routine, s *arm64.Springboard, world, frame uint64) *arm64Machine {
	m := &arm64Machine{memory: newMemory(world, frame, caller), r: r, at: r.Entry + s.Return, sp: caller - uint64(s.Depth)}
	for n := range m.regs {
		m.regs[n] = hash(world, uint64(n))
		if n >= 19 {
			m.regs[n] = hash(frame, uint64(n))
		}
	}
	m.regs[29] = caller - uint64(s.Frame)
	m.regs[30] = m.at
	for _, slot := range s.Saved {
		v := hash(world, 1000+uint64(slot.Reg))
		m.callers[slot.Reg-19] = v
		if slot.Reg == 30 && s.Signed {
			v = sign(v, caller)
		}
		m.put(caller+uint64(slot.At), v)
	}
	if s.Canary != 0 {
		m.put(caller+uint64(s.Canary), m.load(task+s.Guard, 8))
	}
	return m
}

// sign is an address with its signature, and takes that off again: another stack pointer gives another one.
func sign(v, sp uint64) uint64 { return v ^ hash(sp)<<48 }

// leave ends a run: what the caller sees. What is not the caller's own counts as different.
func (m *arm64Machine) leave(how string) {
	m.event("%s sp %x registers %x", how, m.sp, m.regs[19:])
	if m.sp != caller || !slices.Equal(m.regs[19:], m.callers[:]) {
		m.event("the caller of frame %d has lost something", m.frame)
	}
}

// run goes on until the code leaves the function, or does something that is none of a tail's.
func (m *arm64Machine) run() {
	for range longest {
		w, ok := wordAt(m.r, m.at)
		if !ok {
			m.event("no code at %#x", m.at)
			return
		}
		next := m.at + 4
		if to, key := m.r.Patched(m.at); key {
			if m.at = next; hash(m.world, next)&1 == 0 {
				m.at = to
			}
			continue
		}
		to := target(w, m.at)
		switch {
		case w == ret:
			m.leave(fmt.Sprintf("return to %x", m.regs[30]))
			return
		case isBL(w):
			if m.call(m.r.Name(to)); !m.r.Returns(to) {
				return
			}
			m.regs[30] = next
		case (isBcond(w) || isCBZ(w) || isTBZ(w)) && !m.taken(w):
		case isB(w), isBcond(w), isCBZ(w), isTBZ(w):
			if !m.r.Within(to) {
				m.leave(fmt.Sprintf("branch to %s, which returns to %x", m.r.Name(to), m.regs[30]))
				return
			}
			next = to
		case !m.plain(w):
			m.event("%#08x at %#x", w, m.at)
			return
		}
		m.at = next
	}
	m.event("goes on and on")
}

// call is another function: it may do what it likes with what a function may change.
func (m *arm64Machine) call(to string) {
	m.calls++
	m.event("call %s(%x) sp %x", to, m.regs[:8], m.sp)
	for n := range 19 {
		m.regs[n] = hash(m.world, uint64(m.calls), uint64(n))
	}
}

func (m *arm64Machine) taken(w uint32) bool {
	switch {
	case isCBZ(w):
		return (m.get(w&31, w>>31 == 1) == 0) == (w>>24&1 == 0)
	case isTBZ(w):
		bit := w>>31<<5 | w>>19&31
		return m.get(w&31, true)>>bit&1 == uint64(w>>24&1)
	}
	var holds bool
	switch w >> 1 & 7 {
	case 0:
		holds = m.z
	case 1:
		holds = m.c
	case 2:
		holds = m.n
	case 3:
		holds = m.v
	case 4:
		holds = m.c && !m.z
	case 5:
		holds = m.n == m.v
	case 6:
		holds = m.n == m.v && !m.z
	case 7:
		return true
	}
	return holds == (w&1 == 0)
}

// get is a register's value, zero for the last.
func (m *arm64Machine) get(r uint32, wide bool) uint64 {
	if r == 31 {
		return 0
	}
	if wide {
		return m.regs[r]
	}
	return m.regs[r] & mask(4)
}

func (m *arm64Machine) set(r uint32, wide bool, v uint64) {
	if !wide {
		v &= mask(4)
	}
	if r != 31 {
		m.regs[r] = v
	}
}

// address is what is in a register, or in the stack pointer.
func (m *arm64Machine) address(r uint32) uint64 {
	if r == 31 {
		return m.sp
	}
	return m.regs[r]
}

func (m *arm64Machine) point(r uint32, v uint64) {
	if r == 31 {
		m.sp = v
	} else {
		m.regs[r] = v
	}
}

// plain runs an instruction that is followed by the next, and says whether it knows it.
func (m *arm64Machine) plain(w uint32) bool {
	rd, rn, wide := w&31, w>>5&31, w>>31 == 1
	switch {
	case w == 0xd503201f: // nop
	case w == 0xd50323bf: // autiasp
		m.regs[30] = sign(m.regs[30], m.sp)
	case w&^31 == 0xd5384100: // mrs, sp_el0
		m.set(rd, true, task)
	case w>>24&0x1f == 0x10: // adr, adrp
		by := extend(w, 5, 19)<<2 | int64(w>>29&3)
		if wide {
			m.set(rd, true, m.at&^0xfff+uint64(by<<12))
		} else {
			m.set(rd, true, m.at+uint64(by))
		}
	case w>>23&0x3f == 0x25: // movn, movz, movk
		return m.move(rd, w, wide)
	case w>>23&0x3f == 0x22: // add, sub of a constant
		by := uint64(w>>10&0xfff) << (w >> 22 & 1 * 12)
		from := m.address(rn)
		if w>>29&1 == 1 {
			m.set(rd, wide, m.sum(from, by, w>>30&1 == 1, wide))
		} else if v := m.add(from, by, w>>30&1 == 1); wide {
			m.point(rd, v)
		} else {
			m.point(rd, v&mask(4))
		}
	case w>>24&0x1f == 0x0a, w>>24&0x1f == 0x0b && w>>21&1 == 0: // logical, add and sub, of registers
		return m.registers(rd, rn, w, wide)
	case w>>25 == 0x54: // ldp, stp
		m.pair(rd, rn, w)
	case w>>27&7 == 7 && w>>26&1 == 0: // loads and stores of a register
		return m.memoryOf(rd, rn, w)
	default:
		return false
	}
	return true
}

func (m *arm64Machine) move(rd, w uint32, wide bool) bool {
	shift := w >> 21 & 3 * 16
	if !wide && shift > 16 {
		return false
	}
	v := uint64(w>>5&0xffff) << shift
	switch w >> 29 & 3 {
	case 0:
		v = ^v
	case 3:
		v |= m.get(rd, wide) &^ (0xffff << shift)
	case 1:
		return false
	}
	m.set(rd, wide, v)
	return true
}

func (m *arm64Machine) add(a, b uint64, sub bool) uint64 {
	if sub {
		return a - b
	}
	return a + b
}

// sum adds or subtracts, and sets the flags.
func (m *arm64Machine) sum(a, b uint64, sub, wide bool) uint64 {
	carry := uint64(0)
	if sub {
		b, carry = ^b, 1
	}
	sign := 63
	if !wide {
		a, b, sign = a&mask(4), b&mask(4), 31
	}
	v, out := bits.Add64(a, b, carry)
	if !wide {
		out = v >> 32 & 1
		v &= mask(4)
	}
	m.n, m.z, m.c, m.v = v>>sign&1 == 1, v == 0, out == 1, (a^v)&(b^v)>>sign&1 == 1
	return v
}

// registers is add, sub and the logical ones of two registers, the second shifted.
func (m *arm64Machine) registers(rd, rn, w uint32, wide bool) bool {
	size, by := 64, int(w>>10&63)
	if !wide {
		if size = 32; by > 31 {
			return false
		}
	}
	b := m.get(w>>16&31, wide)
	switch w >> 22 & 3 {
	case 0:
		b <<= by
	case 1:
		b >>= by
	case 2:
		b = uint64(int64(b<<(64-size)) >> (64 - size) >> by)
	case 3:
		b = b>>by | b<<(size-by)
	}
	if !wide {
		b &= mask(4)
	}
	a := m.get(rn, wide)
	if w>>24&1 == 1 {
		if w>>22&3 == 3 {
			return false
		}
		if w>>29&1 == 1 {
			m.set(rd, wide, m.sum(a, b, w>>30&1 == 1, wide))
		} else {
			m.set(rd, wide, m.add(a, b, w>>30&1 == 1))
		}
		return true
	}
	if w>>21&1 == 1 {
		b = ^b
	}
	var v uint64
	switch w >> 29 & 3 {
	case 0, 3:
		v = a & b
	case 1:
		v = a | b
	case 2:
		v = a ^ b
	}
	if !wide {
		v &= mask(4)
	}
	if w>>29&3 == 3 {
		m.n, m.z, m.c, m.v = v>>(size-1)&1 == 1, v == 0, false, false
	}
	m.set(rd, wide, v)
	return true
}

// pair is ldp and stp of whole registers.
func (m *arm64Machine) pair(rt, rn, w uint32) {
	at, by := m.address(rn), uint64(8*extend(w, 15, 7))
	to := at + by
	if w>>23&3 == 1 { // afterwards
		to = at
	}
	regs := []uint32{rt, w >> 10 & 31}
	var loaded [2]uint64
	for i, r := range regs {
		if w>>22&1 == 1 {
			loaded[i] = m.load(to+uint64(8*i), 8)
		} else {
			m.store(to+uint64(8*i), 8, m.get(r, true))
		}
	}
	if w>>23&1 == 1 {
		m.point(rn, at+by)
	}
	for i, r := range regs {
		if w>>22&1 == 1 {
			m.set(r, true, loaded[i])
		}
	}
}

// memoryOf is a load or a store of a register.
func (m *arm64Machine) memoryOf(rt, rn, w uint32) bool {
	scale, opc := w>>30, w>>22&3
	size, base := 1<<scale, m.address(rn)
	to, back := base, base
	switch {
	case w>>24&1 == 1:
		to += uint64(w>>10&0xfff) << scale
	case w>>21&1 == 0:
		by := uint64(extend(w, 12, 9))
		if w>>10&3 != 1 {
			to += by
		}
		if w>>10&1 == 1 {
			back += by
		}
	case w>>10&3 == 2:
		by := m.get(w>>16&31, w>>13&1 == 1)
		if w>>13&7 == 6 { // sxtw
			by = uint64(int64(int32(by)))
		}
		if w>>14&1 == 0 {
			return false
		}
		to += by << (w >> 12 & 1 * scale)
	default:
		return false
	}
	switch {
	case opc == 0:
		m.store(to, size, m.get(rt, true))
	case opc == 1:
		m.set(rt, true, m.load(to, size))
	case scale == 3 || opc == 3 && scale == 2:
		return false
	default:
		v := uint64(int64(m.load(to, size)<<(64-8*size)) >> (64 - 8*size))
		m.set(rt, opc == 2, v)
	}
	if back != base {
		m.point(rn, back)
	}
	return true
}
