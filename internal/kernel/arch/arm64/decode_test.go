// SPDX-License-Identifier: BSD-3-Clause

package arm64

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/kernel/arch/isa"
)

const textBase = 0xffff800008010000

// instructions are of all kinds, with what the assembler makes of them (TestAssembler), what
// they refer to, which memory they reach (register, distance, size; @ without one; w: writes,
// i: has an index), and which registers they change. A hint counts as one that changes what
// any does, and a load with an unknown part as one that changes its base.
var instructions = []struct {
	text    string
	word    uint32
	ref     string
	memory  string
	changes string
}{
	{"b . + 0x100", 0x14000040, "jump 0x100", "", ""},
	{"bl . - 0x100", 0x97ffffc0, "call -0x100", "", "30"},
	{"b.eq . + 0x40", 0x54000200, "jump 0x40", "", ""},
	{"cbz x3, . + 0x40", 0xb4000203, "jump 0x40", "", ""},
	{"cbnz w3, . - 0x40", 0x35fffe03, "jump -0x40", "", ""},
	{"tbz x3, #33, . + 0x20", 0xb6080103, "jump 0x20", "", ""},
	{"tbnz w3, #3, . - 0x20", 0x371fff03, "jump -0x20", "", ""},
	{"br x16", 0xd61f0200, "", "", ""},
	{"blr x8", 0xd63f0100, "", "", "30"},
	{"ret", 0xd65f03c0, "", "", ""},
	{"eret", 0xd69f03e0, "", "", ""},
	{"braaz x1", 0xd61f083f, "", "", ""},
	{"blraa x1, x2", 0xd73f0822, "", "", "30"},
	{"retaa", 0xd65f0bff, "", "", ""},
	{"adr x0, . + 0x1234", 0x100091a0, "address 0x1234", "@0x1234:0", "0"},
	{"adr x0, . - 0x1233", 0x30ff6e60, "address -0x1233", "@-0x1233:0", "0"},
	{"add x2, x1, #0x123", 0x91048c22, "", "1+0x123:0", "2"},
	{"add x2, x1, #0x123, lsl #12", 0x91448c22, "", "1+0x123000:0", "2"},
	{"sub sp, sp, #32", 0xd10083ff, "", "sp-0x20:0", ""},
	{"mov x3, x1", 0xaa0103e3, "", "", "3"},
	{"ldr x0, [x1, #0x18]", 0xf9400c20, "", "1+0x18:8", "0"},
	{"ldr w0, [x1, #0x18]", 0xb9401820, "", "1+0x18:4", "0"},
	{"str x0, [x1, #0x18]", 0xf9000c20, "", "1+0x18:8w", ""},
	{"ldrb w0, [x1, #3]", 0x39400c20, "", "1+0x3:1", "0"},
	{"strh w0, [x1, #6]", 0x79000c20, "", "1+0x6:2w", ""},
	{"ldur x0, [x1, #-8]", 0xf85f8020, "", "1-0x8:8", "0"},
	{"stur w0, [x1, #-4]", 0xb81fc020, "", "1-0x4:4w", ""},
	{"ldr x0, [x1], #16", 0xf8410420, "", "1+0x0:8", "0 1"},
	{"str x0, [x1, #-16]!", 0xf81f0c20, "", "1-0x10:8w", "1"},
	{"ldr x0, [x1, x2, lsl #3]", 0xf8627820, "", "1+0x0:8i", "0"},
	{"ldp x29, x30, [sp, #32]", 0xa9427bfd, "", "sp+0x20:16", "29 30"},
	{"stp x29, x30, [sp, #-48]!", 0xa9bd7bfd, "", "sp-0x30:16w", ""},
	{"ldp w0, w1, [x2], #8", 0x28c10440, "", "2+0x0:8", "0 1 2"},
	{"ldpsw x0, x1, [x2, #8]", 0x69410440, "", "2+0x8:8", "0 1"},
	{"ldr q0, [x1, #32]", 0x3dc00820, "", "1+0x20:16", ""},
	{"str d0, [x1, #8]", 0xfd000420, "", "1+0x8:8w", ""},
	{"stp q0, q1, [x2, #64]", 0xad020440, "", "2+0x40:32w", ""},
	{"ldr x0, . + 0x40", 0x58000200, "", "@0x40:8", "0"},
	{"ldrsw x0, [x1, #4]", 0xb9800420, "", "1+0x4:4", "0"},
	{"ldrsb x0, [x1]", 0x39800020, "", "1+0x0:1", "0"},
	{"prfm pldl1keep, [x1, #64]", 0xf9802020, "", "", ""},
	{"ldar x0, [x1]", 0xc8dffc20, "", "1+0x0:8", "0"},
	{"stlr w0, [x1]", 0x889ffc20, "", "1+0x0:4w", ""},
	{"ldxr x0, [x1]", 0xc85f7c20, "", "1+0x0:8", "0"},
	{"stxr w2, x0, [x1]", 0xc8027c20, "", "1+0x0:8w", "2"},
	{"ldxp x0, x3, [x1]", 0xc87f0c20, "", "1+0x0:16", "0 3"},
	{"cas x0, x2, [x1]", 0xc8a07c22, "", "1+0x0:8w", "0"},
	{"casp x0, x1, x2, x3, [x4]", 0x48207c82, "", "4+0x0:16w", "0 1"},
	{"ldadd x0, x2, [x1]", 0xf8200022, "", "1+0x0:8w", "0 2"},
	{"swpal w0, w2, [x1]", 0xb8e08022, "", "1+0x0:4w", "0 2"},
	{"stadd x0, [x1]", 0xf820003f, "", "1+0x0:8w", "0"},
	{"ldapr x0, [x1]", 0xf8bfc020, "", "1+0x0:8", "0"},
	{"ldapur x0, [x1, #-8]", 0xd95f8020, "", "1-0x8:8", "0 1"},
	{"stlur x0, [x1, #8]", 0xd9008020, "", "1+0x8:8w", ""},
	{"st1 {v0.16b}, [x1], #16", 0x4c9f7020, "", "1+0x0:16w", "1"},
	{"ld1 {v0.16b}, [x1]", 0x4c407020, "", "1+0x0:16", ""},
	{"mrs x0, sp_el0", 0xd5384100, "", "", "0"},
	{"msr sp_el0, x0", 0xd5184100, "", "", ""},
	{"paciasp", 0xd503233f, "", "", "17 30"},
	{"autiasp", 0xd50323bf, "", "", "17 30"},
	{"nop", 0xd503201f, "", "", "17 30"},
	{"isb", 0xd5033fdf, "", "", ""},
	{"dsb sy", 0xd5033f9f, "", "", ""},
	{"svc #0", 0xd4000001, "", "", "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18"},
	{"brk #0x800", 0xd4210000, "", "", ""},
	{"csel x0, x1, x2, eq", 0x9a820020, "", "", "0"},
	{"cmp x0, #1", 0xf100041f, "", "", ""},
	{"ccmp x0, x1, #0, eq", 0xfa410000, "", "", ""},
	{"madd x0, x1, x2, x3", 0x9b020c20, "", "", "0"},
	{"movz x0, #1", 0xd2800020, "", "", "0"},
	{"movk x0, #1, lsl #16", 0xf2a00020, "", "", "0"},
	{"ubfx x0, x1, #3, #4", 0xd3431820, "", "", "0"},
	{"orr x0, x1, x2", 0xaa020020, "", "", "0"},
	{"and x0, x1, #0xff", 0x92401c20, "", "", "0"},
	{"subs x0, x1, x2", 0xeb020020, "", "", "0"},
	{"ldraa x0, [x1, #8]", 0xf8201420, "", "1+0x8:8", "0 1"},
	{"fmov d0, x1", 0x9e670020, "", "", ""},
	{"udf #0", 0x00000000, "", "", ""},
	{"adc x0, x1, x2", 0x9a020020, "", "", "0"},
}

