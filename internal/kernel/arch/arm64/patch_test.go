// SPDX-License-Identifier: BSD-3-Clause

package arm64

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/kernel/arch/isa"
)

// TestBranch: every direct branch, and its field, are known; nothing else is taken for one.
func TestBranch(t *testing.T) {
	direct := map[string]bool{"b": true, "bl": true, "b.eq": true, "cbz": true, "cbnz": true, "tbz": true, "tbnz": true}
	for _, in := range instructions {
		name, _, _ := strings.Cut(in.text, " ")
		b, ok := Branch(code(in.word))
		if ok != direct[name] {
			t.Errorf("%s is a direct branch: %v", in.text, ok)
		}
		if !ok {
			continue
		}
		got := refs(code(in.word))
		if len(got) != 1 || !strings.HasSuffix(got[0], strings.Fields(in.ref)[1]) || b.Offset != 0 || !b.Field.Branch {
			t.Errorf("%s: %+v, %q", in.text, b, got)
		}
		// Without its field a branch is the same wherever it leads.
		c := code(in.word)
		b.Field.Clear(c)
		b.Field.Clear(c)
		if again, ok := Branch(c); !ok || again.Distance != 0 {
			t.Errorf("%s without its field: %+v, %v", in.text, again, ok)
		}
	}
	if _, ok := Branch([]byte{0, 0, 0}); ok {
		t.Error("half an instruction is a branch")
	}
}

// relocated is an instruction with each relocation, as the compiler writes it.
const relocated = `
	.quad	a
	.quad	a - .
	.long	a - .
	bl	a
	b	a
	b.eq	a
	tbz	x3, #3, a
	ldr	x0, a
	adr	x0, a
	adrp	x1, a
	add	x1, x1, :lo12:a
	ldrb	w0, [x1, :lo12:a]
	ldrh	w0, [x1, :lo12:a]
	ldr	w0, [x1, :lo12:a]
	ldr	x0, [x1, :lo12:a]
	ldr	q0, [x1, :lo12:a]
`

// TestField: a relocation's field is that of the instruction that it is for, all of it and no more: with every bit of
// it set, the assembler's word differs in nothing else.
func TestField(t *testing.T) {
	for _, c := range []struct {
		kind   elf.R_AARCH64
		field  uint32
		branch bool
		word   uint32 // as assembled, without the field
	}{
		{elf.R_AARCH64_CALL26, 0x03ffffff, true, 0x94000000},
		{elf.R_AARCH64_JUMP26, 0x03ffffff, true, 0x14000000},
		{elf.R_AARCH64_CONDBR19, 0x00ffffe0, true, 0x54000000},
		{elf.R_AARCH64_TSTBR14, 0x0007ffe0, true, 0x36180003},
		{elf.R_AARCH64_LD_PREL_LO19, 0x00ffffe0, false, 0x58000000},
		{elf.R_AARCH64_ADR_PREL_LO21, 0x60ffffe0, false, 0x10000000},
		{elf.R_AARCH64_ADR_PREL_PG_HI21, 0x60ffffe0, false, 0x90000001},
		{elf.R_AARCH64_ADD_ABS_LO12_NC, 0x003ffc00, false, 0x91000021},
		{elf.R_AARCH64_LDST8_ABS_LO12_NC, 0x003ffc00, false, 0x39400020},
		{elf.R_AARCH64_LDST16_ABS_LO12_NC, 0x003ffc00, false, 0x79400020},
		{elf.R_AARCH64_LDST32_ABS_LO12_NC, 0x003ffc00, false, 0xb9400020},
		{elf.R_AARCH64_LDST64_ABS_LO12_NC, 0x003ffc00, false, 0xf9400020},
		{elf.R_AARCH64_LDST128_ABS_LO12_NC, 0x003ffc00, false, 0x3dc00020},
		{elf.R_AARCH64_ABS32, 0xffffffff, false, 0},
		{elf.R_AARCH64_PREL32, 0xffffffff, false, 0},
	} {
		f := Field(uint32(c.kind))
		if got := binary.LittleEndian.Uint32(f.Mask); got != c.field || f.Branch != c.branch || f.Bias != 0 {
			t.Errorf("%v: %#x, %+v", c.kind, got, f)
		}
		filled := code(c.word | c.field)
		f.Clear(filled)
		if got := binary.LittleEndian.Uint32(filled); got != c.word {
			t.Errorf("%v: %#x is left, want %#x", c.kind, got, c.word)
		}
		if got := IsBranch(uint32(c.kind), filled, 0); got != c.branch {
			t.Errorf("%v is a branch: %v", c.kind, got)
		}
	}
	for _, k := range []elf.R_AARCH64{elf.R_AARCH64_ABS64, elf.R_AARCH64_PREL64} {
		if f := Field(uint32(k)); !bytes.Equal(f.Mask, bytes.Repeat([]byte{0xff}, 8)) {
			t.Errorf("%v: %x", k, f.Mask)
		}
	}
	if f := Field(uint32(elf.R_AARCH64_TLSDESC_CALL)); f.Mask != nil || f.Branch {
		t.Errorf("an unknown relocation fills in %+v", f)
	}
}

