// SPDX-License-Identifier: BSD-3-Clause

// Package mutant tests the proof of a springboard against code that runs. It changes the
// code behind __schedule's context switch byte by byte. Of each change it asks the proof,
// and where that accepts, runs the code on two frames that differ in all that the module
// does not provide: what it does must be the same, or the proof is wrong.
package mutant

import (
	"fmt"
	"math/bits"
	"slices"

	"plugsched/internal/kernel/arch/isa"
)

// Arch is how an architecture's tails are proven, taken apart and run. S is what its proof yields.
type Arch[S any] struct {
	Prove  func(r *isa.Routine) (S, error)
	Return func(s S) uint64 // where the code behind the context switch begins, from the entry on
	Decode func(r *isa.Routine, at uint64) (*instruction, error)
	// Run runs the code behind the switch on a frame, and tells what is seen of it. World says what is in memory, and which
	// static keys are on; frame, what is in registers and in the frame that S does not ask for.
	Run func(r *isa.Routine, s S, world, frame uint64) []string
}

// instruction is one of the tail.
type instruction struct {
	text string
	size int      // bytes
	to   []uint64 // where it may go on
}

// longest is more instructions than any tail has that ends.
const longest = 400

// Report is what became of all mutants.
type Report struct {
	Instructions      int
	Accepted, Refused int
	// Some of those that are refused are run as well; Caught are those that run differently.
	Sampled, Caught int
	// Wrong are mutants that are accepted and run differently, in words.
	Wrong []string
	// Unmoved are instructions of which no change is refused.
	Unmoved []string
}

// worlds is how often each mutant runs: with other memory, and other static keys on.
const worlds = 3

// sample is how many mutants that are refused there are for each that is run.
const sample = 16

// Every is how a byte can be changed; Bits are those ways that change one bit or two.
var Every, Bits = func() (every, few []byte) {
	for by := 1; by < 256; by++ {
		if every = append(every, byte(by)); bits.OnesCount8(uint8(by)) <= 2 {
			few = append(few, byte(by))
		}
	}
	return every, few
}()

// Try changes each byte of each instruction behind the context switch in each of the ways.
func (a *Arch[S]) Try(r *isa.Routine, ways []byte) (*Report, error) {
	r = remembering(r)
	s, err := a.Prove(r)
	if err != nil {
		return nil, err
	}
	out := &Report{}
	if why := a.differs(r, s, s); why != "" {
		out.Wrong = append(out.Wrong, "the kernel's own code: "+why)
	}
	sites := a.tail(r, r.Entry+a.Return(s))
	out.Instructions = len(sites)
	for _, at := range sites {
		in, err := a.Decode(r, at)
		if err != nil {
			return nil, err
		}
		refused := 0
		for i := range in.size {
			for _, by := range ways {
				m := mutate(r, at+uint64(i), by)
				t, err := a.Prove(m)
				if err != nil {
					if refused++; refused%sample == 0 {
						out.Sampled++
						if a.differs(m, s, s) != "" {
							out.Caught++
						}
					}
					continue
				}
				out.Accepted++
				if why := a.differs(m, t, s); why != "" {
					out.Wrong = append(out.Wrong, fmt.Sprintf("+%#x %s, byte %d ^ %#x: %s", at-r.Entry, in.text, i, by, why))
				}
			}
		}
		if out.Refused += refused; refused == 0 {
			out.Unmoved = append(out.Unmoved, fmt.Sprintf("+%#x %s", at-r.Entry, in.text))
		}
	}
	return out, nil
}

// remembering asks for what is the same for all mutants once.
func remembering(r *isa.Routine) *isa.Routine {
	m := *r
	frames, symbols := map[uint64]*isa.Frame{}, map[uint64][]string{}
	m.Frame = func(pc uint64) (*isa.Frame, error) {
		if f := frames[pc]; f != nil {
			return f, nil
		}
		f, err := r.Frame(pc)
		frames[pc] = f
		return f, err
	}
	m.Symbols = func(addr uint64) []string {
		if _, ok := symbols[addr]; !ok {
			symbols[addr] = r.Symbols(addr)
		}
		return symbols[addr]
	}
	return &m
}

// mutate is the routine with one byte changed.
func mutate(r *isa.Routine, at uint64, by byte) *isa.Routine {
	text := *r.Text
	text.Bytes = func(a uint64) []byte {
		b := r.Bytes(a)
		if at < a || at >= a+uint64(len(b)) {
			return b
		}
		b = slices.Clone(b)
		b[at-a] ^= by
		return b
	}
	m := *r
	m.Text = &text
	return &m
}

// tail are the instructions behind the context switch, whatever static keys say.
func (a *Arch[S]) tail(r *isa.Routine, start uint64) (sites []uint64) {
	seen := map[uint64]bool{}
	work := []uint64{start}
	for len(work) > 0 {
		at := work[len(work)-1]
		work = work[:len(work)-1]
		if seen[at] || !r.Within(at) {
			continue
		}
		seen[at] = true
		in, err := a.Decode(r, at)
		if err != nil {
			continue
		}
		if to, key := r.Patched(at); key {
			work = append(work, to, at+uint64(in.size))
			continue // what is there at run time is not in the file
		}
		sites = append(sites, at)
		work = append(work, in.to...)
	}
	slices.Sort(sites)
	return sites
}

// differs runs the code on the frame that kernel's prologue makes, and on one of the stub
// that proven asks for, and returns what is not the same.
func (a *Arch[S]) differs(r *isa.Routine, proven, kernel S) string {
	for world := range uint64(worlds) {
		one, other := a.Run(r, kernel, world, 1), a.Run(r, proven, world, 2)
		for i := range max(len(one), len(other)) {
			if i >= len(one) || i >= len(other) || one[i] != other[i] {
				return fmt.Sprintf("runs as %q, and as %q", one[min(i, len(one)):], other[min(i, len(other)):])
			}
		}
	}
	return ""
}
