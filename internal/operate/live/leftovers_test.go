// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// core makes a memory image as /proc/kcore shows it: one segment at addr.
func core(t *testing.T, addr uint64, memory []byte) *kcore {
	t.Helper()
	h := Host{t.TempDir()}
	put(t, h, "/proc/kcore", coreFile(addr, memory))
	k, err := h.openKcore()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.close)
	return k
}

func coreFile(addr uint64, memory []byte) string {
	const off = 4096
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_CORE), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	binary.Write(&b, binary.LittleEndian, h)
	binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(elf.PT_LOAD), Off: off, Vaddr: addr, Filesz: uint64(len(memory)),
		Memsz: uint64(len(memory))})
	b.Write(make([]byte, off-b.Len()))
	b.Write(memory)
	return b.String()
}

var gone = &spans{list: []span{{0xffffffffc0000000, 0xffffffffc0004000}}}

func TestHeads(t *testing.T) {
	const base = 0xffffffff81000000
	memory := make([]byte, 0x1000)
	jump := func(at int, target uint64) {
		memory[at] = 0xe9
		binary.LittleEndian.PutUint32(memory[at+1:], uint32(target-(base+uint64(at)+5)))
	}
	jump(0x105, gone.list[0].start+0x10)   // behind an ftrace site
	jump(0x200, gone.list[0].end)          // just past the module
	jump(0x300, base+0x800)                // the kernel's own
	jump(0x400, gone.list[0].end-1)        // at the head
	jump(0x500+40, gone.list[0].start+0x8) // too far from the head to be a redirection
	names := []string{"past", "own", "head", "ftrace", "far", "two"}
	syms := &symbols{byName: map[string][]uint64{"ftrace": {base + 0x100}, "past": {base + 0x200}, "own": {base + 0x300},
		"head": {base + 0x400}, "far": {base + 0x500},
		"two": {base + 0x800, base + 0x400}}}
	l := &Leftovers{}
	if err := l.heads(core(t, base, memory), syms, names, gone); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"head", "ftrace", "two"}, l.Heads); diff != "" || l.Functions != 7 || !l.Deadly() {
		t.Errorf("%d functions: %s", l.Functions, diff)
	}
	if err := l.heads(core(t, base, memory), &symbols{byName: map[string][]uint64{"a": {0x1000}}}, []string{"a"}, gone); err == nil {
		t.Error("memory that is not there was read")
	}
}

func TestScan(t *testing.T) {
	const base, size, shift = 0xffffffff82000000, 1<<18 + 4096, 0x1000
	memory := make([]byte, size)
	for at, v := range map[int]uint64{0: gone.list[0].start, 1 << 18: gone.list[0].end - 1, size - 8: gone.list[0].start + 5,
		64: gone.list[0].end, 72: gone.list[0].start - 1, 0x808: gone.list[0].start} {
		binary.LittleEndian.PutUint64(memory[at:], v)
	}
	syms := &symbols{text: []byte("0000000000001000 A fixed\nffffffff81fff000 D first\nffffffff81fff000 d alias\nffffffff81fff900 d last\n" +
		"ffffffff81fff800 d cur_orc_table\nffffffffc0000000 t g\t[mod]\n")}
	l := &Leftovers{}
	found, err := l.scan(core(t, base, memory), " of CPU 3", base, base+size, shift, gone)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.name(syms, found); err != nil {
		t.Fatal(err)
	}
	want := []string{"first/alias+0x0 of CPU 3", "last+0x3f700 of CPU 3", "last+0x406f8 of CPU 3"}
	if diff := cmp.Diff(want, l.Pointers); diff != "" || l.Words != size/8 || l.Deadly() {
		t.Errorf("%d words: %s", l.Words, diff)
	}
}