// TestRelocations: what the assembler makes a relocation of has the fields of TestField, zeros, in its words.
func TestRelocations(t *testing.T) {
	f := object(t, relocated)
	text, err := f.Section(".text").Data()
	if err != nil {
		t.Fatal(err)
	}
	rela, err := f.Section(".rela.text").Data()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(rela) / 24; n != strings.Count(relocated, "\t")/2 {
		t.Errorf("%d relocations", n)
	}
	for ; len(rela) > 0; rela = rela[24:] {
		at, kind := binary.LittleEndian.Uint64(rela), binary.LittleEndian.Uint32(rela[8:])
		field := Field(kind)
		if len(field.Mask) == 0 {
			t.Errorf("%v is not known", elf.R_AARCH64(kind))
		}
		for i, m := range field.Mask {
			if text[at+uint64(i)]&m != 0 {
				t.Errorf("%v: the field is not empty: % x", elf.R_AARCH64(kind), text[at:at+8])
			}
		}
		if _, ok := Branch(text[at:]); ok != field.Branch {
			t.Errorf("%v is for a branch: %v", elf.R_AARCH64(kind), ok)
		}
	}
}

func TestMnemonics(t *testing.T) {
	for name, want := range map[string]bool{"b": true, "bl": true, "beq": true, "b.eq": true, "bhi": true, "b.hi": true, "cbz": true,
		"tbnz": true, "br": false, "blr": false, "bic": false, "bfi": false, "brk": false, "bti": false, "add": false, "": false} {
		if BranchMnemonic(name) != want {
			t.Errorf("%s is a branch: %v", name, !want)
		}
	}
	if PrefixMnemonic("b") {
		t.Error("there are no prefixes")
	}
}

// TestIsSymbol: symbols are told from the names of registers, conditions and macros' arguments by where they are.
func TestIsSymbol(t *testing.T) {
	for statement, want := range map[string]bool{
		"bl\t": true, "b.eq\t": true, "beq\t": true, "cbz\tx0, ": true, "cbz\t": false, "tbz\tw0, #31, ": true, "tbz\tw0, ": false,
		"adrp\tx0, ": true, "adrp\t": false, "add\tx0, x1, :lo12:": true, "add\tx0, x1, :": false, "ldr\tx0, [x1, #:lo12:": true,
		"ldr\tx0, [": false, "ldr\tx0, =": true, "mrs\tx0, ": false, "csel\tx0, x1, x2, ": false, "dmb\t": false, "br\t": false,
		".quad\t": true, ".set\ta, ": true, ".macro\t": false, ".arch_extension\t": false, ".purgem\t": false,
	} {
		mnemonic, _, _ := strings.Cut(statement, "\t")
		if got := IsSymbol(mnemonic, statement); got != want {
			t.Errorf("a symbol behind %q: %v", statement, got)
		}
	}
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		word      uint32
		jump, nop int
	}{{0x14000040, 4, 0}, {0xd503201f, 0, 4}, {0x94000040, 0, 0}, {0xd503233f, 0, 0}} {
		b := code(c.word)
		if JumpLabelJump(b) != c.jump || JumpLabelNop(b) != c.nop || JumpLabelSize(b) != 4 {
			t.Errorf("%08x: %d, %d, %d", c.word, JumpLabelJump(b), JumpLabelNop(b), JumpLabelSize(b))
		}
	}
	if JumpLabelJump(nil) != 0 || JumpLabelNop(nil) != 0 {
		t.Error("nothing is a key's site")
	}
}

