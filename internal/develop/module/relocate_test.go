// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/bind"
)

// assemble makes an object file.
func assemble(t *testing.T, text string) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.s"), text)
	cmd := exec.Command("as", "-o", "a.o", "a.s")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("as: %v\n%s", err, out)
	}
	image, err := os.ReadFile(filepath.Join(dir, "a.o"))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

const base = 0xffffffff81000000

// usual are places that the tests have in common.
func usual() *Binding {
	return &Binding{Anchor: "anchor", Places: map[string]bind.Place{"anchor": {Addr: base + 0x100}, "above": {Addr: base + 0x1180},
		"below": {Addr: base + 0x40}, "far": {Addr: base + 0x3f000000}, "percpu": {Addr: 0x1fb00, Fixed: true},
		"constant": {Addr: 0x1234567890abcdef, Fixed: true}}}
}

// relocations renders every relocation of an image.
func relocations(t *testing.T, image []byte) (out []string) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA {
			continue
		}
		data, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		list := make([]elf.Rela64, len(data)/relaSize)
		if _, err := binary.Decode(data, binary.LittleEndian, list); err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			sym := syms[elf.R_SYM64(e.Info)-1]
			name := sym.Name
			if elf.ST_TYPE(sym.Info) == elf.STT_SECTION {
				name = f.Sections[sym.Section].Name
			}
			kind := strings.TrimPrefix(elf.R_X86_64(elf.R_TYPE64(e.Info)).String(), "R_X86_64_")
			out = append(out, fmt.Sprintf("%s+%d %s %s%+d", strings.TrimPrefix(s.Name, ".rela"), e.Off, kind, name, e.Addend))
		}
	}
	return out
}

func TestRelocate(t *testing.T) {
	image := assemble(t, `
	.text
	.globl	mine
mine:	call	anchor
	call	above
	call	mine
	lea	below(%rip), %rax
	mov	$above + 7, %rdi
	mov	%gs:percpu, %rax
	jmp	local
local:	ret
	.weak	far
	.data
	.quad	above + 8, below - 8, constant + 1, local, anchor + 3
	.long	above + 1 - ., below + 3 - .	# a key with flags in its low bits
	.quad	far + 2 - .
	.long	percpu
`)
	before := bytes.Clone(image)
	out, err := relocate(image, usual())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(image, before) {
		t.Error("the original was changed")
	}
	want := []string{
		".text+1 PLT32 anchor-4", ".text+6 PLT32 anchor+4220", ".text+11 PLT32 mine-4", ".text+18 PC32 anchor-196",
		".text+25 32S anchor+4231", ".text+34 32S percpu+0",
		".data+0 64 anchor+4232", ".data+8 64 anchor-200", ".data+16 64 constant+1", ".data+24 64 .text+40", ".data+32 64 anchor+3",
		".data+40 PC32 anchor+4225", ".data+44 PC32 anchor-189", ".data+48 PC64 anchor+1056964354", ".data+56 32 percpu+0",
	}
	if diff := cmp.Diff(want, relocations(t, out)); diff != "" {
		t.Error(diff)
	}
	f, err := elf.NewFile(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range syms {
		if s.Name != "" {
			got[s.Name] = fmt.Sprintf("%v %#x", s.Section, s.Value)
		}
	}
	symbols := map[string]string{"anchor": "SHN_UNDEF 0x0", "percpu": "SHN_ABS 0x1fb00", "constant": "SHN_ABS 0x1234567890abcdef",
		"local": "SHN_UNDEF+1 0x28", "mine": "SHN_UNDEF+1 0x0"}
	if diff := cmp.Diff(symbols, got); diff != "" {
		t.Errorf("symbols: %s", diff)
	}
	for _, s := range f.Sections {
		if s.Type == elf.SHT_SYMTAB && int(s.Info) > len(syms) {
			t.Errorf("%d local symbols of %d", s.Info, len(syms))
		}
	}
	// Other tools agree that it is in order.
	path := filepath.Join(t.TempDir(), "out.o")
	if err := os.WriteFile(path, out, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tool := range [][]string{{"readelf", "-W", "-s", "-r", path}, {"objcopy", path}} {
		if msg, err := exec.Command(tool[0], tool[1:]...).CombinedOutput(); err != nil ||
			strings.Contains(strings.ToLower(string(msg)), "warning") {
			t.Errorf("%s: %v\n%s", tool[0], err, msg)
		}
	}
}

func TestRelocateRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		text   string
		change func(*Binding)
		want   string
	}{
		"overflow":  {"call anchor\n.data\n.quad above + 0x7fffffffffffffff\n", nil, "above+9223372036854775807 is out of reach"},
		"underflow": {"call anchor\n.data\n.quad below - 0x7fffffffffffffff\n", nil, "below-9223372036854775807 is out of reach"},
		"another image": {"call anchor\ncall alien\n", func(b *Binding) { b.Places["alien"] = bind.Place{Addr: base - 1<<32} },
			"alien is -0x100000100 bytes away from anchor"},
		"unknown symbol":  {"call anchor\ncall nowhere\n", nil, "the undefined symbol nowhere"},
		"unknown type":    {"call anchor\n.word above\n", nil, "relocation of type 12 against above"},
		"anchor not used": {"call above\n", nil, "anchor is not an undefined symbol"},
		"anchor is its":   {"anchor: call above\n", nil, "anchor is not an undefined symbol"},
		"no symbols":      {"nop\n", nil, "no symbol section"},
		"groups":          {"call anchor\n.section .g,\"aG\",@progbits,sig,comdat\n.long 1\n", nil, "SHT_GROUP"},
	} {
		b := usual()
		if tt.change != nil {
			tt.change(b)
		}
		if _, err := relocate(assemble(t, tt.text), b); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
	if _, err := relocate([]byte("text"), usual()); err == nil {
		t.Error("text is taken for a module")
	}
}
