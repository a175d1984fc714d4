// SPDX-License-Identifier: BSD-3-Clause

package arm64

import "slices"

// An address is made in two steps: adrp gives its page, an add, a load or a store the rest.
// Which page a register holds is followed along the code's paths. A compiler's pages are
// constants: where a register is used as a page, it holds the same one whichever way led
// there, so that a way which is not seen (a static key's jump) makes no difference but where
// no other leads. There, and where ways disagree, every page that the code ever gives the
// register counts.

// value is what is known of a register.
type value struct {
	kind holds
	addr uint64
}

type holds uint8

const (
	nothing holds = iota // no address that this code made
	page                 // of adrp's
	address              // a whole one
	unseen               // no way that leads here is known
	depends              // it depends on the way
)

type state [regSP]value

// flow follows the registers through one stretch of code.
type flow struct {
	code    []byte
	addr    uint64
	blocks  []int // by instruction: the number of the block that begins there, or -1
	in      []state
	reached []bool
	// table is what the registers hold where code jumps by a table: to whatever no other way leads to.
	table *state
	// pages are those that each register is ever given.
	pages [regSP][]uint64
}

func (f *flow) word(i int) uint32 {
	w, _ := word(f.code[i*MaxInstruction:])
	return w
}

func (f *flow) len() int { return len(f.code) / MaxInstruction }

// follow finds out what the registers hold wherever a block begins.
func follow(code []byte, addr uint64) *flow {
	f := &flow{code: code[:len(code)/MaxInstruction*MaxInstruction], addr: addr}
	n := f.len()
	if !f.givesPages() {
		return f
	}
	f.cut()
	f.reached[0] = true
	f.settle(0)
	var unknown state
	for r := range unknown {
		unknown[r].kind = unseen
	}
	for i := range n {
		if b := f.blocks[i]; b >= 0 && !f.reached[b] {
			f.in[b], f.reached[b] = unknown, true
			if f.table != nil {
				f.in[b] = *f.table
			}
			f.settle(i)
		}
	}
	return f
}

// givesPages finds all pages. Where there are none, nothing has to be followed.
func (f *flow) givesPages() bool {
	found := false
	for i := range f.len() {
		if w := f.word(i); isADRP(w) {
			found = true
			f.give(w&31, adr(f.at(i), w))
		}
	}
	return found
}

// cut finds where blocks begin.
func (f *flow) cut() {
	n := f.len()
	starts := make([]bool, n+1)
	starts[0] = true
	for i := range n {
		form, field, distance := branchOf(f.word(i))
		if form == noBranch || form == branchCall || form == branchCalls {
			continue
		}
		if to := int64(i) + distance/MaxInstruction; field != 0 && to >= 0 && to < int64(n) {
			starts[to] = true
		}
		starts[i+1] = true
	}
	f.blocks = make([]int, n)
	count := 0
	for i := range n {
		f.blocks[i] = -1
		if starts[i] {
			f.blocks[i] = count
			count++
		}
	}
	f.in, f.reached = make([]state, count), make([]bool, count)
}

func (f *flow) at(i int) uint64 { return f.addr + uint64(i*MaxInstruction) }

func (f *flow) give(r uint32, page uint64) {
	if r < regSP && !slices.Contains(f.pages[r], page) {
		f.pages[r] = append(f.pages[r], page)
	}
}

// settle follows blocks, from the one at an instruction on, until nothing changes.
func (f *flow) settle(i int) {
	for work := []int{i}; len(work) > 0; {
		i := work[len(work)-1]
		work = work[:len(work)-1]
		f.block(i, nil, func(to int, s *state) {
			if f.merge(f.blocks[to], s) {
				work = append(work, to)
			}
		})
	}
}

// each visits the instructions in order, with what the registers hold.
func (f *flow) each(visit func(i int, w uint32, s *state)) {
	if f.blocks == nil {
		var s state
		for i := range f.len() {
			visit(i, f.word(i), &s)
		}
		return
	}
	for i, b := range f.blocks {
		if b >= 0 {
			f.block(i, visit, func(int, *state) {})
		}
	}
}