func TestAlternatives(t *testing.T) {
	const table, text, replacement = 0xffff8000093f66d8, 0xffff800008014348, 0xffff800008014fd0
	entry := func(at, site, repl uint64, siteLen, replLen byte) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(site-at))
		b = binary.LittleEndian.AppendUint32(b, uint32(repl-at-4))
		return append(b, 37, 0, siteLen, replLen)
	}
	isText := func(a uint64) bool { return a == text || a == text+8 }
	isReplacement := func(a uint64) bool { return a == replacement }
	b := slices.Concat(entry(table, text, replacement, 4, 4), entry(table+12, text+8, 0xffff800008055555, 8, 0))
	got, err := Alternatives(b, table, isText, isReplacement)
	want := []isa.Alternative{{Site: text, Replacement: replacement, SiteLen: 4, ReplacementLen: 4},
		{Site: text + 8, Replacement: 0xffff800008055555, SiteLen: 8}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%#x, %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"cut off":                    b[:23],
		"a site elsewhere":           entry(table, text+4, replacement, 4, 4),
		"a replacement that is none": entry(table, text, replacement+4, 4, 4),
	} {
		if got, err := Alternatives(bad, table, isText, isReplacement); err == nil {
			t.Errorf("%s: %#x", name, got)
		}
	}
}

// TestTail: all paths are followed, those of static keys and behind a warning too, and
// nothing behind a call that does not return.
func TestTail(t *testing.T) {
	const start, failure, called, tailed = 0x1000, 0x3000, 0x3100, 0x3200
	branch := func(op uint32, at, to uint64) uint32 { return op | uint32(int64(to-at)/4)&0x3ffffff }
	words := map[uint64]uint32{
		0x1000: 0xb4000000 | 6<<5, // cbz x0, 0x1018
		0x1004: nop,               // a static key's site, for 0x1020
		0x1008: branch(0x94000000, 0x1008, called),
		0x100c: 0xd4210000, // brk of a warning
		0x1010: branch(0x14000000, 0x1010, tailed),
		0x1018: branch(0x94000000, 0x1018, failure),
		0x101c: branch(0x94000000, 0x101c, 0x3300), // never reached
		0x1020: 0xd63f0100,                         // blr
		0x1024: 0xd65f03c0,
	}
	tx := &isa.Text{
		Bytes: func(a uint64) []byte {
			if w, ok := words[a]; ok {
				return code(w)
			}
			return nil
		},
		Within:  func(a uint64) bool { return a < 0x3000 },
		Patched: func(a uint64) (uint64, bool) { return 0x1020, a == 0x1004 },
		Returns: func(a uint64) bool { return a != failure },
	}
	got, err := Tail(tx, start)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.Calls)
	if !slices.Equal(got.Calls, []uint64{failure, called, tailed}) || !slices.Equal(got.Keys, []uint64{0x1004}) {
		t.Errorf("%#x", *got)
	}
	words[0x1024] = 0x02000000
	if _, err := Tail(tx, start); err == nil {
		t.Error("code that cannot be decoded is no error")
	}
}

func TestBootVersion(t *testing.T) {
	image := make([]byte, 4096)
	copy(image[magicAt:], "ARM\x64")
	const who = "Linux version 6.1.0-57-cloud-arm64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld 2.40) "
	weak, banner := who+"# SMP Debian 6.1.192-3 (2026-11-26)\n\x00", who+"#1 SMP Debian 6.1.192-3 (2026-11-26)\n\x00"
	full := string(image) + "\x00%s version %s\x00" + weak + banner
	v, err := BootVersion(strings.NewReader(full))
	if want := "6.1.0-57-cloud-arm64 (debian-kernel@lists.debian.org) #1 SMP Debian 6.1.192-3 (2026-11-26)"; err != nil || v != want {
		t.Errorf("%q, %v", v, err)
	}
	for name, bad := range map[string]string{"no banner": string(image), "another file": banner, "nothing": ""} {
		if v, err := BootVersion(strings.NewReader(bad)); err == nil {
			t.Errorf("%s: %q", name, v)
		}
	}
	if _, err := BootPayload(strings.NewReader(full)); err == nil {
		t.Error("there is a payload")
	}
}

func TestUserFault(t *testing.T) {
	// As 6.1 has them: get_user with the register of its error, one of the kernel's own memory, ldr of dcache's.
	for entry, want := range map[string]bool{"\x02\x00\xe1\x03": true, "\x03\x00\x60\x00": false, "\x04\x00\x41\x00": false} {
		if UserFault([]byte(entry)) != want {
			t.Errorf("% x: %v", entry, !want)
		}
	}
}
