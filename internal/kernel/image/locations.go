// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"debug/dwarf"
	"sort"
)

// interval says that a register holds a value while the code of [lo, hi) runs.
type interval struct {
	lo, hi uint64
	reg    int // DWARF's number
}

// opReg0 is DW_OP_reg0: the value is in a register, whose number follows.
const opReg0, opReg31 = 0x50, 0x6f

// inRegister returns the register of a location that is one.
func inRegister(expr []byte) (int, bool) {
	if len(expr) == 1 && expr[0] >= opReg0 && expr[0] <= opReg31 {
		return int(expr[0] - opReg0), true
	}
	return 0, false
}

// registers returns where a variable's location list says that it is in a register.
// A list that is damaged, or of a kind that gcc does not write, ends early.
func (di *debugInfo) registers(u *unit, at int64) []interval {
	base, _ := u.entry.Val(dwarf.AttrLowpc).(uint64)
	if di.version(u) >= 5 {
		return locations5(di.loclists, at, base)
	}
	return locations4(di.loc, at, base)
}

// version is the DWARF version of a unit.
func (di *debugInfo) version(u *unit) int {
	i := sort.Search(len(di.headers), func(i int) bool { return di.headers[i].at > u.entry.Offset })
	if i == 0 {
		return 0
	}
	return di.headers[i-1].version
}

type unitHeader struct {
	at      dwarf.Offset
	version int
}

// unitHeaders reads the versions of all units in .debug_info.
func unitHeaders(info []byte) []unitHeader {
	var out []unitHeader
	c := cursor{b: info}
	for len(c.b) > 0 && !c.short {
		at := dwarf.Offset(len(info) - len(c.b))
		size, _ := c.unitLength()
		rest := c
		out = append(out, unitHeader{at, int(rest.uint(2))})
		c.skip(size)
	}
	return out
}

// Entries of .debug_loclists (DWARF 5, section 7.7.3).
const (
	lleOffsetPair  = 4
	lleDefault     = 5
	lleBaseAddress = 6
	lleStartEnd    = 7
	lleStartLength = 8
)

func locations5(sec []byte, at int64, base uint64) []interval {
	if at < 0 || at > int64(len(sec)) {
		return nil
	}
	var out []interval
	c := cursor{b: sec[at:]}
	for !c.short {
		var lo, hi uint64
		switch c.uint(1) {
		case lleOffsetPair:
			lo = base + c.leb()
			hi = base + c.leb()
		case lleBaseAddress:
			base = c.uint(8)
			continue
		case lleStartEnd:
			lo, hi = c.uint(8), c.uint(8)
		case lleStartLength:
			lo = c.uint(8)
			hi = lo + c.leb()
		case lleDefault:
		default: // DW_LLE_end_of_list
			return out
		}
		out = c.register(out, lo, hi, c.leb())
	}
	return out
}

func locations4(sec []byte, at int64, base uint64) []interval {
	if at < 0 || at > int64(len(sec)) {
		return nil
	}
	var out []interval
	c := cursor{b: sec[at:]}
	for !c.short {
		lo, hi := c.uint(8), c.uint(8)
		switch {
		case lo == 0 && hi == 0:
			return out
		case lo == ^uint64(0):
			base = hi
		default:
			out = c.register(out, base+lo, base+hi, c.uint(2))
		}
	}
	return out
}

// register reads an expression of n bytes.
func (c *cursor) register(out []interval, lo, hi, n uint64) []interval {
	if n > uint64(len(c.b)) {
		c.short = true
		return out
	}
	if reg, ok := inRegister(c.b[:n]); ok && lo < hi {
		out = append(out, interval{lo, hi, reg})
	}
	c.skip(n)
	return out
}
