// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"plugsched/internal/kernel/arch/isa"
)

// FrameAt is what the debug information (DWARF's .debug_frame, section 6.4 of its standard)
// says of the stack at an address.
func (p *Program) FrameAt(pc uint64) (*isa.Frame, error) {
	f, err := frameAt(p.frames, pc)
	if err != nil {
		return nil, fmt.Errorf("%s: .debug_frame %w", p.Path, err)
	}
	return f, nil
}

var errCutOff = errors.New("is cut off")

// frameAt finds the function's entry and runs its program up to the address.
func frameAt(section []byte, pc uint64) (*isa.Frame, error) {
	for rest := section; len(rest) >= 4; {
		n := uint64(binary.LittleEndian.Uint32(rest))
		if n >= 0xfffffff0 || n+4 > uint64(len(rest)) {
			return nil, errCutOff
		}
		entry := &cfiReader{b: rest[4 : 4+n]}
		rest = rest[4+n:]
		cie := entry.u32()
		if cie == 0xffffffff {
			continue
		}
		first, size := entry.u64(), entry.u64()
		if entry.short || pc-first >= size {
			continue
		}
		return runCFI(section, cie, entry.b, first, pc)
	}
	return nil, fmt.Errorf("says nothing of %#x", pc)
}

// cfi is the state of a program of DW_CFA instructions.
type cfi struct {
	frame   isa.Frame
	at      uint64 // the address from which on it holds
	code    uint64 // code_alignment_factor
	data    int64  // data_alignment_factor
	initial map[int]int64
	kept    []isa.Frame
}

// runCFI runs a CIE's instructions and those of a function, up to an address.
func runCFI(section []byte, cieAt uint32, program []byte, first, pc uint64) (*isa.Frame, error) {
	if uint64(cieAt)+8 > uint64(len(section)) {
		return nil, errCutOff
	}
	n := uint64(binary.LittleEndian.Uint32(section[cieAt:]))
	if n < 4 || uint64(cieAt)+4+n > uint64(len(section)) {
		return nil, errCutOff
	}
	r := &cfiReader{b: section[uint64(cieAt)+8 : uint64(cieAt)+4+n]}
	version := r.u8()
	if r.u8() != 0 {
		return nil, errors.New("has augmentations")
	}
	if version >= 4 {
		if address, segment := r.u8(), r.u8(); address != 8 || segment != 0 {
			return nil, errors.New("is not for addresses of 64 bits")
		}
	}
	c := &cfi{frame: isa.Frame{Saved: map[int]int64{}}, at: first}
	c.code, c.data = r.uleb(), r.sleb()
	r.uleb() // the return address's register
	if err := c.run(r, pc); err != nil {
		return nil, err
	}
	c.initial = maps.Clone(c.frame.Saved)
	if err := c.run(&cfiReader{b: program}, pc); err != nil {
		return nil, err
	}
	return &c.frame, nil
}

// run executes instructions until one is for code behind pc.
func (c *cfi) run(r *cfiReader, pc uint64) error {
	for len(r.b) > 0 && !r.short {
		op := r.u8()
		low := int(op & 0x3f)
		switch op >> 6 {
		case 1: // advance_loc
			if c.advance(uint64(low)) > pc {
				return nil
			}
			continue
		case 2: // offset
			c.frame.Saved[low] = int64(r.uleb()) * c.data
			continue
		case 3: // restore
			c.restore(low)
			continue
		}
		switch op {
		case 0x00: // nop
		case 0x02, 0x03, 0x04: // advance_loc1, 2, 4
			by := uint64(0)
			switch op {
			case 0x02:
				by = uint64(r.u8())
			case 0x03:
				by = uint64(r.u16())
			default:
				by = uint64(r.u32())
			}
			if c.advance(by) > pc {
				return nil
			}
		case 0x05: // offset_extended
			reg := int(r.uleb())
			c.frame.Saved[reg] = int64(r.uleb()) * c.data
		case 0x06: // restore_extended
			c.restore(int(r.uleb()))
		case 0x07, 0x08: // undefined, same_value
			delete(c.frame.Saved, int(r.uleb()))
		case 0x0a: // remember_state
			was := c.frame
			was.Saved = maps.Clone(was.Saved)
			c.kept = append(c.kept, was)
		case 0x0b: // restore_state
			n := len(c.kept)
			if n == 0 {
				return errors.New("restores a state that it did not keep")
			}
			c.frame, c.kept = c.kept[n-1], c.kept[:n-1]
		case 0x0c: // def_cfa
			c.frame.Base, c.frame.Offset = int(r.uleb()), int64(r.uleb())
		case 0x0d: // def_cfa_register
			c.frame.Base = int(r.uleb())
		case 0x0e: // def_cfa_offset
			c.frame.Offset = int64(r.uleb())
		case 0x2d: // negate_ra_state
			c.frame.Signed = !c.frame.Signed
		default:
			return fmt.Errorf("has the instruction %#x, which is not understood", op)
		}
	}
	if r.short {
		return errCutOff
	}
	return nil
}

func (c *cfi) advance(by uint64) uint64 {
	c.at += by * c.code
	return c.at
}

func (c *cfi) restore(reg int) {
	if at, ok := c.initial[reg]; ok {
		c.frame.Saved[reg] = at
	} else {
		delete(c.frame.Saved, reg)
	}
}

// A cfiReader takes numbers off its bytes. Where there are not enough, it is short.
type cfiReader struct {
	b     []byte
	short bool
}

func (r *cfiReader) take(n int) []byte {
	if len(r.b) < n {
		r.b, r.short = nil, true
		return make([]byte, n)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *cfiReader) u8() uint8   { return r.take(1)[0] }
func (r *cfiReader) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *cfiReader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *cfiReader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

// leb reads seven bits a byte, the lowest first, and returns how many they were.
func (r *cfiReader) leb() (v uint64, bits uint, last uint8) {
	for {
		last = r.u8()
		if bits < 64 {
			v |= uint64(last&0x7f) << bits
		}
		bits += 7
		if last < 0x80 {
			return v, bits, last
		}
	}
}

func (r *cfiReader) uleb() uint64 {
	v, _, _ := r.leb()
	return v
}

func (r *cfiReader) sleb() int64 {
	v, bits, last := r.leb()
	if last&0x40 != 0 && bits < 64 {
		v |= ^uint64(0) << bits
	}
	return int64(v)
}
