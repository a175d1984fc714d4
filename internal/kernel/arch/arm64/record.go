// SPDX-License-Identifier: BSD-3-Clause

package arm64

import (
	"slices"

	"plugsched/internal/kernel/arch/isa"
)

// A record is what a stack's walker knows of a function that has called another: where x29 leads, the
// caller's x29 and the function's own return address are (AAPCS64, 6.4.6).
type record struct {
	stack
	lost bool // it is not known where sp is, which is below the frame
	// own and link: x29 is the caller's, and x30 the return address, signed or not.
	own, link bool
	made      bool  // both have been stored, side by side
	at        int64 // so far below the caller's frame
}

// whole reports that x29 leads to the function's record.
func (s *record) whole() bool { return s.made && s.framed && s.fp == s.at && (s.lost || s.sp >= s.at) }

// entered reports that all is as the caller left it, so that another function may be gone on to.
func (s *record) entered() bool { return s.own && s.link && !s.lost && s.sp == 0 }

// meet keeps what is so whichever way was taken, and says whether that is less than before.
func (s *record) meet(o *record) (less bool) {
	was := *s
	s.lost = s.lost || o.lost || s.sp != o.sp
	s.framed = s.framed && o.framed && s.fp == o.fp
	s.own, s.link = s.own && o.own, s.link && o.link
	s.made = s.made && o.made && s.at == o.at
	s.normal()
	return *s != was
}

// normal makes states equal that say the same.
func (s *record) normal() {
	if s.lost {
		s.sp = 0
	}
	if !s.framed {
		s.fp = 0
	}
	if !s.made {
		s.at = 0
	}
}

// step applies what an instruction does that is no branch.
func (s *record) step(w uint32) {
	rt, rt2 := w&31, w>>10&31
	at, size, write, framed := s.access(w)
	home := framed && !write && s.made && at == -s.at && isPair(w) && rt == regFrame && rt2 == regLink
	if framed && write {
		switch overlaps := at < -s.at+16 && at+size > -s.at; {
		case isPair(w) && rt == regFrame && rt2 == regLink && s.own && s.link:
			s.made, s.at = true, -at
		case s.made && overlaps:
			s.made = false
		}
	}
	gone := changes(w)
	hint := w&0xfffff01f == 0xd503201f // paciasp and the others sign x30, and take that off
	if err := s.stack.step(w); err != nil {
		s.lost = true
	} else if rd, ok := w&31, isAdd(w) || isSub(w); ok && rd == regSP && base(w) == regFrame && s.framed {
		s.lost = false
	}
	s.own = (s.own || home) && (home || gone&set(regFrame) == 0)
	s.link = (s.link || home) && (home || hint || gone&set(regLink) == 0)
	s.normal()
}

// access is what a load or store of the frame reaches, from the caller's frame on.
func (s *record) access(w uint32) (at, size int64, write, framed bool) {
	var m isa.Memory
	if !isMemory(w) || isLiteral(w) || !operand(w, &m) || m.Index {
		return 0, 0, false, false
	}
	below, framed := s.base(base(w))
	if !framed || s.lost && base(w) == regSP {
		return 0, 0, false, false
	}
	return m.Disp - below, int64(m.Size), m.Write, true
}

// frames follows the records through a function, whose parts may be apart.
type frames struct {
	t      *isa.Text
	parts  []isa.Part
	states [][]record // by part and instruction
	seen   [][]bool
	work   []place
}

type place struct{ part, i int }

func (f *frames) at(p place) uint64 { return f.parts[p.part].Addr + uint64(p.i*MaxInstruction) }

func (f *frames) find(addr uint64) (place, bool) {
	for n, part := range f.parts {
		if off := addr - part.Addr; off < uint64(len(part.Code)) && off%MaxInstruction == 0 {
			return place{n, int(off / MaxInstruction)}, true
		}
	}
	return place{}, false
}

func (f *frames) enter(p place, s *record) {
	if p.i >= len(f.seen[p.part]) {
		return
	}
	if !f.seen[p.part][p.i] {
		f.seen[p.part][p.i], f.states[p.part][p.i] = true, *s
	} else if !f.states[p.part][p.i].meet(s) {
		return
	}
	f.work = append(f.work, p)
}

