// SPDX-License-Identifier: BSD-3-Clause

package arm64

import (
	"encoding/binary"
	"slices"
	"testing"

	"plugsched/internal/kernel/arch/isa"
)

const (
	push    = 0xa9be7bfd // stp x29, x30, [sp, #-32]!
	point   = 0x910003fd // mov x29, sp
	pop     = 0xa8c27bfd // ldp x29, x30, [sp], #32
	saved   = 0xa90153f3 // stp x19, x20, [sp, #16]
	call    = 0x94001000 // bl, far away
	blr     = 0xd63f0020 // blr x1
	away    = 0x14001000 // b, far away
	over4   = 0xb4000080 // cbz x0, . + 16
	back3   = 0x17fffffd // b . - 12
	brkWarn = 0xd4210000 // brk #0x800
	jump    = 0xd61f0020 // br x1
	fault   = 0xf9400020 // ldr x0, [x1], which goes on three instructions later if it faults
)

func records(code []uint32, instead map[uint64][]uint64) []int {
	var bytes []byte
	for _, w := range code {
		bytes = binary.LittleEndian.AppendUint32(bytes, w)
	}
	t := &isa.Text{
		Bytes:   func(a uint64) []byte { return bytes[min(a-entry, uint64(len(bytes))):] },
		Patched: func(a uint64) (uint64, bool) { return entry + 16, a == entry+0x100 },
		Returns: func(a uint64) bool { return a != atFail },
		Instead: func(a uint64) []uint64 { return instead[a] },
		Fault: func(a uint64) uint64 {
			if a-entry < uint64(len(bytes)) && binary.LittleEndian.Uint32(bytes[a-entry:]) == fault {
				return a + 12
			}
			return 0
		},
	}
	var places []int
	for _, a := range Records(t, []isa.Part{{Addr: entry, Code: bytes}}).Bare {
		places = append(places, int(a-entry)/MaxInstruction)
	}
	return places
}

