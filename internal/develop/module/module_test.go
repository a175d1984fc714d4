// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"debug/elf"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/artefact/desc"
	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/environment"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
	"plugsched/internal/kernel/image"
	"plugsched/internal/kernel/symbols"
)

func TestDiagnostics(t *testing.T) {
	tree := &Tree{WorkDir: "/home/dev/work"}
	for name, tt := range map[string]struct{ out, want string }{
		"error": {
			"make[1]: Entering directory '/k'\nWARNING: Symbol version dump missing\nIn file included from /home/dev/work/kernel/sched/core.c:4:\n" +
				"/home/dev/work/kernel/sched/fair.c:12:3: error: 'x' undeclared\n   12 |   x = 4;\n      |   ^\nmake[2]: *** [core.o] Error 1\n",
			"In file included from /home/dev/work/kernel/sched/core.c:4:\nkernel/sched/fair.c:12:3: error: 'x' undeclared\n   12 |   x = 4;\n      |   ^"},
		"fatal": {"/home/dev/work/kernel/sched/a.c:1:10: fatal error: none.h: No such file\n",
			"kernel/sched/a.c:1:10: fatal error: none.h: No such file"},
		"not the code": {"make: *** No rule to make target 'x'.  Stop.\n", ""},
		"warning":      {"/home/dev/work/a.c:1:1: warning: unused\n", ""},
		"nothing":      {"", ""},
	} {
		if diff := cmp.Diff(tt.want, diagnostics(tt.out, tree)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestRunErrors stands a small makefile in for the kernel's build.
func TestRunErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		makefile string
		compile  bool
		want     string
	}{
		"compile error": {"all:\n\t@echo '/w/kernel/sched/a.c:3:1: error: no' >&2; exit 1\n", true,
			"the scheduler does not compile:\nkernel/sched/a.c:3:1: error: no"},
		"other error": {"all:\n\t@echo 'out of paper' >&2; exit 1\n", false, "out of paper"},
	} {
		kernel, dir := t.TempDir(), t.TempDir()
		write(t, filepath.Join(kernel, "Makefile"), tt.makefile)
		err := run(t.Context(), &Tree{WorkDir: "/w", KernelBuild: kernel, Env: &environment.Environment{CC: "gcc"}}, dir, modeCompile)
		var c *CompileError
		var b *BuildError
		if errors.As(err, &c) != tt.compile || errors.As(err, &b) == tt.compile || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if b != nil {
			if text, err := os.ReadFile(b.Log); err != nil || !strings.Contains(string(text), tt.want) {
				t.Errorf("%s: log %q, %v", name, text, err)
			}
		}
	}
}

func TestCompileNothing(t *testing.T) {
	work, kernel := t.TempDir(), t.TempDir()
	write(t, filepath.Join(work, "kernel/sched/core.c"), "")
	write(t, filepath.Join(work, "kernel/sched/Makefile"), "")
	write(t, filepath.Join(kernel, "Makefile"), "all:\n")
	tree := &Tree{WorkDir: work, SchedDir: "kernel/sched", KernelBuild: kernel, Env: &environment.Environment{CC: "gcc"}, Self: os.Args[0]}
	if _, err := Compile(t.Context(), tree, filepath.Join(t.TempDir(), "out")); err == nil ||
		!strings.Contains(err.Error(), "its Makefile builds nothing") {
		t.Errorf("error %v", err)
	}
	tree.SchedDir = "kernel/none"
	if _, err := Compile(t.Context(), tree, filepath.Join(t.TempDir(), "out")); !os.IsNotExist(err) {
		t.Errorf("error %v", err)
	}
}

// tiny is a boundary with one function of each kind that the tables show.
func tiny(t *testing.T) *Plan {
	t.Helper()
	const unit = "kernel/sched/core.c"
	path := filepath.Join(t.TempDir(), "symbols")
	table := &symbols.Table{Symbols: []symbols.Symbol{{Name: "_stext", Addr: 0x1000, Global: true},
		{Name: "border.cold", Unit: unit, Addr: 0x9000, Size: 7}}}
	if err := table.Save(path); err != nil {
		t.Fatal(err)
	}
	syms, err := symbols.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	function := func(name string, addr, size uint64, c boundary.Class, jump int, shipped ...byte) *boundary.Function {
		return &boundary.Function{Name: name, Base: name, Unit: unit, Addr: addr, Size: size, Class: c, Jump: jump, Shipped: shipped}
	}
	return &Plan{
		Features: map[string]bool{"B": true, "A": false}, Values: []bind.WantedValue{{Name: "slice", Addr: 0x6000, Size: 4, Wanted: 3000}},
		Symbols: syms, Springboard: &isa.Springboard{Call: 100, Return: 105},
		Holes: []bind.Hole{{Structure: "struct task_struct", Members: "mine int", Offset: 20, Size: 4}},
		Types: &image.Types{Layouts: map[string]image.Layout{}},
		Boundary: &boundary.Boundary{Release: "6.1.0-test", BuildID: "abcd",
			Functions: []*boundary.Function{
				function("internal", 0x2000, 32, boundary.Internal, 0),
				function("__schedule", 0x3000, 512, boundary.Interface, 5, 1, 2, 3, 4, 5),
				function("border", 0x1800, 64, boundary.Callback, 0, 0xaa, 0xbb),
				function("external", 0x4000, 16, boundary.External, 0),
				function("setup", 0x5000, 16, boundary.Init, 0),
			},
			Objects: []*boundary.Object{{Name: "fair_sched_class", Class: boundary.Table, Size: 208},
				{Name: "shared", Class: boundary.Shared, Size: 4},
				{Name: "sched_feat_names", Class: boundary.Private, Size: 24}},
		},
	}
}

// rows are the lines of a table that hold data.
func rows(text, table string) []string {
	_, text, _ = strings.Cut(text, "\n"+table+":\n")
	text, _, _ = strings.Cut(text, "\t.size")
	var out []string
	for _, l := range strings.Split(text, "\n") {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return out
}

func TestTables(t *testing.T) {
	text := tables(tiny(t))
	for table, want := range map[string][]string{
		"plugsched_redirects": {
			".quad _stext + 0x800, border, .Lname0", ".long 0, 64", ".byte 0xaa, 0xbb" + strings.Repeat(", 0x0", 14), ".zero 16 + 3 * 8",
			".quad _stext + 0x2000, plugsched_schedule, .Lname1", ".long 5, 512", ".byte 0x1, 0x2, 0x3, 0x4, 0x5" + strings.Repeat(", 0x0",
				11), ".zero 16 + 3 * 8"},
		"plugsched_nr_redirects": {".quad 2"},
		"plugsched_ranges": {
			".quad _stext + 0x800, 64, 0, .Lname2", ".quad _stext + 0x1000, 32, 0, .Lname3", ".quad _stext + 0x2000, 512, 105, .Lname4",
			".quad _stext + 0x8000, 7, 0, .Lname5"},
		"plugsched_nr_ranges":        {".quad 4"},
		"plugsched_tables":           {".quad fair_sched_class, __plugsched_new_fair_sched_class, 208, 0, 0"},
		"plugsched_nr_tables":        {".quad 1"},
		"plugsched_holes":            {".quad 0, 20, 4, .Lname6"},
		"plugsched_nr_holes":         {".quad 1"},
		"plugsched_wishes":           {".quad .Lname7, 0", ".quad .Lname8, 1"},
		"plugsched_nr_wishes":        {".quad 2"},
		"plugsched_values":           {".quad _stext + 0x5000, 4, 0xbb8, 0"},
		"plugsched_nr_values":        {".quad 1"},
		"plugsched_nr_orig_features": {".quad 3"},
		"plugsched_build_id":         {`.asciz "abcd"`},
		"plugsched_release":          {`.asciz "6.1.0-test"`},
	} {
		if diff := cmp.Diff(want, rows(text, table)); diff != "" {
			t.Errorf("%s: %s", table, diff)
		}
	}
	named := []string{"border", "__schedule", "border", "internal", "__schedule", "border.cold", "struct task_struct.mine int"}
	for i, name := range named {
		if label := ".Lname" + string(rune('0'+i)) + ":\n\t.asciz \"" + name + "\"\n"; strings.Count(text, label) != 1 {
			t.Errorf("%d times %q", strings.Count(text, label), label)
		}
	}
}

// TestTablesAssemble: the records have the sizes of the runtime's structures
// (runtime/plugsched.h), and nothing but the module's parts is undefined.
// TestUnframed: only modules whose runtime walks stacks by frame records have a list of functions that make none.
func TestUnframed(t *testing.T) {
	p := tiny(t)
	p.Arch, p.Unframed = arch.ARM64, []isa.Unframed{{Name: "asm", Addr: 0x1800, Size: 64, Place: 4},
		{Name: "in it", Addr: 0x1810, Size: 8}, {Name: "entry", Addr: 0x3000, Size: 8}}
	text := tables(p)
	for table, want := range map[string][]string{"plugsched_unframed": {".quad _stext + 0x800, 64", ".quad _stext + 0x2000, 8"},
		"plugsched_nr_unframed": {".quad 2"}} {
		if diff := cmp.Diff(want, rows(text, table)); diff != "" {
			t.Errorf("%s: %s", table, diff)
		}
	}
	p.Arch = arch.X86
	if strings.Contains(tables(p), "unframed") {
		t.Error("x86's runtime does not know the list")
	}
}

func TestTablesAssemble(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "tables.s"), tables(tiny(t)))
	obj := filepath.Join(dir, "tables.o")
	if out, err := exec.Command("as", "-o", obj, filepath.Join(dir, "tables.s")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	undefined, err := Undefined(obj)
	if diff := cmp.Diff([]string{"__plugsched_new_fair_sched_class", "_stext", "border", "fair_sched_class", "plugsched_schedule"},
		undefined); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	f, err := elf.Open(obj)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]uint64{"plugsched_redirects": 2 * (3*8 + 2*4 + 16 + 16 + 3*8), "plugsched_ranges": 4 * 32,
		"plugsched_tables": 40, "plugsched_build_id": 5}
	for _, s := range syms {
		if size, ok := want[s.Name]; ok && s.Size != size {
			t.Errorf("%s: %d bytes, want %d", s.Name, s.Size, size)
		}
		delete(want, s.Name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// thisModule is an assembled module with what the finish needs.
const thisModule = `
	.text
	call	far
	call	other
	.section .gnu.linkonce.this_module, "aw"
	.zero	24
	.asciz	"scheduler"
	.zero	100
	.section .modinfo, "a"
	.asciz	"license=GPL"
	.asciz	"name=scheduler"
	.section .debug_info
	.long	1
`

func TestFinish(t *testing.T) {
	dir := t.TempDir()
	ko, out := filepath.Join(dir, "a.o"), filepath.Join(dir, "scheduler.ko")
	binding := &Binding{Anchor: "far", Places: map[string]bind.Place{"far": {Addr: 0x1000}, "other": {Addr: 0x2000}}}
	finish := func(text string, d *desc.Description) error {
		t.Helper()
		if err := os.WriteFile(ko, assemble(t, text), 0o644); err != nil {
			t.Fatal(err)
		}
		return Finish(t.Context(), nil, ko, out, d, binding)
	}
	want := desc.Description{Format: desc.Version, Release: "r", BuildID: "b", Witnesses: map[string]uint64{"w": 9}}
	if err := finish(thisModule, &want); err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Section(desc.Section)
	if s == nil || s.Flags&elf.SHF_ALLOC != 0 || f.Section(".debug_info") != nil {
		t.Fatalf("description %+v, debug information %v", s, f.Section(".debug_info") != nil)
	}
	contents := func(section string) string {
		data, err := f.Section(section).Data()
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var got desc.Description
	if err := json.Unmarshal([]byte(contents(desc.Section)), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !regexp.MustCompile("^plugsched_[0-9a-f]{8}$").MatchString(got.Name) {
		t.Errorf("name %q", got.Name)
	}
	if this := contents(".gnu.linkonce.this_module"); this[24:24+len(got.Name)+1] != got.Name+"\x00" || strings.Contains(this, Name) {
		t.Errorf("struct module: %q", this)
	}
	if info := contents(".modinfo"); info != "license=GPL\x00"+strings.Repeat("\x00", len("name=scheduler\x00")) {
		t.Errorf("modinfo: %q", info)
	}
	if u, err := Undefined(out); err != nil || !slices.Equal(u, []string{"far"}) {
		t.Errorf("undefined %v, %v", u, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 { // with the debug information
		t.Errorf("left behind: %v", entries)
	}

	// The same contents have the same name, others another.
	again, code, description := want, want, want
	description.Commit = "abc"
	for _, c := range []struct {
		what string
		text string
		d    *desc.Description
		same bool
	}{{"again", thisModule, &again, true}, {"other code", strings.Replace(thisModule, "call	other", "jmp	other", 1), &code, false},
		{"other description", thisModule, &description, false}} {
		if err := finish(c.text, c.d); err != nil || c.d.Name == want.Name != c.same {
			t.Errorf("%s: name %s, was %s (%v)", c.what, c.d.Name, want.Name, err)
		}
	}
}

func TestFinishErrors(t *testing.T) {
	dir := t.TempDir()
	ko := filepath.Join(dir, "a.o")
	binding := &Binding{Anchor: "far", Places: map[string]bind.Place{"far": {Addr: 0x1000}, "other": {Addr: 0x2000}}}
	for name, tt := range map[string]struct{ from, to, want string }{
		"no struct module": {".gnu.linkonce.this_module", ".gnu.linkonce.another", "has no section .gnu.linkonce.this_module"},
		"another name":     {`.asciz	"scheduler"`, `.asciz	"schedule"`, "0 times \"scheduler\""},
		"two names":        {".zero	100", ".zero	100\n.asciz	\"scheduler\"\n.zero	100", "2 times \"scheduler\""},
		"name too long":    {`.asciz	"scheduler"`, `.asciz	"scheduler","and more"`, "0 times \"scheduler\""},
		"unbound":          {"call	other", "call	unheard", "unheard"},
	} {
		if err := os.WriteFile(ko, assemble(t, strings.Replace(thisModule, tt.from, tt.to, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(dir, "out.ko")
		if err := Finish(t.Context(), nil, ko, out, &desc.Description{}, binding); err == nil || !strings.Contains(err.Error(), tt.want) ||
			!strings.Contains(err.Error(), ko) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("%s: left behind: %v", name, entries)
		}
	}
	if err := Finish(t.Context(), nil, filepath.Join(dir, "none.o"),
		filepath.Join(dir, "out"), &desc.Description{}, binding); !os.IsNotExist(err) {
		t.Errorf("missing module: %v", err)
	}
}

// builtIn stands in for a kbuild that leaves options out for what it does not link into the kernel.
const builtIn = `src := $(M)
obj := $(M)
include $(M)/Kbuild
is-kernel-object = $(filter $(basename $@).o,$(addprefix $(M)/,$(obj-y)))
all: $(addprefix $(M)/,$(always-y))
$(M)/%.o: $(M)/%.c
	$(CC) -DMODULE $(if $(is-kernel-object),-DSANITIZED=1) -Iinclude -Wp,-MMD,$@.d -c -o $@ $<
`

// TestBuiltInOptions: units are compiled with the options of the kernel's own objects.
func TestBuiltInOptions(t *testing.T) {
	work, kernel := t.TempDir(), t.TempDir()
	write(t, filepath.Join(kernel, "Makefile"), builtIn)
	writeHeaders(t, kernel)
	write(t, filepath.Join(work, "kernel/sched/Makefile"), "obj-y := core.o\n")
	write(t, filepath.Join(work, "kernel/sched/core.c"), "int sanitized = SANITIZED;\n")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tree := &Tree{WorkDir: work, SchedDir: "kernel/sched", KernelBuild: kernel, Common: "/none", Self: self,
		Env: &environment.Environment{CC: "gcc"}}
	units, err := Compile(t.Context(), tree, filepath.Join(t.TempDir(), "out"))
	if err != nil || len(units) != 1 || !slices.Contains(units[0].Command, "-DSANITIZED=1") {
		t.Errorf("%+v, %v", units, err)
	}
}