// Records looks at each call in a function, and wherever it goes on to another one: before a call its frame record has
// been made on every way there, whatever static keys say and whatever the kernel patches in when it boots; and it goes on
// with all as its caller left it.
func Records(t *isa.Text, parts []isa.Part) (out isa.Records) {
	f := &frames{t: t, parts: parts}
	for _, part := range parts {
		n := len(part.Code) / MaxInstruction
		f.states, f.seen = append(f.states, make([]record, n)), append(f.seen, make([]bool, n))
	}
	f.enter(place{}, &record{own: true, link: true})
	f.settle()
	f.hidden()
	f.judge(&out)
	slices.Sort(out.Bare)
	out.Bare = slices.Compact(out.Bare) // of several instructions that may be at a place
	return out
}

// settle follows what was entered until nothing changes.
func (f *frames) settle() {
	for len(f.work) > 0 {
		p := f.work[len(f.work)-1]
		f.work = f.work[:len(f.work)-1]
		was := f.states[p.part][p.i]
		if to, ok := f.find(f.t.Fault(f.at(p))); ok {
			f.enter(to, &was) // a load that is not made changes nothing
		}
		f.instructions(p, func(w uint32, to uint64, falls bool) {
			s := was
			s.step(w)
			if to, ok := f.find(to); ok {
				f.enter(to, &s)
			}
			if falls {
				f.enter(place{p.part, p.i + 1}, &s)
			}
		})
	}
}

// instructions yields what may be at a place while the kernel runs: what is there in the file, the two forms of a
// static key's site, and what may be put there at boot. To is where it leads, 0 for nowhere, and falls whether the
// next follows. What a function of the kernel makes at boot is taken to go on.
func (f *frames) instructions(p place, yield func(w uint32, to uint64, falls bool)) {
	at := f.at(p)
	w, _ := word(f.parts[p.part].Code[p.i*MaxInstruction:])
	if w == nop || w&0xfc000000 == 0x14000000 {
		if to, key := f.t.Patched(at); key {
			yield(nop, to, true)
			return
		}
	}
	to, falls := f.leads(w, at)
	yield(w, to, falls)
	for _, by := range f.t.Instead(at) {
		if w, ok := word(f.t.Bytes(by)); by != 0 && ok {
			to, falls := f.leads(w, by)
			yield(w, to, falls)
		} else {
			yield(nop, 0, true)
		}
	}
}

func (f *frames) leads(w uint32, at uint64) (to uint64, falls bool) {
	form, field, distance := branchOf(w)
	to = at + uint64(distance)
	switch {
	case form == branchCall:
		return 0, f.t.Returns(to)
	case field != 0:
		return to, form == branchCond
	}
	return 0, form != branchTo && form != branchRet && !isTrap(w)
}

// hidden enters code that no way leads to so far. Behind a trap is what follows a WARN, or what the compiler has put
// behind a BUG, with a frame of its own. Then there is what a table leads to (br). What is left, if anything leads to
// it, is not known.
func (f *frames) hidden() {
	f.each(func(p place, s *record, w uint32, _ uint64) {
		if next := (place{p.part, p.i + 1}); isTrap(w) && next.i < len(f.seen[p.part]) && !f.seen[next.part][next.i] {
			f.enter(next, s)
			f.settle()
		}
	})
	var table *record
	f.each(func(_ place, s *record, w uint32, _ uint64) {
		switch form, _, _ := branchOf(w); {
		case form != branchTo:
		case table == nil:
			c := *s
			table = &c
		default:
			table.meet(s)
		}
	})
	if table == nil {
		table = &record{lost: true}
	}
	for n := range f.parts {
		for i := range f.seen[n] {
			if !f.seen[n][i] {
				f.enter(place{n, i}, table)
				f.settle()
			}
		}
	}
}

// each visits all that may be anywhere, with the record before it.
func (f *frames) each(visit func(p place, s *record, w uint32, to uint64)) {
	for n := range f.parts {
		for i := range f.seen[n] {
			if p := (place{n, i}); f.seen[n][i] {
				f.instructions(p, func(w uint32, to uint64, _ bool) { visit(p, &f.states[n][i], w, to) })
			}
		}
	}
}

// judge looks at the calls, and at what leaves the function.
func (f *frames) judge(out *isa.Records) {
	f.each(func(p place, s *record, w uint32, to uint64) {
		switch form, _, _ := branchOf(w); {
		case form == branchCall || form == branchCalls:
			if out.Calls++; !s.whole() {
				out.Bare = append(out.Bare, f.at(p))
			}
		case to != 0 && !s.entered():
			if _, in := f.find(to); !in {
				out.Bare = append(out.Bare, f.at(p))
			}
		}
	})
}
