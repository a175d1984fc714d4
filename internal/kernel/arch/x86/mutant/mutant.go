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

	"golang.org/x/arch/x86/x86asm"

	"plugsched/internal/kernel/arch/isa"
	"plugsched/internal/kernel/arch/x86"
)

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
func Try(r *isa.Routine, ways []byte) (*Report, error) {
	r = remembering(r)
	s, err := x86.ProveSpringboard(r)
	if err != nil {
		return nil, err
	}
	out := &Report{}
	if why := differs(r, s, s); why != "" {
		out.Wrong = append(out.Wrong, "the kernel's own code: "+why)
	}
	sites := tail(r, r.Entry+s.Return)
	out.Instructions = len(sites)
	for _, at := range sites {
		in, err := x86asm.Decode(r.Bytes(at), 64)
		if err != nil {
			return nil, err
		}
		refused := 0
		for i := range in.Len {
			for _, by := range ways {
				m := mutate(r, at+uint64(i), by)
				t, err := x86.ProveSpringboard(m)
				if err != nil {
					if refused++; refused%sample == 0 {
						out.Sampled++
						if differs(m, s, s) != "" {
							out.Caught++
						}
					}
					continue
				}
				out.Accepted++
				if why := differs(m, t, s); why != "" {
					out.Wrong = append(out.Wrong, fmt.Sprintf("+%#x %v, byte %d ^ %#x: %s", at-r.Entry, in, i, by, why))
				}
			}
		}
		if out.Refused += refused; refused == 0 {
			out.Unmoved = append(out.Unmoved, fmt.Sprintf("+%#x %v", at-r.Entry, in))
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
func tail(r *isa.Routine, start uint64) (sites []uint64) {
	seen := map[uint64]bool{}
	work := []uint64{start}
	for len(work) > 0 {
		at := work[len(work)-1]
		work = work[:len(work)-1]
		if seen[at] || !r.Within(at) {
			continue
		}
		seen[at] = true
		in, err := x86asm.Decode(r.Bytes(at), 64)
		if err != nil {
			continue
		}
		next := at + uint64(in.Len)
		if to, key := r.Patched(at); key {
			work = append(work, to, next)
			continue // what is there at run time is not in the file
		}
		sites = append(sites, at)
		rel, direct := in.Args[0].(x86asm.Rel)
		to := next + uint64(int64(rel))
		switch {
		case in.Op == x86asm.RET:
		case in.Op == x86asm.JMP:
			work = append(work, to)
		case in.Op == x86asm.CALL:
			if !direct || r.Returns(to) {
				work = append(work, next)
			}
		case direct:
			work = append(work, to, next)
		default:
			work = append(work, next)
		}
	}
	slices.Sort(sites)
	return sites
}

// differs runs the code on the frame that kernel's prologue makes, and on one of the stub
// that proven asks for, and returns what is not the same.
func differs(r *isa.Routine, proven, kernel *x86.Springboard) string {
	for world := range uint64(worlds) {
		a, b := start(r, kernel, world, 1), start(r, proven, world, 2)
		a.run()
		b.run()
		for i := range max(len(a.events), len(b.events)) {
			if i >= len(a.events) || i >= len(b.events) || a.events[i] != b.events[i] {
				return fmt.Sprintf("runs as %q, and as %q", a.events[min(i, len(a.events)):], b.events[min(i, len(b.events)):])
			}
		}
	}
	return ""
}

// start is the machine behind the context switch. What another function may change is the
// same for both: the switch left it there.
func start(r *isa.Routine, s *x86.Springboard, world, frame uint64) *machine {
	m := &machine{r: r, at: r.Entry + s.Return, world: world, frame: frame, written: map[uint64]byte{}}
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
	put := func(at int64, v uint64) {
		for i := range 8 {
			m.written[caller+uint64(at)+uint64(i)] = byte(v >> (8 * i))
		}
	}
	for _, slot := range s.Saved {
		put(slot.At, hash(world, 1000+uint64(slices.Index(names, slot.Reg))))
	}
	if s.Canary != 0 {
		put(s.Canary, m.load(perCPU+uint64(s.GuardAt), 8))
	}
	return m
}