func code(words ...uint32) (out []byte) {
	for _, w := range words {
		out = binary.LittleEndian.AppendUint32(out, w)
	}
	return out
}

var kinds = map[isa.RefKind]string{isa.RefCall: "call", isa.RefJump: "jump", isa.RefAddress: "address", isa.RefOperand: "operand"}

func refs(code []byte) (out []string) {
	Refs(code, textBase, func(r isa.Ref) { out = append(out, fmt.Sprintf("%s %#x", kinds[r.Kind], int64(r.Target-textBase))) })
	return out
}

func operands(code []byte) (out []string) {
	MemoryOperands(code, textBase, func(m isa.Memory) {
		s := fmt.Sprintf("%d%+#x:%d", m.Reg, m.Disp, m.Size)
		switch {
		case m.Stack:
			s = fmt.Sprintf("sp%+#x:%d", m.Disp, m.Size)
		case !m.Based:
			s = fmt.Sprintf("@%#x:%d", m.Disp-int64(textBase-1<<64), m.Size)
		}
		for flag, is := range map[string]bool{"w": m.Write, "i": m.Index} {
			if is {
				s += flag
			}
		}
		out = append(out, s)
	})
	return out
}

func TestInstructions(t *testing.T) {
	for _, in := range instructions {
		c := code(in.word)
		if got := strings.Join(refs(c), ", "); got != in.ref {
			t.Errorf("%s: refers to %q, want %q", in.text, got, in.ref)
		}
		if got := strings.Join(operands(c), ", "); got != in.memory {
			t.Errorf("%s: reaches %q, want %q", in.text, got, in.memory)
		}
		var got []string
		for r := range regSP {
			if changes(in.word)>>r&1 == 1 {
				got = append(got, fmt.Sprint(r))
			}
		}
		if s := strings.Join(got, " "); s != in.changes {
			t.Errorf("%s: changes %q, want %q", in.text, s, in.changes)
		}
		if Size(c) != MaxInstruction || Size(c[:3]) != 0 {
			t.Errorf("%s: has %d bytes", in.text, Size(c))
		}
	}
}

