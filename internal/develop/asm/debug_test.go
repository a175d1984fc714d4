// SPDX-License-Identifier: BSD-3-Clause

package asm

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/kernel/arch"
)

const debugSource = `
	asm(".pushsection .discard.note, \"\"; .long early - .; .popsection");
	static int count __attribute__((used)), kept_count;
	void far(int), further(int);
	static inline int half(int x) { if (x > 7) far(x); return x / 2; }
	int dropped(int x) { static void *to[] = { &&a, &&b }; goto *to[x & 1]; a: count++; b: return half(x) + x; }
	__attribute__((section(".init.text"), cold)) int early(int x) { for (int i = 0; i < x; i++) further(half(i)); return count; }
	int kept(int x)
	{
		kept_count += x;
		if (__builtin_expect(x == 9, 0))
			further(x);
		return half(x) + kept_count;
	}
`

// TestDebug: of what is kept the debug information says the same, of what is left out nothing, and the
// code is what it is without.
func TestDebug(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	if err := os.WriteFile(path("unit.c"), []byte(debugSource), 0o644); err != nil {
		t.Fatal(err)
	}
	run("gcc", "-S", "-g", "-gdwarf-5", "-O2", "-fno-pie", "-mcmodel=kernel", "-fno-asynchronous-unwind-tables", "-ffreestanding", "-o",
		path("unit.s"), path("unit.c"))
	text, err := os.ReadFile(path("unit.s"))
	if err != nil {
		t.Fatal(err)
	}
	u, err := Parse(&arch.X86.Assembly, "unit.s", text)
	if err != nil {
		t.Fatal(err)
	}
	drop := func(d *Def) bool { return slices.Contains([]string{"dropped", "early", "count", "to"}, Stem(d.Name)) }
	object := func(name string, debug bool) *elf.File {
		t.Helper()
		written := u.Write(Edit{Drop: drop, DropSection: func(s string) bool { return s == ".init.text" || s == ".discard.note" }, Debug: debug})
		if err := os.WriteFile(path(name+".s"), written, 0o644); err != nil {
			t.Fatal(err)
		}
		run("gcc", "-c", "-o", path(name+".o"), path(name+".s"))
		f, err := elf.Open(path(name + ".o"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	plain, debug := object("plain", false), object("debug", true)
	for _, s := range plain.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Type == elf.SHT_NOBITS {
			continue
		}
		want, _ := s.Data()
		got := debug.Section(s.Name)
		if got == nil {
			t.Errorf("there is no %s", s.Name)
		} else if data, _ := got.Data(); !bytes.Equal(want, data) {
			t.Errorf("%s differs", s.Name)
		}
	}
	for _, s := range debug.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && plain.Section(s.Name) == nil {
			t.Errorf("there is %s", s.Name)
		}
	}
	names := func(f *elf.File) (list []string) {
		syms, err := f.Symbols()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range syms {
			if s.Name != "" && elf.ST_TYPE(s.Info) != elf.STT_SECTION {
				list = append(list, s.Name)
			}
		}
		return list
	}
	if diff := cmp.Diff(names(plain), names(debug)); diff != "" {
		t.Errorf("symbols: %s", diff)
	}
	d, err := debug.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	long, line, whole := map[string]bool{}, 0, uint64(0)
	for r := d.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			break
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		if high, _ := e.Val(dwarf.AttrHighpc).(int64); e.Tag == dwarf.TagSubprogram && high > 0 {
			long[name] = true
		}
		if e.Tag == dwarf.TagCompileUnit {
			ranges, err := d.Ranges(e)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range ranges {
				whole += r[1] - r[0]
			}
			lines, err := d.LineReader(e)
			if err != nil {
				t.Fatal(err)
			}
			var at dwarf.LineEntry
			for lines.Next(&at) == nil {
				if at.Address == 0 && line == 0 {
					line = at.Line
				}
			}
		}
	}
	if !long["kept"] || long["dropped"] || long["early"] {
		t.Errorf("functions with code: %v", long)
	}
	if size := debug.Section(".text").Size; whole != size {
		t.Errorf("the unit is said to have %d bytes of %d", whole, size)
	}
	if line != 9 {
		t.Errorf("the first instruction is of line %d", line)
	}
}
