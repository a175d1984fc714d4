// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/kernel/arch"
)

// fork is a unit outside of the scheduler: f is called from yet another.
const fork = prelude + `
void wait_for_completion(void); void wake_up_new_task(void);
static NOINLINE void helper(void) { keep(0); }
NOINLINE void f(void) { helper(); wake_up_new_task(); keep(0); }
NOINLINE void g(void) { f(); keep(0); }
`

// caller uses both.
const caller = "void f(void); void g(void); NOINLINE void user(void) { f(); g(); keep(0); }"

// waker is what fork uses of the scheduler.
const waker = "NOINLINE void wake_up_new_task(void) { keep(0); }"

func named(functions ...string) Sidecars {
	var l Sidecars
	for i, f := range functions {
		l = append(l, Sidecar{File: "kernel/fork.c", Function: f, Reason: "a test", Line: 10 + i})
	}
	return l
}

func withFork(core, fork, outside string) map[string]string {
	return map[string]string{"kernel/sched/core.c": core, "kernel/fork.c": fork, "init/main.c": base + outside}
}

var withForkUnits = []string{"kernel/sched/core.c", "kernel/fork.c", "init/main.c"}

func TestSidecar(t *testing.T) {
	p := kernel(t, withFork(core+waker, fork, caller), withForkUnits...)
	without := derive(t, p, config())
	if list := without.Find("f"); len(list) > 0 || without.Sidecars != nil {
		t.Fatalf("without sidecars: %+v, %v", list, without.Sidecars)
	}
	if w := only(t, without, "wake_up_new_task"); w.Class != Interface {
		t.Fatalf("wake_up_new_task is %s", w.Class)
	}
	cfg := config()
	cfg.Sidecar = named("f")
	b := derive(t, p, cfg)
	if diff := cmp.Diff([]string{"kernel/fork.c"}, b.Sidecars); diff != "" {
		t.Error(diff)
	}
	f := only(t, b, "f")
	if f.Class != Interface || !f.Sidecar || f.Facts[0].Kind != "sidecar" || f.Facts[0].Text != "is named under sidecar: a test" ||
		len(f.Shipped) == 0 {
		t.Errorf("f: %+v", f)
	}
	for _, who := range []string{"called: g (kernel/fork.c), which stays", "called: user (init/main.c), which stays"} {
		if !hasFact(f, who) {
			t.Errorf("f: facts %v, want %s", f.Facts, who)
		}
	}
	for _, name := range []string{"g", "helper"} {
		if o := only(t, b, name); o.Class != External || o.Sidecar || !hasFact(o, "unnamed: plugsched.yaml does not name it") {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if got := b.Sidecar(); len(got) != 1 || got[0] != f {
		t.Errorf("sidecars %v", got)
	}
	// What only sidecars call is only reached from the module.
	if w := only(t, b, "wake_up_new_task"); w.Class != Internal {
		t.Errorf("wake_up_new_task is %s: %v", w.Class, w.Facts)
	}
	cfg.Sidecar = named("f", "g", "helper")
	b = derive(t, p, cfg)
	if h := only(t, b, "helper"); h.Class != Internal || !hasFact(h, "inside: f") || !hasFact(h, "sidecar: a test") {
		t.Errorf("helper: %+v", h)
	}
	if !slices.IsSortedFunc(b.Functions, func(a, b *Function) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("not sorted")
	}
}

// TestSidecarParts: a name means what gcc made of the function, and all entries of a
// system call.
func TestSidecarParts(t *testing.T) {
	const fork = prelude + `
NOINLINE void f_part(void) CLONE("f.part.0"); NOINLINE void f_part(void) { keep(0); }
NOINLINE void f(void) { f_part(); keep(0); }
NOINLINE void __x64_sys_call(void) { keep(0); }
NOINLINE void __ia32_sys_call(void) { keep(0); }
int state = 1;
SECTION(".init.text") NOINLINE void setup(void) { keep(&state); }
`
	p := kernel(t, withFork(core, fork, "void f(void); NOINLINE void user(void) { f(); keep(0); }"), withForkUnits...)
	cfg := config()
	cfg.Sidecar = named("call", "f")
	cfg.Waits = map[string]string{"keep": "a test"}
	b := derive(t, p, cfg)
	for name, class := range map[string]Class{"f.part.0": Internal, "__x64_sys_call": Internal, "__ia32_sys_call": Internal, "setup": Init} {
		if f := only(t, b, name); f.Class != class || f.Sidecar != (class != Init) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	// A system call in which tasks may wait moves, and says so.
	if f := only(t, b, "__x64_sys_call"); !hasFact(f, "waits: any user can keep a task") {
		t.Errorf("facts %v", f.Facts)
	}
	if o := b.FindObject("state"); len(o) != 1 || o[0].Class != Shared || o[0].Unit != "kernel/fork.c" || o[0].Type != "int" {
		t.Errorf("state: %+v", o)
	}
}

// TestSidecarInside: a function of the scheduler that stays for other users' sake.
func TestSidecarInside(t *testing.T) {
	text := core + "NOINLINE void __x64_sys_f(void) { keep(0); } NOINLINE void g(void) { keep(0); }"
	p := kernel(t, map[string]string{"kernel/sched/core.c": text}, "kernel/sched/core.c")
	cfg := config()
	cfg.Waits = map[string]string{"keep": "a test"}
	if f := only(t, derive(t, p, cfg), "__x64_sys_f"); f.Class != External {
		t.Fatalf("%+v", f)
	}
	cfg.Sidecar = Sidecars{{File: "kernel/sched/core.c", Function: "f", Reason: "a test"}}
	b := derive(t, p, cfg)
	if f := only(t, b, "__x64_sys_f"); !f.Class.Moves() || !f.Sidecar || b.Sidecars != nil {
		t.Errorf("%+v, %v", f, b.Sidecars)
	}
}

func TestSidecarRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		core, fork, outside string
		named               Sidecars
		want                string
	}{
		"unknown function": {named: named("f", "nothing"), want: "11: sidecar: kernel/fork.c: the kernel has no function nothing there"},
		"unknown file": {named: Sidecars{{File: "kernel/frok.c", Function: "f", Line: 3}},
			want: "3: sidecar: kernel/frok.c: the kernel's image has no code of this file: it is part of a module"},
		"of another file": {named: Sidecars{{File: "init/main.c", Function: "f"}}, want: "init/main.c: the kernel has no function f there"},
		"inlined everywhere": {fork: "static __attribute__((always_inline)) inline void tiny(void) { keep((void *)4); } NOINLINE void host(void) { tiny(); keep(0); }",
			named: named("tiny"), want: "the compiler inlined tiny into host: name that instead"},
		"inlined somewhere": {fork: "__attribute__((used, always_inline)) static inline void tiny(void) { keep((void *)4); } NOINLINE void host(void) { tiny(); keep(0); } void (*tinyp)(void) = tiny;",
			named: named("tiny"), want: "tiny cannot move: it is also inlined into host, where a change would be lost: name that too"},
		"inside the boundary": {core: "NOINLINE void inner(void) { keep(0); }", named: Sidecars{{File: "kernel/sched/core.c", Function: "inner"}},
			want: "kernel/sched/core.c: inner is inside the boundary and moves already"},
		"inside, but sleeps": {core: "NOINLINE void inner(void) { __schedule(); keep(0); }",
			named: Sidecars{{File: "kernel/sched/core.c", Function: "inner"}},
			want:  "inner cannot move: it sleeps"},
		"init": {fork: `SECTION(".init.text") NOINLINE void setup(void) { keep(0); }`, named: named("setup"),
			want: "setup cannot move: it is in .init.text"},
		"marked sched": {fork: `SECTION(".sched.text") NOINLINE void lock(void) { keep(0); }`, named: named("lock"),
			want: "lock cannot move: it is marked __sched"},
		"noinstr": {fork: `SECTION(".noinstr.text") NOINLINE void entry(void) { keep(0); }`,
			outside: "void entry(void); NOINLINE void nmi(void) { entry(); keep(0); }", named: named("entry"), want: "instrumentation is forbidden"},
		"clone": {fork: `NOINLINE void c(void) CLONE("c.isra.0"); NOINLINE void c(void) { keep(0); } NOINLINE void host(void) { c(); keep(0); }`,
			named: named("c"), want: "c.isra.0 cannot move: it is a clone (c.isra.0) whose calling convention only gcc knows, and code that stays calls it: host"},
		"sleeps": {fork: "NOINLINE void sleeper(void) { __schedule(); keep(0); }", named: named("sleeper"),
			want: "sleeper cannot move: it sleeps"},
		"sleeps by another of its file": {fork: "static NOINLINE void deep(void) { schedule_timeout(); keep(0); } NOINLINE void sleeper(void) { deep(); keep(0); }",
			named: named("sleeper"), want: "sleeper cannot move: it sleeps: deep calls schedule_timeout"},
		"waits for a completion": {core: `SECTION(".sched.text") NOINLINE void wait_for_completion(void) { schedule_timeout(); keep(0); }`, fork: "NOINLINE void sleeper(void) { wait_for_completion(); keep(0); }",
			named: named("sleeper"), want: "sleeper cannot move: it sleeps: it calls wait_for_completion"},
		"from a header": {fork: "\n#line 1 \"include/linux/h.h\"\nNOINLINE void inh(void) { keep(0); }", named: named("inh"),
			want: "inh cannot move: it is declared in include/linux/h.h"},
		"same name": {core: "static NOINLINE void twin(void) { keep((void *)2); } void (*twinp)(void) = twin;",
			fork:  "static NOINLINE void twin(void) { keep((void *)3); } void (*twinq)(void) = twin;",
			named: named("twin"), want: "twin cannot move: it has the name of another function, in kernel/sched/core.c"},
		"name of a global": {fork: "static NOINLINE void twin(void) { keep((void *)3); } void (*twinq)(void) = twin;",
			outside: "NOINLINE void twin(void) { keep(0); }",
			named:   named("twin"), want: "twin cannot move: it has the name of another function, in init/main.c"},
	} {
		t.Run(name, func(t *testing.T) {
			p := kernel(t, withFork(core+waker+tt.core, fork+tt.fork, caller+tt.outside), withForkUnits...)
			cfg := config()
			cfg.file, cfg.Sidecar = "plugsched.yaml", tt.named
			_, err := Derive(t.Context(), p, arch.X86, cfg, nil)
			var e *ConfigError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// TestMovable: what stays only because any user can keep a task in it says as which sidecar it moves, and
// as that it does.
func TestMovable(t *testing.T) {
	const units = `
		void _copy_x(void);
		static NOINLINE void deep(void) { _copy_x(); keep(0); }
		NOINLINE void __x64_sys_call(void) { deep(); keep(0); }
		NOINLINE void sleeper(void) { schedule_timeout(); keep(0); }
		NOINLINE void c(void) CLONE("c.isra.0"); NOINLINE void c(void) { _copy_x(); keep(0); }
		NOINLINE void __x64_sys_other(void) { c(); keep(0); }
		NOINLINE void moves(void) { keep(0); }`
	p := kernel(t, withFork(core+waker+units, fork, caller+`void c(void) asm("c.isra.0"); NOINLINE void clonish(void) { c(); keep(0); }
		NOINLINE void _copy_x(void) { asm volatile("nop"); }`), withForkUnits...)
	cfg := config()
	slowMemory(cfg)
	b := derive(t, p, cfg)
	for name, want := range map[string]string{"deep": "kernel/sched/core.c:deep", "__x64_sys_call": "kernel/sched/core.c:call",
		"__x64_sys_other": "kernel/sched/core.c:other", "c.isra.0": "", "sleeper": "", "moves": ""} {
		if f := only(t, b, name); f.Movable != want {
			t.Errorf("%s: %q, want %q: %v", name, f.Movable, want, f.Facts)
		}
	}
	for _, name := range []string{"deep", "__x64_sys_call", "__x64_sys_other"} {
		_, function, _ := strings.Cut(only(t, b, name).Movable, ":")
		cfg.Sidecar = append(cfg.Sidecar, Sidecar{File: "kernel/sched/core.c", Function: function, Reason: "a test"})
	}
	b = derive(t, p, cfg)
	for _, name := range []string{"deep", "__x64_sys_call", "__x64_sys_other"} {
		if f := only(t, b, name); !f.Class.Moves() || f.Movable != "" {
			t.Errorf("%s is %s, %q", name, f.Class, f.Movable)
		}
	}
}

func TestSidecarConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plugsched.yaml")
	load := func(text string) (*Config, error) {
		write(t, path, text)
		return LoadConfig(path)
	}
	cfg, err := load("# mine\nsidecar:\n  kernel/sys.c:\n    b: why\n  kernel/fork.c:\n    a: because\n    c: more\n")
	if err != nil {
		t.Fatal(err)
	}
	want := Sidecars{{"kernel/fork.c", "a", "because", 6}, {"kernel/fork.c", "c", "more", 7}, {"kernel/sys.c", "b", "why", 4}}
	if diff := cmp.Diff(want, cfg.Sidecar); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"kernel/sched", "kernel/fork.c", "kernel/sys.c"}, cfg.Units()); diff != "" {
		t.Error(diff)
	}
	if !cfg.Compiled("kernel/sys.c") || !cfg.Compiled("kernel/sched/core.c") || cfg.Compiled("kernel/exit.c") || cfg.Source("kernel/sys.c") {
		t.Error("wrong units")
	}
	if cfg, err := load("sidecar:\n"); err != nil || len(cfg.Sidecar) > 0 {
		t.Errorf("empty: %v", err)
	}
	for text, want := range map[string]string{
		"sidecar: fork\n":                                                "1: sidecar: write FILE:, and below it FUNCTION: reason",
		"sidecar:\n  - kernel/fork.c\n":                                  "2: sidecar: write FILE:",
		"sidecar:\n  kernel/fork.c:\n":                                   "2: sidecar: kernel/fork.c: name its functions below it",
		"sidecar:\n  kernel/fork.c: copy_mm\n":                           "2: sidecar: kernel/fork.c: name its functions below it",
		"sidecar:\n  kernel/fork.c:\n    f:\n      - x\n":                "4: sidecar: kernel/fork.c: the reason for f is not a text",
		"sidecar:\n  kernel/fork.c:\n    f:\n":                           "3: sidecar: kernel/fork.c: f needs a reason: write f: REASON",
		"sidecar:\n  kernel/fork.c:\n    f: x\n    f: y\n":               "4: sidecar: f is listed twice",
		"sidecar:\n  kernel/fork.c: {f: x}\n  kernel/fork.c: {g: y}\n":   "3: ",
		"sidecar:\n  arch/x86/entry/entry_64.S:\n    f: x\n":             "2: sidecar: arch/x86/entry/entry_64.S: is assembly: only C can be changed",
		"sidecar:\n  include/linux/sched.h:\n    f: x\n":                 "2: sidecar: include/linux/sched.h: is not a .c file",
		"sidecar:\n  ../fork.c:\n    f: x\n":                             "2: sidecar: ../fork.c: write the path from the top",
		"sidecar:\n  /kernel/fork.c:\n    f: x\n":                        "2: sidecar: /kernel/fork.c: write the path from the top",
		"stay:\n  f: y\nsidecar:\n  kernel/fork.c:\n    f: x\n":          "5: sidecar: kernel/fork.c: f is listed under stay too (line 2)",
		"sidecar:\n  kernel/fork.c:\n    f: x\n  \"\":\n    g: y\n":      "4: sidecar: a name is missing",
		"interface:\n  f: x\nsidecar:\n  kernel/sched/core.c:\n    f: x": "5: sidecar: kernel/sched/core.c: f is listed under interface too (line 2)",
	} {
		_, err := load(text)
		if err == nil || !strings.Contains(err.Error(), "plugsched.yaml:"+want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

func TestAddSidecar(t *testing.T) {
	for name, tt := range map[string]struct{ text, file, function, want string }{
		"empty":          {"", "kernel/fork.c", "f", "sidecar:\n  kernel/fork.c:\n    f: why\n"},
		"comments only":  {"# a\n#b\n", "kernel/fork.c", "f", "# a\n#b\nsidecar:\n  kernel/fork.c:\n    f: why\n"},
		"other sections": {"stay:\n  x: y\n", "kernel/fork.c", "f", "stay:\n  x: y\nsidecar:\n  kernel/fork.c:\n    f: why\n"},
		"no newline":     {"stay:\n  x: y", "kernel/fork.c", "f", "stay:\n  x: y\nsidecar:\n  kernel/fork.c:\n    f: why\n"},
		"another file": {"sidecar:\n  kernel/sys.c:\n    g: z\n# end\nstay:\n  x: y\n", "kernel/fork.c", "f",
			"sidecar:\n  kernel/fork.c:\n    f: why\n  kernel/sys.c:\n    g: z\n# end\nstay:\n  x: y\n"},
		"the same file": {"sidecar:\n    kernel/fork.c:   # mine\n        g: z\n", "kernel/fork.c", "f",
			"sidecar:\n    kernel/fork.c:   # mine\n        f: why\n        g: z\n"},
		"there already": {"sidecar:\n  kernel/fork.c:\n    f: my own\n", "kernel/fork.c", "f", "sidecar:\n  kernel/fork.c:\n    f: my own\n"},
		"odd names":     {"", "kernel/a: b.c", "#f", "sidecar:\n  'kernel/a: b.c':\n    '#f': why\n"},
		"empty section": {"sidecar:\n", "kernel/fork.c", "f", "sidecar:\n  kernel/fork.c:\n    f: why\n"},
	} {
		got, err := AddSidecar([]byte(tt.text), tt.file, tt.function, "why")
		if diff := cmp.Diff(tt.want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
			continue
		}
		var cfg Config
		if err := parseConfig(got, &cfg); err != nil || !slices.ContainsFunc(cfg.Sidecar,
			func(s Sidecar) bool { return s.File == tt.file && s.Function == tt.function }) {
			t.Errorf("%s: %v, %v", name, err, cfg.Sidecar)
		}
	}
	for text, want := range map[string]string{"sidecar: {}\n": "line 1: add the sidecar a.c:f here by hand", "[x]\n": "line 1: ",
		"a: [\n": "yaml"} {
		if got, err := AddSidecar([]byte(text), "a.c", "f", "why"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
