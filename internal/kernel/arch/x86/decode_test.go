// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/kernel/arch/isa"
)

const textBase = 0xffffffff81000000

func code(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRefs(t *testing.T) {
	ref := func(kind isa.RefKind, target uint64) []isa.Ref {
		return []isa.Ref{{Site: textBase, Target: textBase + target, Kind: kind}}
	}
	// movq $0x41b58ab3, -0x88(%rbp)
	const magic = "48 c7 85 78 ff ff ff b3 8a b5 41 "
	for _, c := range []struct {
		name, code string
		want       []isa.Ref
		undecoded  int
	}{
		{"call", "e8 fb 00 00 00", ref(isa.RefCall, 0x100), 0},
		{"call back", "e8 00 ff ff ff", []isa.Ref{{Site: textBase, Target: textBase - 0xfb, Kind: isa.RefCall}}, 0},
		{"jmp rel32", "e9 fb 00 00 00", ref(isa.RefJump, 0x100), 0},
		{"jmp rel32 with cs prefix", "2e e9 fa 00 00 00", ref(isa.RefJump, 0x100), 0},
		{"jmp rel8", "eb 10", ref(isa.RefJump, 0x12), 0},
		{"jcc rel8", "75 10", ref(isa.RefJump, 0x12), 0},
		{"jcc rel32", "0f 84 fa 00 00 00", ref(isa.RefJump, 0x100), 0},
		{"call through register", "ff d0", nil, 0},
		{"call through memory", "ff 14 c5 00 01 00 81", nil, 0},
		{"mov imm32 to 64-bit register", "48 c7 c7 00 01 00 81", ref(isa.RefAddress, 0x100), 0},
		{"mov imm32 to memory", "48 c7 43 08 00 01 00 81", ref(isa.RefAddress, 0x100), 0},
		{"movabs", "48 b8 00 01 00 81 ff ff ff ff", ref(isa.RefAddress, 0x100), 0},
		{"mov imm32 to 32-bit register", "bf 00 01 00 81", nil, 0},
		{"movl imm32 to memory", "c7 43 08 00 01 00 81", nil, 0},
		{"push imm32", "68 00 01 00 81", ref(isa.RefAddress, 0x100), 0},
		{"cmp imm32", "48 81 ff 00 01 00 81", ref(isa.RefOperand, 0x100), 0},
		{"lea rip", "48 8d 3d f9 00 00 00", ref(isa.RefAddress, 0x100), 0},
		{"lea rip, back", "48 8d 3d f9 fe ff ff", []isa.Ref{{Site: textBase, Target: textBase - 0x100, Kind: isa.RefAddress}}, 0},
		{"lea absolute", "48 8d 3c 25 00 01 00 81", ref(isa.RefAddress, 0x100), 0},
		{"lea with index", "48 8d 3c c5 00 01 00 81", nil, 0},
		{"load absolute", "48 8b 3c 25 00 01 00 81", nil, 0},
		{"load rip", "48 8b 3d f9 00 00 00", nil, 0},
		{"behind unknown instruction", "0f 01 ca e8 f8 00 00 00", []isa.Ref{{Site: textBase + 3, Target: textBase + 0x100,
			Kind: isa.RefCall}}, 0},
		{"behind Xen's prefix", "0f 0b 78 65 6e 0f a2 e8 f4 00 00 00",
			[]isa.Ref{{Site: textBase + 7, Target: textBase + 0x100, Kind: isa.RefCall}}, 0},
		{"behind no instruction", "06 06 e8 f9 00 00 00", []isa.Ref{{Site: textBase + 2, Target: textBase + 0x100, Kind: isa.RefCall}}, 2},
		{"in the frame's description", magic + "48 c7 45 88 00 00 00 81", nil, 0},
		{"beside the frame's description", magic + "48 c7 45 90 00 00 00 81", []isa.Ref{{Site: textBase + 11, Target: textBase,
			Kind: isa.RefAddress}}, 0},
		{"another address in the frame's description", magic + "48 c7 45 88 00 01 00 81", []isa.Ref{{Site: textBase + 11,
			Target: textBase + 0x100, Kind: isa.RefAddress}}, 0},
		{"cut off", "e8 00 00", nil, 1},
		{"nothing", "", nil, 0},
	} {
		var got []isa.Ref
		bad := Refs(code(t, c.code), textBase, func(r isa.Ref) {
			if r.Target > textBase-0x1000 && r.Target < textBase+0x1000 {
				got = append(got, r)
			}
		})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if bad != c.undecoded {
			t.Errorf("%s: %d bytes undecoded, want %d", c.name, bad, c.undecoded)
		}
	}
}

// The lengths are objdump's.
func TestUnknownLen(t *testing.T) {
	for _, c := range []struct{ name, code string }{
		{"clac", "0f 01 ca"},
		{"xgetbv", "0f 01 d0"},
		{"rdpid rax", "f3 0f c7 f8"},
		{"xsaves 0x40(%rdi)", "48 0f c7 6f 40"},
		{"vmcall", "0f 01 c1"},
		{"invpcid (%rsp),%rax", "66 0f 38 82 04 24"},
		{"gf2p8affineqb $1,%xmm1,%xmm0", "66 0f 3a ce c1 01"},
		{"vpaddd (%rax,%rcx,4),%ymm1,%ymm0", "c5 f5 fe 04 88"},
		{"vpshufd $0x4e,%xmm1,%xmm0", "c5 f9 70 c1 4e"},
		{"vpalignr $8,%ymm1,%ymm2,%ymm3", "c4 e3 6d 0f d9 08"},
		{"vpshufb 0x100(%rip),%xmm1,%xmm0", "c4 e2 71 00 05 00 01 00 00"},
		{"vprold $7,%zmm1,%zmm0", "62 f1 7d 48 72 c9 07"},
		{"vpternlogd $0x96,0x40(%rdi),%zmm1,%zmm0", "62 f3 75 48 25 47 01 96"},
	} {
		b := code(t, c.code)
		if got := unknownLen(append(b, 0x90, 0x90)); got != len(b) {
			t.Errorf("%s is %d bytes long, want %d", c.name, got, len(b))
		}
		for n := range b {
			if got := unknownLen(b[:n]); got > n {
				t.Errorf("%s, cut to %d bytes, is %d long", c.name, n, got)
			}
		}
	}
	for _, s := range []string{"06", "ff ff", "0f ff 00", ""} {
		if got := unknownLen(code(t, s)); got != 0 {
			t.Errorf("%q is %d bytes long, want unknown", s, got)
		}
	}
}

func TestJumpLabelSize(t *testing.T) {
	for s, want := range map[string]int{
		"66 90": 2, "eb 10": 2, "0f 1f 44 00 00": 5, "e9 00 01 00 00": 5, "": 5,
	} {
		if got := JumpLabelSize(code(t, s)); got != want {
			t.Errorf("%q is %d bytes, want %d", s, got, want)
		}
	}
}

func TestJumpLabelState(t *testing.T) {
	for s, want := range map[string][2]int{
		"66 90": {0, 2}, "0f 1f 44 00 00": {0, 5}, "eb 10": {2, 0}, "e9 00 01 00 00": {5, 0},
		"": {}, "66": {}, "eb": {}, "e9 00 01 00": {}, "0f 1f 44 00": {}, "90 90": {}, "0f 1f 40 00 00": {}, "66 66 90": {},
	} {
		if got := [2]int{JumpLabelJump(code(t, s)), JumpLabelNop(code(t, s))}; got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}

func TestAlternatives(t *testing.T) {
	const table, text, repl = 0x9000, 0x1000, 0xa000
	isText := func(a uint64) bool { return a >= text && a < text+0x100 }
	isRepl := func(a uint64) bool { return a >= repl && a < repl+0x100 }
	want := []isa.Alternative{
		{Site: text + 0x40, Replacement: repl, SiteLen: 5, ReplacementLen: 3},
		{Site: text, Replacement: repl + 3, SiteLen: 7, ReplacementLen: 7},
	}
	for _, l := range altSizes {
		var b []byte
		for i := range 6 { // several, so that a wrong size cannot fit by chance
			a := want[i%2]
			e := make([]byte, l.size)
			at := uint64(table + i*l.size)
			binary.LittleEndian.PutUint32(e, uint32(a.Site-at))
			binary.LittleEndian.PutUint32(e[4:], uint32(a.Replacement-at-4))
			e[8], e[9] = 0x12, 0x03
			e[l.lens], e[l.lens+1] = byte(a.SiteLen), byte(a.ReplacementLen)
			b = append(b, e...)
		}
		got, err := Alternatives(b, table, isText, isRepl)
		if err != nil || len(got) != 6 {
			t.Errorf("%d bytes an entry: %d entries, %v", l.size, len(got), err)
			continue
		}
		if diff := cmp.Diff([]isa.Alternative{want[0], want[1]}, []isa.Alternative{got[0], got[5]}); diff != "" {
			t.Errorf("%d bytes an entry (-want +got):\n%s", l.size, diff)
		}
	}
	if _, err := Alternatives(make([]byte, 7), table, isText, isRepl); err == nil {
		t.Error("a table of no known size: no error")
	}
	if got, err := Alternatives(nil, table, isText, isRepl); err != nil || len(got) != 0 {
		t.Errorf("an empty table: %v, %v", got, err)
	}
}
