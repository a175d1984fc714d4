// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/kernel/arch"
)

// one returns the only function of that name.
func one(t *testing.T, p *Program, name string) *Function {
	t.Helper()
	list := p.Func(name)
	if len(list) != 1 {
		t.Fatalf("%d functions are called %s, want 1", len(list), name)
	}
	return list[0]
}

// calls lists a function's calls as "callee", "jump callee" or "callee+offset".
func calls(f *Function) []string {
	var out []string
	for _, c := range f.Calls {
		s := c.To.Name
		if c.Offset != 0 {
			s += "+"
		}
		if c.Jump {
			s = "jump " + s
		}
		out = append(out, s)
	}
	return out
}

func TestCalls(t *testing.T) {
	p := loadTiny(t)
	for name, want := range map[string][]string{
		"caller":             {"callee", "other"},
		"tail":               {"jump other"},
		"callee":             nil, // its call of __fentry__ is ftrace's
		"recursive":          {"recursive", "jump callee"},
		"cloned.constprop.0": {"callee"},
		"sched_first":        {"callee"},
		"raw_entry":          {"callee"},               // assembly without type and size
		"sized_entry":        {"other"},                // behind an instruction that x86asm does not know
		"patched":            {"other", "jump callee"}, // from .altinstr_replacement and .altinstr_aux
		"padded":             nil,                      // ftrace's site is behind endbr64
		"patch_sites":        {"callee"},
		"use_hook":           {"arch_hook"}, // the strong one
		"with_cold":          {"jump with_cold.cold"},
		"take_in_code":       nil,
		"arch_hook":          nil,
		"enqueue_task":       nil,
		"inlines":            nil,
		"fail":               nil,
		"another":            nil,
		"other":              nil,
		"range_check":        nil,
	} {
		if diff := cmp.Diff(want, calls(one(t, p, name))); diff != "" {
			t.Errorf("%s calls (-want +got):\n%s", name, diff)
		}
	}
	if got := calls(one(t, p, "with_cold.cold")); len(got) == 0 || got[0] != "fail" {
		t.Errorf("with_cold.cold calls %v, want fail first", got)
	}
	for _, f := range p.Functions {
		if strings.HasPrefix(f.Name, ".") {
			t.Errorf("%s: the weak function that was replaced is not dead", f.Name)
		}
		if f.Name == "inner_label" || strings.HasPrefix(f.Name, "__pfx_") || strings.HasSuffix(f.Name, "_text_start") {
			t.Errorf("%s is a function", f.Name)
		}
	}
	if p.Undecoded != 0 {
		t.Errorf("%d bytes not decoded", p.Undecoded)
	}
}

func TestCallers(t *testing.T) {
	p := loadTiny(t)
	var got []string
	for _, c := range p.Callers(one(t, p, "other")) {
		got = append(got, c.From.Name)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"caller", "patched", "sized_entry", "tail"}, got); diff != "" {
		t.Errorf("callers of other (-want +got):\n%s", diff)
	}
}

func TestTakes(t *testing.T) {
	p := loadTiny(t)
	takers := map[string][]string{}
	for _, f := range p.Functions {
		for _, k := range p.Takers(f) {
			takers[f.Name] = append(takers[f.Name], k.From.Name)
		}
	}
	// range_check compares with the start of a section, where sched_first is.
	want := map[string][]string{"callee": {"take_in_code"}}
	if diff := cmp.Diff(want, takers); diff != "" {
		t.Errorf("takers (-want +got):\n%s", diff)
	}

	type take struct {
		To, In string
		Offset uint64
	}
	var data []take
	for _, d := range p.DataTakes {
		if d.In == nil {
			t.Errorf("the pointer to %s at %#x is in no object", d.To.Name, d.Addr)
			continue
		}
		data = append(data, take{d.To.Name, d.In.Name, d.Offset})
	}
	wantData := []take{
		{"enqueue_task", "tiny_sched_class", 0},
		{"callee", "tiny_sched_class", 8},
		{"other", "jump_table", 8},
		{"caller", "jump_table", 16},
	}
	if diff := cmp.Diff(wantData, data); diff != "" {
		t.Errorf("data takes (-want +got):\n%s", diff)
	}
	if got := p.DataTakesOf(one(t, p, "tail")); got != nil {
		t.Errorf("an entry of the kprobe blacklist takes an address: %v", got)
	}
}