// block runs through a block, and tells where it leads to.
func (f *flow) block(i int, visit func(i int, w uint32, s *state), enter func(to int, s *state)) {
	s := f.in[f.blocks[i]]
	n := f.len()
	for ; i < n; i++ {
		w := f.word(i)
		if visit != nil {
			visit(i, w, &s)
		}
		form, field, distance := branchOf(w)
		f.step(i, w, &s)
		if to := int64(i) + distance/MaxInstruction; field != 0 && form != branchCall && to >= 0 && to < int64(n) {
			enter(int(to), &s)
		}
		if form == branchTo && visit == nil {
			if f.table == nil {
				f.table = &s
			} else {
				f.table.merge(&s)
			}
		}
		if form == branchJump || form == branchTo || form == branchRet {
			return
		}
		if i+1 < n && f.blocks[i+1] >= 0 {
			enter(i+1, &s)
			return
		}
	}
}

// merge adds a way into a block.
func (f *flow) merge(b int, s *state) (changed bool) {
	if !f.reached[b] {
		f.in[b], f.reached[b] = *s, true
		return true
	}
	return f.in[b].merge(s)
}

// merge is what the registers hold if either way may have been taken.
func (s *state) merge(other *state) (changed bool) {
	for r := range s {
		switch was, is := s[r], other[r]; {
		case was == is, was.kind == depends, is.kind == unseen:
		case was.kind == unseen:
			s[r] = is
			changed = true
		default:
			s[r] = value{kind: depends}
			changed = true
		}
	}
	return changed
}

// step applies what an instruction does to the registers. A call leaves what they hold but
// the first, which has the result: gcc may know of a callee which registers it does not use
// (-fipa-ra).
func (f *flow) step(i int, w uint32, s *state) {
	rd, rn, rm := w&31, base(w), w>>16&31
	to := value{}
	switch form, _, _ := branchOf(w); {
	case form == branchCall, form == branchCalls:
		s[0], s[regLink] = value{}, value{}
		return
	case isADRP(w):
		to = value{page, adr(f.at(i), w)}
	case isADR(w):
		to = value{address, adr(f.at(i), w)}
	case isAdd(w) && rn < regSP && (s[rn].kind == page || s[rn].kind == address):
		to = value{address, s[rn].addr + constant(w)}
	case w&0xffe0ffe0 == 0xaa0003e0 && rm < regSP: // mov
		to = s[rm]
		if to.kind != nothing && to.kind != address {
			for _, p := range f.pages[rm] {
				f.give(rd, p)
			}
		}
	default:
		for c, r := changes(w), 0; c != 0; c, r = c>>1, r+1 {
			if c&1 != 0 {
				s[r] = value{}
			}
		}
		return
	}
	if rd < regSP {
		s[rd] = to
	}
}

func isADRP(w uint32) bool { return w&0x9f000000 == 0x90000000 }

func isADR(w uint32) bool { return w&0x9f000000 == 0x10000000 }

// adr is the address that adr or adrp at a place yields.
func adr(pc uint64, w uint32) uint64 {
	distance := int64(w>>5&0x7ffff)<<45>>43 | int64(w>>29&3)
	if isADRP(w) {
		return pc&^0xfff + uint64(distance<<12)
	}
	return pc + uint64(distance)
}

// isAdd reports add of a constant to a register of 64 bits, isSub sub.
func isAdd(w uint32) bool { return w&0xff800000 == 0x91000000 }
func isSub(w uint32) bool { return w&0xff800000 == 0xd1000000 }

// constant is that of add and sub.
func constant(w uint32) uint64 {
	n := uint64(w >> 10 & 0xfff)
	if w>>22&1 == 1 {
		n <<= 12
	}
	return n
}

// bases yields the addresses that a register may hold; known is false if it may hold
// another value too.
func (f *flow) bases(s *state, r uint32, yield func(v value)) (known bool) {
	if r >= regSP {
		return false
	}
	switch v := s[r]; v.kind {
	case page, address:
		yield(v)
		return true
	case depends, unseen:
		for _, p := range f.pages[r] {
			yield(value{page, p})
		}
	}
	return false
}
