// SPDX-License-Identifier: BSD-3-Clause

package arm64

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/kernel/arch/isa"
)

// Places of other functions than the one in test, whose code is at entry.
const (
	entry, atSwitch, atFinish, atFail, atElsewhere = 0x10000, 0x20000, 0x20100, 0x20200, 0x20300
)

// toward is bl or b at the i-th instruction of the function to a place.
func toward(opcode uint32, i int, to uint64) uint32 {
	return opcode | uint32(int64(to-entry)/MaxInstruction-int64(i))&imm26
}

const bl, b = 0x94000000, 0x14000000

// Instructions of the shape below by what they are for.
const (
	iPrologue = 12 // bl __switch_to
	iFinish   = 13
	iTask     = 14
	iSlot     = 15
	iCompare  = 17
	iBranch   = 19
	iRestore  = 20
	iPop      = 26
	iAuth     = 27
	iReturn   = 28
	iFail     = 29
)

// shape is the code that gcc-12 makes of Debian's 6.1, without what is between the prologue and the switch.
func shape() []uint32 {
	w := []uint32{
		paciasp,
		0xd10203ff,                                                 // sub sp, sp, #0x80
		0xd5384101,                                                 // mrs x1, sp_el0
		0xa9027bfd,                                                 // stp x29, x30, [sp, #32]
		0x910083fd,                                                 // add x29, sp, #0x20
		0xa90353f3, 0xa9045bf5, 0xa90563f7, 0xa9066bf9, 0xa90773fb, // stp x19, x20, [sp, #48] ... x27, x28, [sp, #112]
		0xf942a820, // ldr x0, [x1, #1360]
		0xf81f83a0, // stur x0, [x29, #-8]
		0, 0,
		0xd5384100,                                                 // mrs x0, sp_el0
		0xf85f83a2,                                                 // ldur x2, [x29, #-8]
		0xf942a801,                                                 // ldr x1, [x0, #1360]
		0xeb010042,                                                 // subs x2, x2, x1
		0xd2800001,                                                 // mov x1, #0
		0x54000141,                                                 // b.ne iFail
		0xa9427bfd,                                                 // ldp x29, x30, [sp, #32]
		0xa94353f3, 0xa9445bf5, 0xa94563f7, 0xa9466bf9, 0xa94773fb, // ldp x19, x20, [sp, #48] ... x27, x28, [sp, #112]
		0x910203ff, // add sp, sp, #0x80
		autiasp,
		ret,
		0,
	}
	w[iPrologue], w[iFinish], w[iFail] = toward(bl, iPrologue, atSwitch), toward(bl, iFinish, atFinish), toward(bl, iFail, atFail)
	return w
}

// rowOf is what debug information says of the shape's frame.
func rowOf() *isa.Frame {
	f := &isa.Frame{Base: regFrame, Offset: 0x60, Saved: map[int]int64{29: -96, 30: -88}, Signed: true}
	for i := range 10 {
		f.Saved[19+i] = int64(-80 + 8*i)
	}
	return f
}

func routine(code []uint32, row *isa.Frame) *isa.Routine {
	var bytes []byte
	for _, w := range code {
		bytes = binary.LittleEndian.AppendUint32(bytes, w)
	}
	names := map[uint64]string{entry: "__schedule", atSwitch: switchTo, atFinish: "finish_task_switch", atFail: "__stack_chk_fail",
		atElsewhere: "elsewhere"}
	within := func(a uint64) bool { return a-entry < uint64(len(bytes)) }
	return &isa.Routine{
		Text: &isa.Text{
			Bytes: func(a uint64) []byte {
				if !within(a) {
					return nil
				}
				return bytes[a-entry:]
			},
			Within:   within,
			Patched:  func(uint64) (uint64, bool) { return 0, false },
			Returns:  func(a uint64) bool { return a != atFail },
			Replaced: func(uint64, int) bool { return false },
		},
		Entry: entry,
		Frame: func(uint64) (*isa.Frame, error) {
			f := *row
			f.Saved = maps.Clone(f.Saved)
			return &f, nil
		},
		Name:    func(a uint64) string { return names[a] },
		Symbols: func(a uint64) []string { return []string{names[a]} },
	}
}

