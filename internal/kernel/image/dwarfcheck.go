// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"plugsched/internal/elffile"
)

// maxDebugString is the longest string in .debug_str and .debug_line_str; the
// compiler's command line is some hundred bytes.
const maxDebugString = 64 << 10

// debugSections are the contents of .debug_NAME by NAME.
type debugSections map[string][]byte

// check refuses sections for which debug/dwarf would use memory out of
// proportion to their size: long strings that many entries share, and tables of
// abbreviations that overlap. It reads a table again for each place in it that a
// unit names.
func (s debugSections) check() error {
	for _, name := range []string{"str", "line_str"} {
		if err := elffile.CheckStrings(bytes.NewReader(s[name]), maxDebugString); err != nil {
			return fmt.Errorf(".debug_%s: %w", name, err)
		}
	}
	tables := abbrevOffsets(s["info"])
	for i, at := range tables {
		end := uint64(len(s["abbrev"]))
		if at >= end {
			break // an error of debug/dwarf's
		}
		if i+1 < len(tables) {
			end = min(end, tables[i+1])
		}
		if !abbrevsEnd(s["abbrev"][at:end]) {
			return fmt.Errorf(".debug_abbrev: the table at %#x has no end", at)
		}
	}
	return nil
}

// abbrevOffsets lists, in order, where the units' abbreviations begin.
func abbrevOffsets(info []byte) []uint64 {
	var out []uint64
	for c := (cursor{b: info}); len(c.b) > 0 && !c.short; {
		size, offsetSize := c.unitLength()
		if size > uint64(len(c.b)) {
			break
		}
		unit := cursor{b: c.b[:size]}
		c.skip(size)
		if unit.uint(2) >= 5 {
			unit.skip(2) // the unit's type, the size of an address
		}
		if at := unit.uint(offsetSize); !unit.short {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// formImplicitConst is DW_FORM_implicit_const, whose value is in the table.
const formImplicitConst = 0x21

// abbrevsEnd reports whether a table of abbreviations ends within b.
func abbrevsEnd(b []byte) bool {
	c := cursor{b: b}
	for c.leb() != 0 {
		c.leb() // the tag
		c.skip(1)
		for {
			attr, form := c.leb(), c.leb()
			if form == formImplicitConst {
				c.leb()
			}
			if attr == 0 && form == 0 {
				break
			}
		}
	}
	return !c.short
}

// checkLineTable refuses a line table whose header debug/dwarf (Go 1.26) would exhaust
// memory or panic over.
func checkLineTable(line []byte, at int64) error {
	if at < 0 || at > int64(len(line)) {
		return nil // an error of debug/dwarf's
	}
	c := cursor{b: line[at:]}
	_, offsetSize := c.unitLength()
	switch version := c.uint(2); version {
	case 2, 3, 4:
		c.skip(uint64(offsetSize) + 4) // header_length, four bytes up to line_range
		if version == 4 {
			c.skip(1) // maximum_operations_per_instruction
		}
		c.opcodeLengths()
		return c.checkFiles4()
	case 5:
		c.skip(2 + uint64(offsetSize) + 5) // sizes, header_length, five bytes up to line_range
		c.opcodeLengths()
		return c.checkFiles5(offsetSize)
	}
	return nil
}

func (c *cursor) opcodeLengths() { c.skip(max(c.uint(1), 1) - 1) }

// checkFiles4 refuses the number of a directory that is negative as an int, with which
// debug/dwarf indexes.
func (c *cursor) checkFiles4() error {
	for c.string() != "" { // directories
	}
	for c.string() != "" { // files
		if c.leb() > math.MaxInt {
			return errors.New("a file in a directory that there is not")
		}
		c.leb() // modification time
		c.leb() // size
	}
	return nil
}

// checkFiles5 refuses more directories or files than there are bytes: debug/dwarf makes
// room for them first.
func (c *cursor) checkFiles5(offsetSize int) error {
	for range 2 { // directories, files
		var forms []uint64
		for range c.uint(1) {
			c.leb() // what it is
			forms = append(forms, c.leb())
		}
		count := c.leb()
		if count > uint64(len(c.b)) {
			return errors.New("more files than it has bytes")
		}
		for range count {
			for _, f := range forms {
				c.form(f, offsetSize)
			}
			if c.short {
				return nil // an error of debug/dwarf's
			}
		}
	}
	return nil
}

// A cursor reads little-endian data. Behind its end everything is 0.
type cursor struct {
	b     []byte
	short bool // something was behind the end
}

func (c *cursor) skip(n uint64) {
	if n > uint64(len(c.b)) {
		c.b, c.short = nil, true
		return
	}
	c.b = c.b[n:]
}

func (c *cursor) uint(size int) uint64 {
	var word [8]byte
	copy(word[:size], c.b)
	c.skip(uint64(size))
	if c.short {
		return 0
	}
	return binary.LittleEndian.Uint64(word[:])
}

// string reads up to a 0, and "" where there is none.
func (c *cursor) string() string {
	s, rest, ok := bytes.Cut(c.b, []byte{0})
	if !ok {
		c.b, c.short = nil, true
		return ""
	}
	c.b = rest
	return string(s)
}

// leb reads a number of either LEB128 form; only 0 is told from the signed ones.
func (c *cursor) leb() uint64 {
	var v uint64
	for shift := 0; ; shift += 7 {
		b := c.uint(1)
		if shift < 64 {
			v |= b & 0x7f << shift
		}
		if b < 0x80 {
			return v
		}
	}
}

// unitLength reads the length at the head of a unit and how many bytes the
// unit's offsets have.
func (c *cursor) unitLength() (n uint64, offsetSize int) {
	if n = c.uint(4); n == 1<<32-1 {
		return c.uint(8), 8
	}
	return n, 4
}

// form skips a value in a line table (DWARF 5, 6.2.4.1).
func (c *cursor) form(form uint64, offsetSize int) {
	switch form {
	case 0x08: // string
		c.string()
	case 0x0e, 0x1d, 0x1f: // strp, strp_sup, line_strp
		c.skip(uint64(offsetSize))
	case 0x0f, 0x1a: // udata, strx
		c.leb()
	case 0x0b, 0x25: // data1, strx1
		c.skip(1)
	case 0x05, 0x26: // data2, strx2
		c.skip(2)
	case 0x27: // strx3
		c.skip(3)
	case 0x06, 0x28: // data4, strx4
		c.skip(4)
	case 0x07: // data8
		c.skip(8)
	case 0x1e: // data16
		c.skip(16)
	case 0x09: // block
		c.skip(c.leb())
	}
}