func TestFunctions(t *testing.T) {
	p := loadTiny(t)
	const sched, lib = "kernel/sched/core.c", "lib/lib.c"
	for _, want := range []struct {
		Function
		decl bool
	}{
		{Function{Name: "callee", Base: "callee", Unit: sched, Global: true, Exported: true, Aliases: []string{"alias_of_callee"}}, true},
		{Function{Name: "cloned.constprop.0", Base: "cloned", Unit: sched}, true},
		{Function{Name: "with_cold", Base: "with_cold", Unit: sched, Global: true}, true},
		{Function{Name: "with_cold.cold", Base: "with_cold", Unit: sched, FtraceSite: -1}, true},
		{Function{Name: "fail", Base: "fail", Unit: lib, Global: true}, false},
		{Function{Name: "arch_hook", Base: "arch_hook", Unit: sched, Global: true}, true},
		{Function{Name: "raw_entry", Base: "raw_entry", Unit: "arch/entry.S", Global: true, FtraceSite: -1}, false},
		{Function{Name: "padded", Base: "padded", Unit: "arch/entry.S", Global: true, FtraceSite: 4, Padding: 16}, false},
		{Function{Name: "sized_entry", Base: "sized_entry", Unit: "arch/entry.S", Global: true, FtraceSite: -1}, false},
	} {
		f := one(t, p, want.Name)
		got := Function{Name: f.Name, Base: f.Base, Unit: f.Unit, Global: f.Global, Weak: f.Weak, Exported: f.Exported,
			FtraceSite: f.FtraceSite, Aliases: f.Aliases, Padding: f.Padding}
		if diff := cmp.Diff(want.Function, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.Name, diff)
		}
		if decl := f.DeclFile == sched && f.DeclLine > 0; decl != want.decl {
			t.Errorf("%s is declared in %s:%d", f.Name, f.DeclFile, f.DeclLine)
		}
	}
	if a, c := one(t, p, "alias_of_callee"), one(t, p, "callee"); a != c {
		t.Error("an alias is a function of its own")
	}
	if !p.FtraceKnown {
		t.Error("ftrace's sites were not found")
	}
	callee := one(t, p, "callee")
	if got := p.FuncAt(callee.Addr + callee.Size - 1); got != callee {
		t.Errorf("the last byte of callee is in %v", got)
	}
	if got := p.FuncAt(callee.Addr + callee.Size); got == callee {
		t.Error("the byte behind callee is in callee")
	}
}

// Debug information gives only one of two functions with the same code a place.
func TestFolded(t *testing.T) {
	p := loadTiny(t)
	one, two := one(t, p, "folded_one"), one(t, p, "folded_two")
	if one.DeclLine == 0 || two.DeclLine <= one.DeclLine || one.DeclFile != two.DeclFile {
		t.Errorf("declared in %s:%d and %s:%d", one.DeclFile, one.DeclLine, two.DeclFile, two.DeclLine)
	}
	if len(one.Calls) == 0 || len(two.Calls) == 0 {
		t.Errorf("calls %v and %v", calls(one), calls(two))
	}
}

func TestInlines(t *testing.T) {
	p := loadTiny(t)
	var got []string
	for _, s := range one(t, p, "inlines").Inlines {
		if s.DeclLine == 0 || s.Unit != "kernel/sched/core.c" {
			t.Errorf("inlined: %+v", *s)
		}
		got = append(got, s.DeclFile+" "+s.Name)
	}
	want := []string{"kernel/sched/sched.h deepest", "kernel/sched/sched.h inner"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inlined into inlines (-want +got):\n%s", diff)
	}
	if got := one(t, p, "caller").Inlines; got != nil {
		t.Errorf("inlined into caller: %v", got)
	}
}

