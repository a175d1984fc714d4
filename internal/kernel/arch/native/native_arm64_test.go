// SPDX-License-Identifier: BSD-3-Clause

package native

import (
	"encoding/binary"
	"slices"
	"testing"
)

// TestJumps: every b is found, forth and back, and nothing else is; yield ends it.
func TestJumps(t *testing.T) {
	var code []byte
	for _, w := range []uint32{0x14000004, 0xd503201f, 0x17fffffe, 0x94000004, 0x54000200} { // b, nop, b, bl, b.eq
		code = binary.LittleEndian.AppendUint32(code, w)
	}
	got := func(code []byte, addr uint64) (out []uint64) {
		Jumps(code, addr, func(target uint64) bool {
			out = append(out, target)
			return true
		})
		return out
	}
	want := []uint64{0x1010, 0x1000}
	if g := got(code, 0x1000); !slices.Equal(g, want) {
		t.Errorf("%#x, expected %#x", g, want)
	}
	if g := got(append([]byte{1, 2}, code...), 0xffe); !slices.Equal(g, want) {
		t.Errorf("from within an instruction: %#x, expected %#x", g, want)
	}
	n := 0
	Jumps(code, 0x1000, func(uint64) bool { n++; return false })
	if n != 1 {
		t.Errorf("%d calls, expected 1", n)
	}
}