// assembler is that of Debian's binutils-aarch64-linux-gnu.
const assembler = "aarch64-linux-gnu-as"

// object is what the assembler makes of a text.
func object(t *testing.T, text string) *elf.File {
	t.Helper()
	if _, err := exec.LookPath(assembler); err != nil {
		if os.Getenv("PLUGSCHED_NEED_TOOLS") != "" {
			t.Fatal(err)
		}
		t.Skipf("nothing was assembled: there is no %s (Debian: binutils-aarch64-linux-gnu)", assembler)
	}
	out := filepath.Join(t.TempDir(), "a.o")
	cmd := exec.Command(assembler, "-march=armv8.6-a", "-o", out, "-")
	cmd.Stdin = strings.NewReader(text)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	f, err := elf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestAssembler: the words of the tests are what their texts mean.
func TestAssembler(t *testing.T) {
	var text strings.Builder
	var want []uint32
	for _, in := range instructions {
		text.WriteString(in.text + "\n")
		want = append(want, in.word)
	}
	for _, in := range pages {
		text.WriteString(strings.ReplaceAll(in.text, ";", "\n") + "\n")
		want = append(want, in.words...)
	}
	got, err := object(t, text.String()).Section(".text").Data()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != MaxInstruction*len(want) {
		t.Fatalf("%d bytes of %d instructions", len(got), len(want))
	}
	for i, w := range want {
		if g := binary.LittleEndian.Uint32(got[i*MaxInstruction:]); g != w {
			t.Errorf("word %d is %08x, the assembler makes it %08x", i, w, g)
		}
	}
}

// pages are addresses that take more than one instruction.
var pages = []struct {
	name   string
	text   string
	words  []uint32
	refs   string
	memory string
}{
	{"the rest in an add", ".inst 0xb0000001; add x2, x1, #0x123",
		[]uint32{0xb0000001, 0x91048c22},
		"address 0x1123", "@0x1123:0"},
	{"a page behind", ".inst 0xf0ffffe1; add x2, x1, #8",
		[]uint32{0xf0ffffe1, 0x91002022},
		"address -0xff8", "@-0xff8:0"},
	{"the rest in a load", ".inst 0xb0000001; ldr x2, [x1, #8]",
		[]uint32{0xb0000001, 0xf9400422},
		"", "@0x1008:8"},
	{"of a member behind the whole", ".inst 0xb0000001; add x1, x1, #0x10; str w0, [x1, #4]",
		[]uint32{0xb0000001, 0x91004021, 0xb9000420},
		"address 0x1010", "@0x1010:0, @0x1014:4w"},
	{"moved", ".inst 0xb0000001; mov x3, x1; add x2, x3, #4",
		[]uint32{0xb0000001, 0xaa0103e3, 0x91001062},
		"address 0x1004", "@0x1004:0"},
	{"replaced by what it led to", ".inst 0xb0000001; ldr x1, [x1, #8]; ldr x0, [x1, #16]",
		[]uint32{0xb0000001, 0xf9400421, 0xf9400820},
		"", "@0x1008:8, 1+0x10:8"},
	{"a page alone", ".inst 0xb0000001; str x1, [x0]",
		[]uint32{0xb0000001, 0xf9000001},
		"address 0x1000", "0+0x0:8w"},
	{"over a call", ".inst 0xb0000013; bl . + 0x100; add x0, x19, #4",
		[]uint32{0xb0000013, 0x94000040, 0x91001260},
		"call 0x104, address 0x1004", "@0x1004:0"},
	{"its result is none", ".inst 0xb0000000; add x0, x0, #4; bl . + 0x100; ldr x1, [x0, #8]",
		[]uint32{0xb0000000, 0x91001000, 0x94000040, 0xf9400401},
		"address 0x1004, call 0x108", "@0x1004:0, 0+0x8:8"},
	{"over a branch", ".inst 0xb0000001; cbz x0, . + 8; nop; add x2, x1, #4",
		[]uint32{0xb0000001, 0xb4000040, 0xd503201f, 0x91001022},
		"jump 0xc, address 0x1004", "@0x1004:0"},
	{"one of two pages", ".inst 0xb0000001; cbz x0, . + 8; .inst 0xd0000001; add x2, x1, #4",
		[]uint32{0xb0000001, 0xb4000040, 0xd0000001, 0x91001022},
		"jump 0xc, address 0x1004, address 0x2004", "@0x1004:0, @0x2004:0, 1+0x4:0"},
	{"in a loop", ".inst 0xb0000001; add x2, x1, #4; sub x0, x0, #1; cbnz x0, . - 8",
		[]uint32{0xb0000001, 0x91001022, 0xd1000400, 0xb5ffffc0},
		"address 0x1004, jump 0x4", "@0x1004:0, 0-0x1:0"},
	{"by a table", ".inst 0xb0000001; add x2, x1, #8; br x16; add x2, x1, #4",
		[]uint32{0xb0000001, 0x91002022, 0xd61f0200, 0x91001022},
		"address 0x1008, address 0x1004", "@0x1008:0, @0x1004:0"},
	{"by one of two tables", ".inst 0xb0000001; add x2, x1, #8; br x16; .inst 0xd0000001; br x17; add x2, x1, #4",
		[]uint32{0xb0000001, 0x91002022, 0xd61f0200, 0xd0000001, 0xd61f0220, 0x91001022},
		"address 0x1008, address 0x1004, address 0x2004", "@0x1008:0, @0x1004:0, @0x2004:0, 1+0x4:0"},
	{"where no way is seen", ".inst 0xb0000001; add x2, x1, #8; ret; add x2, x1, #4",
		[]uint32{0xb0000001, 0x91002022, 0xd65f03c0, 0x91001022},
		"address 0x1008, address 0x1004", "@0x1008:0, @0x1004:0, 1+0x4:0"},
	{"by a way that is seen, and one that is not", ".inst 0xb0000001; add x1, x1, #8; b . + 8; nop; ldr x2, [x1, #8]",
		[]uint32{0xb0000001, 0x91002021, 0x14000002, 0xd503201f, 0xf9400422},
		"address 0x1008, jump 0x10", "@0x1008:0, @0x1010:8"},
	{"another one where no branch leads", ".inst 0xb0000001; add x2, x1, #8; ret; .inst 0xd0000001; add x2, x1, #4",
		[]uint32{0xb0000001, 0x91002022, 0xd65f03c0, 0xd0000001, 0x91001022},
		"address 0x1008, address 0x2004", "@0x1008:0, @0x2004:0"},
}

func TestPages(t *testing.T) {
	for _, in := range pages {
		c := code(in.words...)
		if got := strings.Join(refs(c), ", "); got != in.refs {
			t.Errorf("%s: refers to %q, want %q", in.name, got, in.refs)
		}
		if got := strings.Join(operands(c), ", "); got != in.memory {
			t.Errorf("%s: reaches %q, want %q", in.name, got, in.memory)
		}
	}
}

// TestUndecoded: data between code is stepped over, and counted.
func TestUndecoded(t *testing.T) {
	n := 0
	c := append(code(0x02345678, 0x94000040, 0x06000000, 0x00000001), 1, 2)
	got := Refs(c, textBase, func(r isa.Ref) { n++ })
	if n != 1 || got != 10 {
		t.Errorf("%d references, %d bytes undecoded", n, got)
	}
	if Size(c) != 0 {
		t.Error("data has a size")
	}
	if got := Refs(nil, textBase, nil); got != 0 {
		t.Error(got)
	}
}