func TestLookup(t *testing.T) {
	p := loadTiny(t)
	sched := p.Lookup("same_name", "kernel/sched/core.c")
	lib := p.Lookup("same_name", "lib/lib.c")
	if sched == nil || lib == nil || sched == lib {
		t.Fatalf("same_name is %v in core.c, %v in lib.c", sched, lib)
	}
	if got := p.Lookup("same_name", "arch/entry.S"); got != nil {
		t.Errorf("same_name, which is local elsewhere, is %s in entry.S", got.Unit)
	}
	if got := p.Lookup("callee", "lib/lib.c"); got != one(t, p, "callee") {
		t.Errorf("callee in lib.c is %v", got)
	}
	if got := p.Lookup("alias_of_callee", "kernel/sched/core.c"); got != one(t, p, "callee") {
		t.Errorf("alias_of_callee in core.c is %v", got)
	}
}

func TestObjects(t *testing.T) {
	p := loadTiny(t)
	type object struct {
		Name, Section, Unit, DeclFile, Type string
		Size                                uint64
		Global                              bool
	}
	const sched = "kernel/sched/core.c"
	for _, want := range []object{
		{"tiny_sched_class", ".rodata", sched, sched, "struct sched_class", 16, true},
		{"jump_table", ".data", sched, sched, "int (*[3])(int)", 24, false},
		{"percpu_count", ".data..percpu", sched, sched, "int", 4, false},
		{"count.0", ".bss", sched, sched, "int", 4, false},
		{"count.1", ".bss", sched, sched, "int", 4, false},
		{"sink", ".bss", sched, sched, "int", 4, true},
		{"lib_sink", ".bss", "lib/lib.c", "", "", 4, true},
		{"linux_banner", ".rodata", "", "", "", 37, true},
	} {
		o := p.Object(want.Name)
		if o == nil {
			t.Errorf("there is no %s", want.Name)
			continue
		}
		got := object{o.Name, o.Section, o.Unit, o.DeclFile, o.Type, o.Size, o.Global}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.Name, diff)
		}
		if p.ObjectAt(o.Addr+o.Size-1) != o || p.ObjectNamedAt(o.Name, o.Addr) != o {
			t.Errorf("%s is not found by its address", o.Name)
		}
	}
	if o := p.LookupObject("count.0", "lib/lib.c"); o != nil {
		t.Errorf("count.0 of core.c is visible in lib.c: %+v", *o)
	}
}