// TestRecords: a call is bare unless the record has been made whichever way led there.
func TestRecords(t *testing.T) {
	for _, tt := range []struct {
		name string
		code []uint32
		bare []int
	}{
		{"a record", []uint32{paciasp, push, point, saved, call, blr, pop, autiasp, ret}, nil},
		{"a record below locals", []uint32{paciasp, 0xd10103ff, 0xa9027bfd, 0x910083fd, call, 0xa9427bfd, 0x910103ff, ret}, nil},
		{"none", []uint32{call, ret}, []int{0}},
		{"x29 is set behind the call", []uint32{push, call, point, call, pop, ret}, []int{1}},
		{"stored behind the call", []uint32{0xd10083ff, point, call, 0xa9007bfd, call, ret}, []int{2, 4}},
		{"x29 is never set", []uint32{push, nop, call, pop, ret}, []int{2}},
		{"only x29 is stored", []uint32{0xf81e0ffd, point, call, ret}, []int{2}},
		{"the wrong way round", []uint32{0xa9be77fe, point, call, pop, ret}, []int{2}},      // stp x30, x29
		{"another register", []uint32{0xa9be4ffd, point, call, pop, ret}, []int{2}},         // stp x29, x19
		{"half of it", []uint32{0x29be7bfd, point, call, pop, ret}, []int{2}},               // stp w29, w30
		{"x29 elsewhere", []uint32{push, 0x910043fd, call, pop, ret}, []int{2}},             // add x29, sp, #16
		{"overwritten", []uint32{push, point, 0xf90007e0, call, pop, ret}, []int{3}},        // str x0, [sp, #8]
		{"beside it", []uint32{push, point, 0xf9000be0, call, pop, ret}, nil},               // str x0, [sp, #16]
		{"overwritten by a vector", []uint32{push, point, 0x3d8003e0, call, ret}, []int{3}}, // str q0, [sp]
		{"another return address", []uint32{0xaa0103fe, push, point, call, ret}, []int{3}},  // mov x30, x1
		{"a call before", []uint32{call, push, point, call, pop, ret}, []int{0, 3}},         //
		{"another x29", []uint32{0xaa0103fd, push, point, call, ret}, []int{3}},             // mov x29, x1
		{"behind its end", []uint32{push, point, pop, call, ret}, []int{3}},                 //
		{"popped and gone on", []uint32{push, point, call, pop, away}, nil},                 //
		{"gone on without popping", []uint32{push, point, call, away}, []int{3}},            //
		{"gone on at once", []uint32{away}, nil},                                            //
		{"one of two ways", []uint32{over4, push, point, nop, call, pop, ret}, []int{4}},    //
		{"both ways", []uint32{push, point, over4, nop, saved, nop, call, pop, ret}, nil},   //
		{"a way without", []uint32{over4, push, point, call, ret, ret}, nil},                // cbz to the first ret
		{"a loop", []uint32{push, point, call, over4, nop, back3, nop, pop, ret}, nil},      //
		{"a loop that takes it", []uint32{push, point, call, pop, back3 + 1}, []int{2}},     // b . - 8
		{"sp by a register", []uint32{push, point, 0xcb2063ff, call, 0x910003bf, pop, ret}, nil},
		{"sp above it", []uint32{push, point, 0x910083ff, call, ret}, []int{3}},   // add sp, sp, #32
		{"behind a trap", []uint32{push, point, brkWarn, call, pop, ret}, nil},    //
		{"behind a trap without", []uint32{brkWarn, call, ret}, []int{1}},         //
		{"where a table leads", []uint32{push, point, jump, call, pop, ret}, nil}, //
		{"where a table leads without", []uint32{jump, call, ret}, []int{1}},      //
		{"where a fault leads", []uint32{push, point, fault, pop, ret, call, ret}, nil},
		{"where a fault leads without", []uint32{fault, push, point, call, pop, ret}, []int{3}},
		{"where nothing leads", []uint32{push, point, ret, call, ret}, []int{3}}, //
	} {
		if got := records(tt.code, nil); !slices.Equal(got, tt.bare) {
			t.Errorf("%s: bare at %v, expected %v", tt.name, got, tt.bare)
		}
	}
}

// TestRecordsPatched: what the kernel puts in the place of instructions when it boots counts as well.
func TestRecordsPatched(t *testing.T) {
	code := []uint32{push, point, call, pop, ret, nop, call, over4}
	for _, tt := range []struct {
		name string
		at   int
		by   uint64
		bare []int
	}{
		{"by nothing", 1, entry + 4*5, []int{2}},
		{"by what is not known", 1, 0, []int{2}},
		{"the call", 2, 0, nil},
		{"the record, by a call", 0, entry + 4*6, []int{0, 2}},
	} {
		// The replacements themselves are code that nothing leads to.
		got := slices.DeleteFunc(records(code, map[uint64][]uint64{entry + 4*uint64(tt.at): {tt.by}}), func(i int) bool { return i > 4 })
		if !slices.Equal(got, tt.bare) {
			t.Errorf("%s: bare at %v, expected %v", tt.name, got, tt.bare)
		}
	}
}

// TestRecordsEach: of what makes the record of the kernel's own __schedule nothing may be left out or come behind a call.
func TestRecordsEach(t *testing.T) {
	if bare := records(shape(), nil); bare != nil {
		t.Fatalf("bare at %v", bare)
	}
	for _, i := range []int{3, 4} { // stp, add
		code := shape()
		code[i] = nop
		if len(records(code, nil)) == 0 {
			t.Errorf("without the instruction at %d no call is bare", i)
		}
		code = shape()
		code[i], code[iPrologue] = code[iPrologue], code[i]
		if len(records(code, nil)) == 0 {
			t.Errorf("with the instruction at %d behind the call none is bare", i)
		}
	}
}
