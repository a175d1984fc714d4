// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/symbols"
)

const unitName = "kernel/sched/core.c"

// compile returns gcc's assembly of C text, with a kernel's flags.
func compile(t *testing.T, c string) *asm.Unit {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "unit.c"), c)
	run(t, dir, "gcc", "-S", "-O2", "-g", "-fno-pie", "-mcmodel=kernel", "-ffreestanding", "-fno-asynchronous-unwind-tables",
		"-fcf-protection=none", "-fno-ipa-icf", "-fno-common", "-fno-toplevel-reorder", "-fno-section-anchors", "-o", "unit.s", "unit.c")
	text, err := os.ReadFile(filepath.Join(dir, "unit.s"))
	if err != nil {
		t.Fatal(err)
	}
	u, err := asm.Parse(&arch.X86.Assembly, "unit.s", text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// object assembles text and returns the path.
func object(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "unit.s"), text)
	run(t, dir, "as", "-o", "unit.o", "unit.s")
	return filepath.Join(dir, "unit.o")
}

// table makes a symbol table as symbols.Load gives it.
func table(t *testing.T, list ...symbols.Symbol) *symbols.Table {
	t.Helper()
	path := filepath.Join(t.TempDir(), "symbols")
	if err := (&symbols.Table{Symbols: list}).Save(path); err != nil {
		t.Fatal(err)
	}
	s, err := symbols.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// kernelOf is a kernel that has what a pristine unit defines: functions of the
// given classes, internal ones otherwise, and all objects as shared ones, but
// tables and private ones as named in objects.
func kernelOf(t *testing.T, u *asm.Unit, classes map[string]boundary.Class, objects map[string]boundary.ObjectClass) *Kernel {
	t.Helper()
	b := &boundary.Boundary{Sources: []string{"kernel/sched"}}
	var syms []symbols.Symbol
	for i, d := range u.Defs {
		s := symbols.Symbol{Name: d.Name, Unit: unitName, Addr: uint64(0x1000 * (i + 1)), Size: d.Size, Global: d.Global, Kind: symbols.Object,
			Init: initSection(d.Section)}
		switch d.Kind {
		case asm.Func:
			s.Kind = symbols.Func
			base, _, _ := strings.Cut(d.Name, ".")
			class, ok := classes[d.Name]
			if !ok {
				class = boundary.Internal
			}
			b.Functions = append(b.Functions, &boundary.Function{Name: d.Name, Base: base, Unit: unitName, DeclFile: "kernel/sched/sched.h",
				DeclLine: i + 1,
				Class:    class, Facts: []boundary.Fact{{Kind: "stays", Text: "does as the test wants"}}})
		case asm.Object:
			class, ok := objects[d.Name]
			if !ok {
				class = boundary.Shared
			}
			b.Objects = append(b.Objects, &boundary.Object{Name: d.Name, Unit: unitName, Class: class, Size: d.Size,
				DeclFile: "kernel/sched/sched.h", DeclLine: i + 1})
		default:
			continue
		}
		syms = append(syms, s)
	}
	return NewKernel(arch.X86, b, table(t, syms...))
}

// names of an assembled unit: definitions (with the section) and undefined ones.
func names(t *testing.T, text []byte) (defined map[string]string, undefined []string) {
	t.Helper()
	f, err := elf.Open(object(t, string(text)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	defined = map[string]string{}
	for _, s := range syms {
		switch {
		case s.Section == elf.SHN_UNDEF:
			undefined = append(undefined, s.Name)
		case elf.ST_TYPE(s.Info) == elf.STT_FUNC || elf.ST_TYPE(s.Info) == elf.STT_OBJECT:
			defined[s.Name] = f.Sections[s.Section].Name
		}
	}
	slices.Sort(undefined)
	return defined, undefined
}

// scheduler has one thing of each kind.
const scheduler = `
#define NOINLINE __attribute__((noinline, noclone, noipa, used))
#define SECTION(s) __attribute__((section(s)))
typedef void fn(void);
void keep(void *), __switch_to_asm(void);
extern int pcpu;
struct sched_class { fn *a, *b; };

int shared = 5;
int pcpu SECTION(".data..percpu") = 1;
int private = 6;
static int once SECTION(".data.once");
const int weights[3] = {9, 8, 7};
const int known[3] = {1, 2, 3};
int counted = 3;
int many = 3;
int early SECTION(".init.data") = 4;
static int zeros[10], idle;

NOINLINE void external(void) { keep(&shared); keep((void *)known); }
NOINLINE void border(void) { keep(&shared); asm volatile("nop"); }
static NOINLINE void callback(void) { keep(&private); }
static NOINLINE void internal(void) { keep(&pcpu); keep((void *)weights); keep(&counted); keep(&many); keep(&idle); }
static NOINLINE void clone(void) __asm__("clone.isra.0");
static NOINLINE void clone(void) { keep((void *)1); }
SECTION(".init.text") NOINLINE void setup(void) { keep(&early); keep(zeros); }
asm(".pushsection .initcall4.init,\"a\"\n.long setup - .\n.popsection");
const struct sched_class fair_sched_class SECTION("__fair_sched_class") = { internal, callback };
fn *op = callback;
NOINLINE void __schedule(void) { __switch_to_asm(); asm volatile("nop"); }
NOINLINE void user(void)
{
	static int n, m, k = 7;
	external(); border(); callback(); internal(); clone();
	keep(external); keep(border); keep(callback); keep(internal);
	n++; m += ++once; k++;
	asm volatile("nop");
}
NOINLINE void reader(void) { keep((void *)&fair_sched_class); }
asm(".pushsection .discard.addressable,\"aw\"\n.type __UNIQUE_ID_1,@object\n.size __UNIQUE_ID_1,8\n__UNIQUE_ID_1: .quad __SCK__x\n.popsection");
`

var schedulerClasses = map[string]boundary.Class{"external": boundary.External, "border": boundary.Interface, "callback": boundary.Callback,
	"clone.isra.0": boundary.External, "setup": boundary.Init, "__schedule": boundary.Interface, "user": boundary.Internal}

var schedulerObjects = map[string]boundary.ObjectClass{"private": boundary.Private, "fair_sched_class": boundary.Table}

// plan decides about edited C text, against a kernel that was made of pristine.
func plan(t *testing.T, pristine, edited string) (*Plan, *edits.Set) {
	t.Helper()
	old, u := compile(t, pristine), compile(t, edited)
	k := kernelOf(t, old, schedulerClasses, schedulerObjects)
	k.SetUnits(map[string]*asm.Unit{unitName: old}, map[string]*asm.Unit{unitName: u})
	src := &edits.Set{}
	src.Compare(unitName, pristine, edited)
	return k.Decide(unitName, u, old), src
}

func TestFates(t *testing.T) {
	p, _ := plan(t, scheduler, scheduler+"\nint newvar = 4; NOINLINE void newfn(void) { keep(&newvar); }")
	got := map[string]Fate{}
	for d, fate := range p.Fates {
		got[asm.Stem(d.Name)] = fate
	}
	delete(got, "__UNIQUE_ID_")
	want := map[string]Fate{
		"weights": Drop, "known": Drop, "counted": Drop, "many": Drop, "zeros": Drop, "idle": Drop,
		"shared": Drop, "pcpu": Drop, "private": Keep, "once": Drop,
		"early": Drop, "external": Drop, "border": Keep, "callback": Keep,
		"internal": Keep, "clone.isra": Copy, "setup": Drop, "fair_sched_class": Replace, "op": Drop, "__schedule": Keep, "user": Keep,
		"reader": Keep, "n": Drop, "m": Drop, "k": Drop, "newvar": New, "newfn": New,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRender(t *testing.T) {
	p, _ := plan(t, scheduler, scheduler)
	text := p.Render()
	defined, undefined := names(t, text)
	for _, name := range []string{"external", "shared", "pcpu", "setup", "early", "op", "once", "fair_sched_class"} {
		if s, ok := defined[name]; ok {
			t.Errorf("%s is still defined, in %s", name, s)
		}
	}
	for name, section := range map[string]string{"border": ".text", "callback": ".text", "internal": ".text", "clone.isra.0": ".text",
		"user": ".text", "__schedule": ".text", "private": ".data", TablePrefix + "fair_sched_class": ".data.rel.ro"} {
		if defined[name] != section {
			t.Errorf("%s is in %q, want %q", name, defined[name], section)
		}
	}
	for i, u := range undefined {
		if u, ok := strings.CutPrefix(u, "__orig_kernel.sched.core_"); ok { // gcc's numbers
			undefined[i] = "__orig_kernel.sched.core_" + u[:1]
		}
	}
	want := []string{"__orig_border", "__orig_callback", "__orig_kernel.sched.core_k", "__orig_kernel.sched.core_m",
		"__orig_kernel.sched.core_n", "counted", "external", "fair_sched_class", "idle", "keep", "many", "once", "pcpu",
		SwitchTo, "shared", "weights"}
	undefined = slices.DeleteFunc(undefined, func(s string) bool { return s == "__SCK__x" })
	if diff := cmp.Diff(want, undefined); diff != "" {
		t.Errorf("undefined: %s", diff)
	}
	for _, line := range []string{"call\texternal", "call\tborder", "call\tcallback", "call\tinternal", "call\tclone.isra.0",
		"$external", "$" + OrigPrefix + "border", "$" + OrigPrefix + "callback", "$internal", ".quad\tinternal",
		".quad\t" + OrigPrefix + "callback",
		"call\t" + SwitchTo, ".globl\tcallback", ".globl\t" + TablePrefix + "fair_sched_class"} {
		if !strings.Contains(string(text), line+"\n") && !strings.Contains(string(text), line+",") {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	for _, line := range []string{".initcall", "setup", "call\t" + OrigPrefix, "__switch_to_asm"} {
		if strings.Contains(string(text), line) {
			t.Errorf("%q in\n%s", line, text)
		}
	}
	if s := p.Bound[OrigPrefix+"callback"]; s == nil || s.Name != "callback" {
		t.Errorf("__orig_callback is bound to %+v", s)
	}
}

// TestAddressable: of .discard.addressable only what objtool needs is kept.
func TestAddressable(t *testing.T) {
	entry := func(name, target string) string {
		return "\t.section .discard.addressable,\"aw\"\n\t.type " + name + ",@object\n\t.size " + name + ",8\n" + name + ":\n\t.quad " +
			target + "\n"
	}
	u, err := asm.Parse(&arch.X86.Assembly, "a.s", []byte(entry("__UNIQUE_ID_a1", "__SCK__might_resched")+entry("__UNIQUE_ID_b2", "setup")))
	if err != nil {
		t.Fatal(err)
	}
	out := string(kernelOf(t, &asm.Unit{}, nil, nil).Decide(unitName, u, &asm.Unit{}).Render())
	if !strings.Contains(out, "__SCK__might_resched") || strings.Contains(out, "setup") || strings.Contains(out, ".globl") {
		t.Errorf("got\n%s", out)
	}
}

// TestBoundNames: a name that several units define is bound by unit.
func TestBoundNames(t *testing.T) {
	u := compile(t, "static int state = 4; __attribute__((used)) int get(void) { return state++; }")
	k := NewKernel(arch.X86, &boundary.Boundary{Functions: []*boundary.Function{{Name: "get", Base: "get", Unit: unitName,
		Class: boundary.Internal}}},
		table(t, symbols.Symbol{Name: "state", Unit: "kernel/sched/fair.c", Addr: 1, Size: 4, Kind: symbols.Object},
			symbols.Symbol{Name: "state", Unit: unitName, Addr: 2, Size: 4, Kind: symbols.Object}))
	p := k.Decide(unitName, u, u)
	_, undefined := names(t, p.Render())
	if diff := cmp.Diff([]string{"__orig_kernel.sched.core_state"}, undefined); diff != "" {
		t.Error(diff)
	}
	if s := p.Bound["__orig_kernel.sched.core_state"]; s == nil || s.Addr != 2 {
		t.Errorf("bound to %+v", s)
	}
}

// TestSize: an object of another size is not the kernel's.
func TestSize(t *testing.T) {
	p, _ := plan(t, scheduler, strings.Replace(scheduler, "int shared = 5", "long shared = 5", 1))
	if f := p.Fates[p.Source.Lookup("shared")]; f != New {
		t.Errorf("fate %s", f)
	}
}

// TestSameName: what is new is not the kernel's because that has something of the
// name.
func TestSameName(t *testing.T) {
	old := compile(t, scheduler)
	u := compile(t, scheduler+"int taken = 1; NOINLINE void busy(void) { keep(&taken); }")
	k := kernelOf(t, old, schedulerClasses, schedulerObjects)
	k.Symbols = table(t, symbols.Symbol{Name: "taken", Unit: "drivers/a.c", Addr: 1, Size: 4, Kind: symbols.Object, Global: true},
		symbols.Symbol{Name: "busy", Unit: "drivers/a.c", Addr: 2, Size: 4, Kind: symbols.Func, Global: true})
	k.SetUnits(map[string]*asm.Unit{unitName: old}, map[string]*asm.Unit{unitName: u})
	p := k.Decide(unitName, u, old)
	for _, name := range []string{"taken", "busy"} {
		if f := p.Fates[u.Lookup(name)]; f != New {
			t.Errorf("%s: %s", name, f)
		}
	}
}

func TestTwins(t *testing.T) {
	const use = `
		#define F(name) __attribute__((noinline, used)) int name
		F(a)(void) { static int n; return n++; }
		F(b)(void) { static int n; static long n2; return n++ + n2++; }
		F(c)(void) { static int x = 1, y = 1; return x++ + y++; }
		F(d)(int i) { static const int k[] = {1, 2, 9}; return k[i]; }
		F(e)(void) { static int printed __attribute__((section(".data.once"))); return printed++; }`
	old := compile(t, use)
	edited := compile(t, use+"F(newer)(void) { static int n, other; static long n2; return n++ + other++ + n2++; }\n")
	k := kernelOf(t, old, nil, nil)
	users := func(u *asm.Unit) map[string]string { // numbered local to the function that uses it
		m := map[string]string{}
		for _, d := range u.Defs {
			if d.Kind == asm.Func {
				u.Refs(d, func(name string, _ bool) {
					if numbered(name) {
						m[name] = d.Name + "." + asm.Stem(name)
					}
				})
			}
		}
		return m
	}
	was, is := users(old), users(edited)
	got := map[string]string{}
	renumbered := false
	for ours, theirs := range k.twins(unitName, edited, old) {
		got[is[ours]] = was[theirs]
		renumbered = renumbered || ours != theirs
	}
	want := map[string]string{"a.n": "a.n", "b.n": "b.n", "b.n2": "b.n2", "c.x": "c.x", "c.y": "c.y"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !renumbered {
		t.Error("gcc gave the locals the same numbers: the test tests nothing")
	}
}
