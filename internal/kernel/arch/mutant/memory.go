// SPDX-License-Identifier: BSD-3-Clause

package mutant

import (
	"fmt"
	"hash/maphash"
)

// caller is where the frame of __schedule's caller begins, in every run.
const caller = 0xffffc90000100000

// memory is that of a machine which runs the code behind a context switch, as far as a test has to see it: what it
// does to memory, whom it calls, and what it gives back. What is in memory a hash says.
type memory struct {
	written map[uint64]byte
	world   uint64 // says what is in memory, and which static keys are on
	frame   uint64 // says what is in the frame, where nobody wrote
	top     uint64 // where the frame ends
	events  []string
	calls   int
}

func newMemory(world, frame, top uint64) memory {
	return memory{written: map[uint64]byte{}, world: world, frame: frame, top: top}
}

var seed = maphash.MakeSeed()

func hash(v ...uint64) uint64 {
	var all [3]uint64
	copy(all[:], v)
	return maphash.Comparable(seed, all)
}

func (m *memory) event(format string, args ...any) {
	m.events = append(m.events, fmt.Sprintf(format, args...))
}

// inFrame: what is there from the call of the context switch on is the stub's, or the kernel's.
func (m *memory) inFrame(addr uint64) bool { return addr >= caller-1<<16 && addr < m.top }

func (m *memory) load(addr uint64, size int) (v uint64) {
	for i := range size {
		a := addr + uint64(i)
		b, ok := m.written[a]
		switch {
		case ok:
		case m.inFrame(a):
			b = byte(hash(a, m.frame))
		case hash(addr&^7, m.world)%3 == 0: // pointers end lists, too
		default:
			b = byte(hash(a, m.world))
		}
		v |= uint64(b) << (8 * i)
	}
	return v
}

// put is a store that is no event.
func (m *memory) put(addr uint64, v uint64) {
	for i := range 8 {
		m.written[addr+uint64(i)] = byte(v >> (8 * i))
	}
}

func (m *memory) store(addr uint64, size int, v uint64) {
	for i := range size {
		m.written[addr+uint64(i)] = byte(v >> (8 * i))
	}
	if !m.inFrame(addr) {
		m.event("store %d bytes %#x at %#x", size, v&mask(size), addr)
	}
}

func mask(size int) uint64 {
	if size >= 8 {
		return ^uint64(0)
	}
	return 1<<(8*size) - 1
}
