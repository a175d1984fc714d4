// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// fakeModule is an ELF file with nothing but what a module says of itself.
func fakeModule(t *testing.T, info string) *fstest.MapFile {
	t.Helper()
	const names = "\x00.modinfo\x00.shstrtab\x00"
	head := binary.Size(elf.Header64{})
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: uint64(head), Size: uint64(len(info))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(head + len(info)), Size: uint64(len(names))},
	}
	h := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: uint16(head),
		Shoff: uint64(head + len(info) + len(names)), Shentsize: uint16(binary.Size(elf.Section64{})), Shnum: 3, Shstrndx: 2,
	}
	var b bytes.Buffer
	for _, part := range []any{h, []byte(info + names), sections} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return &fstest.MapFile{Data: b.Bytes()}
}

func TestLoadOrder(t *testing.T) {
	dir := fstest.MapFS{
		"modules.builtin":          {Data: []byte("kernel/fs/ext4/ext4.ko\nkernel/lib/crc16.ko\n")},
		"kernel/virtio/ring.ko":    fakeModule(t, "license=GPL\x00depends=\x00"),
		"kernel/virtio/my-pci.ko":  fakeModule(t, "depends=ring,crc16\x00name=my_pci\x00"),
		"kernel/block/my_blk.ko":   fakeModule(t, "depends=my-pci,ring\x00"),
		"kernel/net/loop.ko":       fakeModule(t, "depends=loop\x00"),
		"kernel/net/orphan.ko":     fakeModule(t, "depends=gone\x00"),
		"kernel/net/truncated.ko":  {Data: []byte("\x7fELF")},
		"kernel/net/not_a_file.md": {},
	}
	got, err := loadOrder(dir, "my_pci", "my_blk", "ext4", "loop")
	want := []string{"kernel/virtio/ring.ko", "kernel/virtio/my-pci.ko", "kernel/block/my_blk.ko", "kernel/net/loop.ko"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; expected %q", got, err, want)
	}
	for name, says := range map[string]string{
		"nonesuch": "no module nonesuch", "orphan": "no module gone, which orphan needs", "truncated": "kernel/net/truncated.ko: ",
	} {
		if got, err := loadOrder(dir, name); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %q, %v; expected an error with %q", name, got, err, says)
		}
	}
	if _, err := loadOrder(fstest.MapFS{}, "x"); err == nil {
		t.Error("a directory without modules.builtin is taken for one of modules")
	}
}