func TestPatchSites(t *testing.T) {
	p := loadTiny(t)
	f := one(t, p, "patch_sites")
	want := []PatchSite{
		{Addr: f.Addr, Size: 2, Kind: SiteStaticKey, Target: f.Addr},
		{Addr: f.Addr + 2, Size: 5, Kind: SiteStaticKey, Target: f.Addr + 2},
		{Addr: f.Addr + 7, Size: 5, Kind: SiteStaticCall},
		{Addr: f.Addr + 12, Size: 1, Kind: SiteSMPLock},
	}
	if diff := cmp.Diff(want, p.PatchSites); diff != "" {
		t.Fatalf("patch sites (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		start, end uint64
		want       int // -1: none
	}{{0, 1, 0}, {1, 2, 0}, {2, 3, 1}, {6, 8, 1}, {11, 12, 2}, {12, 13, 3}, {13, 20, -1}} {
		got := p.PatchSiteIn(f.Addr+c.start, f.Addr+c.end)
		if c.want < 0 && got != nil || c.want >= 0 && (got == nil || *got != want[c.want]) {
			t.Errorf("site in [%d,%d) is %v, want %d", c.start, c.end, got, c.want)
		}
	}
}

// TestSealed: who may be called by pointer where the kernel enforces landing instructions.
func TestSealed(t *testing.T) {
	p := loadTiny(t)
	for name, want := range map[string]bool{"lands": false, "lands_not": true, "never_lands": true, "patch_sites": true} {
		if got := one(t, p, name).Sealed; got != want {
			t.Errorf("%s is sealed: %v", name, got)
		}
	}
	free := *arch.X86
	free.Seals = &arch.Range{Start: "__no_such", Stop: "__no_such_end"}
	for _, m := range []*arch.Arch{&free, {}} {
		for _, f := range p.Functions {
			f.Sealed = false
		}
		p.readSeals(m)
		if one(t, p, "lands_not").Sealed || one(t, p, "never_lands").Sealed {
			t.Error("a kernel that enforces nothing has sealed functions")
		}
	}
}

func TestProgram(t *testing.T) {
	p := loadTiny(t)
	if p.Release != "6.1.0-tiny" {
		t.Errorf("release is %q", p.Release)
	}
	if len(p.BuildID) != 40 {
		t.Errorf("build-id is %q", p.BuildID)
	}
	if !strings.HasPrefix(p.Compiler, "GNU C11 ") {
		t.Errorf("compiler is %q", p.Compiler)
	}
	first := one(t, p, "sched_first")
	if !p.InRange(first.Addr, "__sched_text_start", "__sched_text_end") || p.InRange(first.Addr-1, "__sched_text_start", "__sched_text_end") {
		t.Error("sched_first does not begin __sched_text_start..__sched_text_end")
	}
	if p.InRange(first.Addr, "__sched_text_start", "no_such_symbol") {
		t.Error("a range without an end holds something")
	}
	if b := p.Bytes(one(t, p, "padded").Addr, 4); string(b) != "\xf3\x0f\x1e\xfa" {
		t.Errorf("padded begins with % x", b)
	}
	if b := p.Bytes(p.Object("sink").Addr, 4); b != nil {
		t.Errorf(".bss has contents % x", b)
	}
	if b := p.Bytes(^uint64(0), 16); b != nil {
		t.Errorf("the last address has contents % x", b)
	}
	if got, want := p.NextFunction(one(t, p, "patched")), one(t, p, "padded").Addr-16; got > want {
		t.Errorf("behind patched is %#x, want at most the padding at %#x", got, want)
	}
	if got := p.NextFunction(p.Functions[len(p.Functions)-1]); got != 0 {
		t.Errorf("behind the last function is %#x", got)
	}
	if s := p.Section(".text"); s == nil || !s.Exec || s.Addr != 0xffffffff81000000 {
		t.Errorf(".text is %+v", s)
	}
}

// tamper writes a changed copy of the tiny kernel.
func tamper(t *testing.T, change func([]byte) []byte) string {
	t.Helper()
	b, err := os.ReadFile(tinyKernel(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "vmlinux")
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNoDWARF(t *testing.T) {
	out := filepath.Join(t.TempDir(), "vmlinux")
	src := filepath.Join(t.TempDir(), "src")
	if err := os.CopyFS(src, os.DirFS("testdata/tiny")); err != nil {
		t.Fatal(err)
	}
	link(t, src, out, "-g0")
	_, err := Load(context.Background(), out, Options{})
	if !errors.Is(err, ErrNoDWARF) {
		t.Fatalf("error is %v, want ErrNoDWARF", err)
	}
	if s := err.Error(); strings.Contains(s, "\n") || !strings.HasPrefix(s, out+": ") {
		t.Errorf("error is not one line about the file: %q", s)
	}
}

// Linkers for other architectures leave pointers of a position-independent
// kernel to .rela.dyn alone; GNU ld for x86-64 writes them in place too.
func TestDataRelocated(t *testing.T) {
	dir := t.TempDir()
	src := "int f(void) { return 1; }\nint (*p[4])(void) = { f, f, f, f };\nint _start(void) { return p[0](); }\n"
	if err := os.WriteFile(filepath.Join(dir, "a.c"), []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	gcc(t, dir, "-g", "-O2", "-fPIE", "-ffreestanding", "-nostdlib", "-static-pie", "-o", "vmlinux", "a.c")
	path := filepath.Join(dir, "vmlinux")
	p, err := Load(context.Background(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(p.DataTakesOf(one(t, p, "f"))); got != 4 {
		t.Errorf("f is taken %d times, want 4", got)
	}

	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	data := f.Section(".data")
	clear(b[data.Offset : data.Offset+data.FileSize])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err = Load(context.Background(), path, Options{}); err != nil {
		t.Fatal(err)
	}
	if got := len(p.DataTakesOf(one(t, p, "f"))); got != 4 {
		t.Errorf("where boot writes the pointers, f is taken %d times, want 4", got)
	}

	b[data.Offset] = 1 // neither zero nor the pointer
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(context.Background(), path, Options{}); err == nil || !strings.Contains(err.Error(), "its relocation gives") {
		t.Errorf("a word that contradicts its relocation: %v", err)
	}
	b[data.Offset] = 0
	// As --emit-relocs leaves them, relocations are not in the memory of a kernel that boots.
	rela := slices.IndexFunc(f.Sections, func(s *elf.Section) bool { return s.Type == elf.SHT_RELA && s.Flags&elf.SHF_ALLOC != 0 })
	flags := binary.LittleEndian.Uint64(b[40:]) + uint64(rela*64+8) // e_shoff, sh_flags
	b[flags] &^= byte(elf.SHF_ALLOC)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(context.Background(), path, Options{}); !errors.Is(err, ErrDataRelocated) {
		t.Fatalf("error is %v, want ErrDataRelocated", err)
	}
}

func TestDamaged(t *testing.T) {
	full, err := os.ReadFile(tinyKernel(t))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(full); n += len(full)/61 + 1 {
		path := tamper(t, func(b []byte) []byte { return b[:n] })
		if _, err := Load(context.Background(), path, Options{}); err == nil {
			t.Errorf("cut to %d of %d bytes: no error", n, len(full))
		} else if strings.Count(err.Error(), path) != 1 {
			t.Errorf("cut to %d bytes: the error does not name the file once: %v", n, err)
		}
	}
	other := tamper(t, func(b []byte) []byte { b[18] = 0x15; return b }) // e_machine: PowerPC 64
	if _, err := Load(context.Background(), other, Options{}); err == nil || !strings.Contains(err.Error(), "not supported") {
		t.Errorf("another machine: %v", err)
	}
	if _, err := Load(context.Background(), t.TempDir(), Options{}); err == nil {
		t.Error("a directory: no error")
	}
	if _, err := Load(context.Background(), "/no/such/vmlinux", Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	before := runtime.NumGoroutine()
	_, err := Load(ctx, tinyKernel(t), Options{Progress: func(string) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines are left", after-before)
	}
}

// TestUserFaults: the functions are found whose code the kernel lets fault on memory of user space, and no others.
func TestUserFaults(t *testing.T) {
	p := &Program{Functions: []*Function{{Name: "a", Addr: 0x1000, Size: 16}, {Name: "b", Addr: 0x1010, Size: 16},
		{Name: "c", Addr: 0x1020, Size: 16}}}
	p.sortFunctions()
	table := &Section{Name: "__ex_table", Addr: 0x5000}
	for i, e := range []struct {
		site uint64
		kind byte
	}{{0x1014, 7}, {0x1004, 8}, {0x9000, 7}} {
		at := table.Addr + uint64(12*i)
		table.Data = binary.LittleEndian.AppendUint32(table.Data, uint32(e.site-at))
		table.Data = append(table.Data, 0, 0, 0, 0, e.kind, 0, 0, 0)
	}
	table.Data = append(table.Data, 1, 2, 3) // no whole entry
	table.Size = uint64(len(table.Data))
	p.index.sections = []*Section{table}
	p.readUserFaults(&arch.Arch{})
	if p.Functions[1].UserFault {
		t.Error("an architecture whose table says nothing has such functions")
	}
	p.readUserFaults(&arch.Arch{UserFault: func(entry []byte) bool { return len(entry) == 4 && entry[0] == 7 }})
	for _, f := range p.Functions {
		if f.UserFault != (f.Name == "b") {
			t.Errorf("%s: %v", f.Name, f.UserFault)
		}
	}
}

// TestBegun: a function is recognised by debug information that begins behind ftrace's place, and a function that
// begins there itself is not taken for the one before.
func TestBegun(t *testing.T) {
	p := &Program{Functions: []*Function{{Addr: 0x1000, Size: 32}, {Addr: 0x1020, Size: 8},
		{Addr: 0x1028, Size: 8}}}
	names := [][]codeSymbol{{{name: "traced", addr: 0x1000, typed: true}}, {{name: "short", addr: 0x1020, typed: true}},
		{{name: "next", addr: 0x1028, typed: true}}}
	u := &unitFacts{path: "kernel/a.c", names: []namedAddr{{0x1008, "traced"}, {0x1020, "short"}, {0x1028, "next"}},
		decls: []functionDecl{{[]uint64{0x1008}, declaration{name: "traced", file: "kernel/a.c", line: 3}},
			{[]uint64{0x1028}, declaration{name: "next", file: "kernel/a.c", line: 5}},
			{[]uint64{0x1030}, declaration{name: "weak", file: "kernel/a.c", line: 7}}}}
	p.describe([]*unitFacts{u}, codeUnits(nil), names, &vmlinux{mach: &arch.Arch{FtraceSize: 8}})
	for i, line := range []int{3, 0, 5} {
		if f := p.Functions[i]; f.DeclLine != line {
			t.Errorf("%s is declared in line %d, want %d", f.Name, f.DeclLine, line)
		}
	}
	// Behind a small function may be one whose name the linker has dropped.
	if len(p.Dropped) != 1 || p.Dropped[0].Name != "weak" {
		t.Errorf("%d functions were dropped", len(p.Dropped))
	}
}

// TestFtraceBefore: ftrace's table names functions by what is in front of them, where the architecture has something there.
func TestFtraceBefore(t *testing.T) {
	p := &Program{Functions: []*Function{{Name: "a", Addr: 0x1000, Size: 16, FtraceSite: -1},
		{Name: "b", Addr: 0x1018, Size: 16, FtraceSite: -1}, {Name: "c", Addr: 0x1028, Size: 16, FtraceSite: -1}}}
	p.sortFunctions()
	var table []byte
	for _, site := range []uint64{0x1010, 0x1020, 0} { // in front of b; within b, and in front of c
		table = binary.LittleEndian.AppendUint64(table, site)
	}
	p.index.sections = []*Section{{Name: ".init.data", Addr: 0x5000, Size: uint64(len(table)), Data: table}}
	p.index.symbols = map[string]address{"__start_mcount_loc": {value: 0x5000}, "__stop_mcount_loc": {value: 0x5000 + uint64(len(table))}}
	starts := p.starts()
	p.readFtrace(&arch.Arch{FtraceBefore: 8}, func(a uint64) *Function { return starts[a] })
	if p.Functions[0].FtraceSite != -1 || p.Functions[1].FtraceSite != 0 || p.Functions[2].FtraceSite != -1 || !p.FtraceKnown {
		t.Errorf("%+v %+v %+v", *p.Functions[0], *p.Functions[1], *p.Functions[2])
	}
	p.Functions[1].FtraceSite = -1
	p.readFtrace(&arch.Arch{}, func(a uint64) *Function { return starts[a] })
	if got := p.Functions[1].FtraceSite; got != 8 {
		t.Errorf("where nothing is in front, a site within b is at %d", got)
	}
}
