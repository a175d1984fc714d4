// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/fuzzing"
	"plugsched/internal/kernel/arch/isa"
)

// cfiText has a function for each kind of instruction that gcc's tables for kernels have.
const cfiText = `
	.cfi_sections .debug_frame
	.globl other
other:	.cfi_startproc
	nop
	.cfi_endproc
	.globl f
f:	.cfi_startproc
	push %rbp
	.cfi_def_cfa_offset 16
	.cfi_offset rbp, -16
	mov %rsp, %rbp
	.cfi_def_cfa_register rbp
	.skip 300
	mov %rbx, -8(%rbp)
	.cfi_offset rbx, -24
	.skip 70000
	.cfi_remember_state
	leave
	.cfi_restore rbp
	.cfi_restore rbx
	.cfi_def_cfa rsp, 8
	ret
	.cfi_restore_state
end:	nop
	.cfi_endproc
`

func cfiSection(t testing.TB) (section []byte, at map[string]uint64) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.s"), []byte(cfiText), 0o644); err != nil {
		t.Fatal(err)
	}
	gcc(t, dir, "-nostdlib", "-no-pie", "-Wl,-e,f", "-o", "a", "a.s")
	v, err := open(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	at = map[string]uint64{}
	for _, s := range v.symbols {
		at[s.Name] = s.Value
	}
	if section, err = v.named(".debug_frame"); err != nil || section == nil {
		t.Fatal(".debug_frame: ", err)
	}
	return section, at
}

// TestFrameAt: the row of the table that is for an address.
func TestFrameAt(t *testing.T) {
	section, at := cfiSection(t)
	const rbx, rbp, rsp, back = 3, 6, 7, 16
	plain := isa.Frame{Base: rsp, Offset: 8, Saved: map[int]int64{back: -8}}
	framed := isa.Frame{Base: rbp, Offset: 16, Saved: map[int]int64{back: -8, rbp: -16}}
	whole := isa.Frame{Base: rbp, Offset: 16, Saved: map[int]int64{back: -8, rbp: -16, rbx: -24}}
	f, end := at["f"], at["end"]
	for _, c := range []struct {
		pc   uint64
		want isa.Frame
	}{
		{at["other"], plain},
		{f, plain},
		{f + 1, isa.Frame{Base: rsp, Offset: 16, Saved: framed.Saved}},
		{f + 4, framed}, {f + 303, framed},
		{f + 308, whole}, {f + 70000, whole},
		{end - 2, whole}, {end - 1, plain}, {end, whole},
	} {
		got, err := frameAt(section, c.pc)
		if err != nil {
			t.Errorf("f%+d: %v", int64(c.pc-f), err)
		} else if diff := cmp.Diff(&c.want, got); diff != "" {
			t.Errorf("f%+d: %s", int64(c.pc-f), diff)
		}
	}
	if _, err := frameAt(section, end+1); err == nil || !strings.Contains(err.Error(), "says nothing") {
		t.Errorf("behind the code: %v", err)
	}
	expression := bytes.Replace(section, []byte{0x80 | rbx, 3}, []byte{0x0f, 0}, 1)
	if _, err := frameAt(expression, f+70000); err == nil || !strings.Contains(err.Error(), "not understood") {
		t.Errorf("an expression: %v", err)
	}
	for n := range len(section) {
		frameAt(section[:n], f+70000)
	}
	if _, err := frameAt(section[:len(section)-9], end); err == nil {
		t.Error("what is cut off is no error")
	}
}

// FuzzFrameAt: reading ends, for any section.
func FuzzFrameAt(f *testing.F) {
	section, at := cfiSection(f)
	f.Add(section, at["end"])
	f.Add(binary.LittleEndian.AppendUint32(nil, 0xfffffff0), uint64(0))
	f.Fuzz(func(t *testing.T, section []byte, pc uint64) {
		fuzzing.Bounded(t, func() { frameAt(section, pc) })
	})
}

// TestSigned: the return address is signed from one instruction of the table's on, to the next.
func TestSigned(t *testing.T) {
	var section []byte
	entry := func(body []byte) {
		section = binary.LittleEndian.AppendUint32(section, uint32(len(body)))
		section = append(section, body...)
	}
	entry(append(binary.LittleEndian.AppendUint32(nil, 0xffffffff), 1, 0, 4, 0x78, 30, 0x0c, 31, 0)) // CIE: by 4, by -8, x30, def_cfa sp
	fde := binary.LittleEndian.AppendUint32(nil, 0)
	fde = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(fde, 0x1000), 0x20)
	entry(append(fde, 0x41, 0x2d, 0x42, 0x0a, 0x2d, 0x42, 0x0b)) // signed at +4, kept and taken away at +12, back at +20
	for pc, want := range map[uint64]bool{0x1000: false, 0x1004: true, 0x1008: true, 0x100c: false, 0x1010: false, 0x1014: true} {
		f, err := frameAt(section, pc)
		if err != nil || f.Signed != want {
			t.Errorf("%#x: %+v, %v", pc, f, err)
		}
	}
}