func TestSpringboard(t *testing.T) {
	s, err := ProveSpringboard(routine(shape(), rowOf()))
	if err != nil {
		t.Fatal(err)
	}
	var saved []Slot
	for r := uint32(28); r >= 19; r-- {
		saved = append(saved, Slot{r, -8 * int64(29-r)})
	}
	want := &Springboard{Call: 4 * iPrologue, Return: 4 * iFinish, Depth: 0x80, Frame: 0x60, Signed: true, Canary: -104, Guard: 1360,
		Saved: append(saved, Slot{30, -88}, Slot{29, -96}), Callees: []string{"__stack_chk_fail", "finish_task_switch"},
		Reads: []string{"return value (x0)", "saved registers", "the return address's signature", "stack protector's slot (sp+24)",
			"stack protector's value"}}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	text := s.Assembly()
	for _, line := range []string{"paciasp", "sub\tsp, sp, #128", "str\tx19, [sp, #48]", "str\tx30, [sp, #40]", "add\tx29, sp, #32",
		"ldr\tx16, [x16, #1360]", "str\tx16, [sp, #24]", "ldr\tx28, [sp, #120]", "autiasp", "b\t__orig___schedule + 48"} {
		if !strings.Contains(text, "\t"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
}

// TestUnsigned: a kernel without pointer authentication has neither instruction, and the stub has none.
func TestUnsigned(t *testing.T) {
	code, row := shape(), rowOf()
	code[0], code[iAuth], row.Signed = nop, nop, false
	s, err := ProveSpringboard(routine(code, row))
	if err != nil || s.Signed || strings.Contains(s.Assembly(), "iasp") {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestSpringboardRefuses: each change of the code that makes it need more is refused, and says what.
func TestSpringboardRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   int
		word uint32
		want string
	}{
		{"a register of the frame's", iSlot, 0xaa1303e2, "reads x19"},                      // mov x2, x19
		{"an argument", iCompare, 0xeb030042, "reads x3"},                                  // subs x2, x2, x3
		{"a local variable", iSlot, 0xf85e83a2, "reads the frame at sp+8"},                 // ldur x2, [x29, #-24]
		{"half of the slot and half of another", iSlot, 0xf85f43a2, "reads the frame"},     // ldur x2, [x29, #-12]
		{"the frame's address", iSlot, 0x910003e2, "takes the frame's address"},            // mov x2, sp
		{"flags of before", iCompare, nop, "branches by flags"},                            //
		{"a register by a branch", iBranch, 0xb5000153, "reads x19"},                       // cbnz x19
		{"a bit of one", iBranch, 0x37000153, "reads x19"},                                 // tbnz w19, #0
		{"the slot, written", iSlot, 0xf81f83a0, "into the stack protector's slot"},        // stur x0, [x29, #-8]
		{"a saved register, written", iSlot, 0xf9001be0, "into the caller's x19"},          // str x0, [sp, #48]
		{"a word of another's, by a register", iSlot, 0xf9400262, "reads x19"},             // ldr x2, [x19]
		{"the caller's frame", iSlot, 0xf90043e0, "outside of its frame"},                  // str x0, [sp, #128]
		{"another's x19", iRestore + 1, 0xa94453f3, "without the caller's x19"},            // ldp x19, x20, [sp, #64]
		{"registers not given back", iRestore + 5, nop, "without the caller's x27"},        //
		{"no return address", iRestore, nop, "another return address"},                     //
		{"no return address's place", iRestore, 0xa94353f3, "another return address"},      // ldp x19, x20, [sp, #48]
		{"the stack is left", iPop, nop, "authenticates another return address"},           //
		{"too much is popped", iPop, 0x910243ff, "leaves its own frame"},                   // add sp, sp, #0x90
		{"not authenticated", iAuth, nop, "a signed return address"},                       //
		{"by the other key", iAuth, 0xd50323ff, "is not understood"},                       // autibsp
		{"twice", iPop, autiasp, "authenticates another return address"},                   //
		{"an indirect return", iReturn, 0xd61f03c0, "where a register says"},               // br x30
		{"another register's", iReturn, 0xd65f0260, "where a register says"},               // ret x19
		{"a tail call", iSlot, toward(b, iSlot, atElsewhere), "leaves for elsewhere with"}, //
		{"a call of what is no function", iTask, toward(bl, iTask, 0x30000), "calls"},      //
		{"a call by register", iTask, 0xd63f0260, "where a register says"},                 // blr x19
		{"a trap", iTask, 0xd4210000, "is not understood"},                                 // brk #0x800
		{"a register of the system", iTask, 0xd53bd040, "is not understood"},               // mrs x0, tpidr_el0
		{"an atomic", iSlot, 0xf8e00022, "is not understood"},                              // ldaddal x0, x2, [x1]
		{"a vector", iSlot, 0x3dc003e0, "is not understood"},                               // ldr q0, [sp]
		{"sp by another way", iSlot, 0x8b2063ff, "is not understood"},                      // add sp, sp, x0
		{"data", iTask, 0x00000001, "is not understood"},                                   // udf
		{"flags of a call", iTask, 0xeb00001f, ""},                                         // cmp x0, x0: those are known
		{"a mask", iTask, 0x92401c00, "is not understood"},                                 // and x0, x0, #0xff
		{"a frame that is made anew", iTask, 0xa9bf7bfd, "takes the frame's address"},      // stp x29, x30, [sp, #-16]!
		{"x29 moved", iTask, 0x910003fd, "reads the frame"},                                // mov x29, sp
		{"prologue: sp by a register", 2, 0xcb2163ff, "moves the stack pointer"},           // sub sp, sp, x1
		{"prologue: no record", 4, nop, "no frame record"},                                 //
		{"prologue: other depth", 1, 0xd10243ff, "by the code, and 96 by its debug"},       // sub sp, sp, #0x90
		{"prologue: no switch", iPrologue, nop, "0 times"},                                 //
		{"prologue: the slot has something else", 10, 0xf9400400, "reads the frame"},       // ldr x0, [x0, #8]
	} {
		code := shape()
		code[tt.at] = tt.word
		_, err := ProveSpringboard(routine(code, rowOf()))
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, expected %q", tt.name, err, tt.want)
		}
	}
}

// TestFrameRefuses: the compiler's debug information and the code have to say the same.
func TestFrameRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*isa.Frame)
		want   string
	}{
		{"base", func(f *isa.Frame) { f.Base = 19 }, "register 19"},
		{"offset", func(f *isa.Frame) { f.Offset += 16 }, "by the code"},
		{"not saved", func(f *isa.Frame) { delete(f.Saved, 28) }, "does not hold the caller's x28"},
		{"outside", func(f *isa.Frame) { f.Saved[28] = 8 }, "outside"},
		{"twice", func(f *isa.Frame) { f.Saved[28] = f.Saved[27] }, "in one place"},
		{"record", func(f *isa.Frame) { f.Saved[29], f.Saved[30] = f.Saved[30], f.Saved[29] }, "frame record"},
		{"not signed", func(f *isa.Frame) { f.Signed = false }, "not signed"},
	} {
		row := rowOf()
		tt.change(row)
		if _, err := ProveSpringboard(routine(shape(), row)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, expected %q", tt.name, err, tt.want)
		}
	}
}

// TestNop: of the instructions behind the switch only those may be left out that nothing of it goes by.
func TestNop(t *testing.T) {
	var spare []int
	for i := iFinish; i < iFail; i++ {
		code := shape()
		code[i] = nop
		if _, err := ProveSpringboard(routine(code, rowOf())); err == nil {
			spare = append(spare, i)
		}
	}
	// finish_task_switch(), the task's address (x0 is the call's value then), the cleared register, the branch.
	if want := []int{iFinish, iTask, 18, iBranch}; !slices.Equal(spare, want) {
		t.Errorf("%v may be left out, expected %v", spare, want)
	}
}
