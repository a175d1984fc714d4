// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"golang.org/x/sys/unix"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/image"
)

// linkerScript lays out a kernel as arch/x86/kernel/vmlinux.lds.S does, as far as
// the boundary looks at it.
const linkerScript = `SECTIONS {
	. = 0xffffffff81000000;
	.text : {
		_stext = .; *(.text .text.unlikely .text.*)
		__sched_text_start = .; *(.sched.text) __sched_text_end = .;
		__noinstr_text_start = .; *(.noinstr.text) __noinstr_text_end = .;
		_etext = .;
	}
	.notes : { *(.note.gnu.build-id) }
	.rodata : { *(.rodata .rodata.*) *(__ksymtab*) }
	.kbl : { __start_kprobe_blacklist = .; KEEP(*(_kprobe_blacklist)) __stop_kprobe_blacklist = .; }
	.data : { *(.data .data.*) . = ALIGN(8); __start___jump_table = .; KEEP(*(__jump_table)) __stop___jump_table = .; }
	.init.text : { *(.init.text) }
	.bss : { *(.bss .bss.*) }
	/DISCARD/ : { *(.note.GNU-stack .comment .eh_frame) }
}`

// prelude is in front of every unit.
const prelude = `
#define NOINLINE __attribute__((noinline, noclone, noipa, used, externally_visible))
#define SECTION(s) __attribute__((section(s)))
#define CLONE(n) __asm__(n)
#define EXPORT(f) asm(".pushsection __ksymtab,\"a\"\n__ksymtab_" #f ": .long 0\n.popsection")
void keep(void *);
void schedule_timeout(void);
void __schedule(void);
`

// base is what every kernel has.
const base = prelude + `
const char linux_banner[] = "Linux version 6.1.0-test (gcc) #1";
void __switch_to_asm(void);
asm(".text\n.globl __switch_to_asm\n.type __switch_to_asm,@function\n__switch_to_asm: ret; nop;nop;nop;nop;nop;nop\n.size __switch_to_asm,.-__switch_to_asm");
NOINLINE void keep(void *p) { asm volatile("" :: "r"(p)); }
NOINLINE void outside(void) { keep(0); }
void (*pointer)(void) = outside;
SECTION(".sched.text") NOINLINE void schedule_timeout(void) { __schedule(); asm volatile("nop"); }
NOINLINE void schedule_delayed(void) { schedule_timeout(); asm volatile("nop"); }
`

// core is the least scheduler.
const core = prelude + `
void __switch_to_asm(void);
SECTION(".sched.text") NOINLINE void __schedule(void) { __switch_to_asm(); asm volatile("nop"); }
`

// kernel builds a kernel from sources by path, links them in the order of units
// and returns its model.
func kernel(t *testing.T, sources map[string]string, units ...string) *image.Program {
	t.Helper()
	dir := t.TempDir()
	sources = maps.Clone(sources)
	if _, own := sources["init/main.c"]; !own {
		sources["init/main.c"] = base
		units = append(units, "init/main.c")
	}
	for path, text := range sources {
		write(t, filepath.Join(dir, path), text)
	}
	write(t, filepath.Join(dir, "ld.script"), linkerScript)
	var objects []string
	for _, u := range units {
		o := strings.ReplaceAll(u, "/", "_") + ".o"
		run(t, dir, "gcc", "-c", "-g", "-O2", "-fno-pie", "-mcmodel=kernel", "-ffreestanding", "-fno-asynchronous-unwind-tables",
			"-fcf-protection=none", "-fno-optimize-sibling-calls", "-fno-toplevel-reorder", "-Iinclude", "-o", o, u)
		objects = append(objects, o)
	}
	run(t, dir, "ld", append([]string{"-T", "ld.script", "--build-id", "-o", "vmlinux"}, objects...)...)
	p, err := image.Load(t.Context(), filepath.Join(dir, "vmlinux"), image.Options{SourceDirs: []string{"kernel/sched", "kernel/fork.c"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
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

func config() *Config { return &Config{Sources: []string{"kernel/sched"}} }

func derive(t *testing.T, p *image.Program, cfg *Config, tail ...string) *Boundary {
	t.Helper()
	b, err := Derive(t.Context(), p, arch.X86, cfg, tail)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// only returns the one function of that name.
func only(t *testing.T, b *Boundary, name string) *Function {
	t.Helper()
	list := b.Find(name)
	if len(list) != 1 {
		t.Fatalf("%d functions %s", len(list), name)
	}
	return list[0]
}

// hook is a function of the scheduler.
const hook = "NOINLINE void %s(void) { keep(0); }\n"

func TestClasses(t *testing.T) {
	tests := []struct {
		name    string
		core    string // appended to the scheduler
		outside string // appended to the rest
		files   map[string]string
		cfg     func(*Config)
		tail    []string
		class   Class  // of f
		fact    string // one of the facts begins with "KIND: " and holds the rest
	}{
		{name: "called from outside", core: "NOINLINE void f(void) { keep(0); }",
			outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }",
			class:   Interface, fact: "called: user (init/main.c), which stays"},
		{name: "exported", core: "NOINLINE void f(void) { keep(0); } EXPORT(f);", class: Interface, fact: "exported: modules may call it"},
		{name: "called from assembly", core: "NOINLINE void f(void) { keep(0); }",
			files: map[string]string{"arch/entry.S": ".text\n.globl entry\n.type entry,@function\nentry: call f\n ret\n.size entry,.-entry\n"},
			class: Interface, fact: "called: entry (a"},
		{name: "called from assembly without a type", core: "NOINLINE void f(void) { keep(0); }",
			files: map[string]string{"arch/entry.S": ".text\n.globl entry\nentry: call f\n ret\n"}, class: Interface, fact: "called: entry (a"},
		{name: "address in data", core: "static NOINLINE void f(void) { keep(0); } void (*op)(void) = f;", class: Callback,
			fact: "address: object op"},
		{name: "address in code", core: "static NOINLINE void f(void) { keep(0); } NOINLINE void g(void) { keep(f); }",
			outside: "void g(void); NOINLINE void user(void) { g(); keep(0); }",
			class:   Callback, fact: "address: code of g"},
		{name: "address in data and called", core: "NOINLINE void f(void) { keep(0); } void (*op)(void) = f;",
			outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }",
			class:   Interface, fact: "address: object op"},
		{name: "class table only", core: "static NOINLINE void f(void) { keep(0); } struct sched_class { void (*run)(void); }; const struct sched_class fair = { f };",
			class: Internal, fact: "inside: scheduling class table"},
		{name: "such a table outside", core: "NOINLINE void f(void) { keep(0); }",
			outside: "void f(void); struct sched_class { void (*run)(void); }; const struct sched_class foreign = { f };",
			class:   Callback, fact: "address: object foreign"},
		{name: "called from inside", core: "static NOINLINE void f(void) { keep(0); } NOINLINE void g(void) { f(); keep(0); }",
			class: Internal, fact: "inside: g"},
		{name: "called by init code only", core: `NOINLINE void f(void) { keep(0); } SECTION(".init.text") NOINLINE void g(void) { f(); keep(0); }`, class: Internal, fact: "inside: only called by __init code"},
		{name: "called by nobody", core: "NOINLINE void f(void) { keep(0); }", class: Internal, fact: "inside: not reached by anything"},
		{name: "known by BTF id", core: `NOINLINE void f(void) { keep(0); } asm(".pushsection .rodata\n.local __BTF_ID__func__f__1234\n.type __BTF_ID__func__f__1234,@object\n__BTF_ID__func__f__1234: .long 0\n.size __BTF_ID__func__f__1234,4\n.popsection");`,
			class: Interface, fact: "bpf: BPF programs may call it"},
		{name: "waits for a lock", core: "NOINLINE void f(void) { schedule_timeout(); keep(0); }",
			cfg: func(c *Config) { c.Locks = map[string]string{"schedule_time*": "a test"} }, class: Internal, fact: "inside: "},
		{name: "inlined into one that stays", core: "void f(void) { keep(0); } NOINLINE void g(void) { f(); __schedule(); asm volatile(\"nop\"); } void (*op)(void) = f;",
			class: Callback, fact: "inlined: g (kernel/sched/core.c)"},
		{name: "init", core: `SECTION(".init.text") NOINLINE void f(void) { keep(0); }`, class: Init, fact: "init: .init.text"},
		{name: "marked __sched", core: `SECTION(".sched.text") NOINLINE void f(void) { keep(0); }`, class: External,
			fact: "sleeps: marked __sched"},
		{name: "reaches __schedule", core: "NOINLINE void f(void) { __schedule(); keep(0); }", class: External,
			fact: "sleeps: through __schedule"},
		{name: "reaches __schedule through another", core: "static NOINLINE void mid(void) { __schedule(); keep(0); } NOINLINE void f(void) { mid(); keep(0); }",
			class: External, fact: "sleeps: through mid, __schedule"},
		{name: "reaches __schedule by preemption", core: "NOINLINE void preempt_schedule_x(void) { __schedule(); keep(0); } NOINLINE void f(void) { preempt_schedule_x(); keep(0); }",
			cfg: func(c *Config) { c.Preempts = map[string]string{"preempt_schedule*": "runnable"} }, class: Internal, fact: "inside: "},
		{name: "waits", core: "NOINLINE void f(void) { schedule_timeout(); keep(0); }", class: External, fact: "sleeps: calls schedule_timeout"},
		{name: "calls one that waits for it", core: "void schedule_delayed(void); NOINLINE void f(void) { schedule_delayed(); keep(0); }",
			class: Internal, fact: "inside: "},
		{name: "system call that waits for user space", core: "NOINLINE void inner(void) { keep(0); } NOINLINE void f(void) { inner(); keep(0); } NOINLINE void __x64_sys_f(void) { f(); inner(); }",
			cfg: func(c *Config) { c.Waits = map[string]string{"kee*": "a test"} }, class: External, fact: "waits: f calls keep"},
		{name: "waits, but no system call", core: "NOINLINE void f(void) { keep(0); } NOINLINE void g(void) { f(); keep(0); }",
			cfg: func(c *Config) { c.Waits = map[string]string{"keep": "a test"} }, class: Internal, fact: "inside: g"},
		{name: "system call with a wrapper of what waits", core: "void put(void); NOINLINE void f(void) { put(); keep(0); } NOINLINE void __x64_sys_f(void) { f(); keep(0); }",
			outside: "NOINLINE void _copy_x(void) { asm volatile(\"nop\"); } NOINLINE void put2(void) { _copy_x(); keep(0); } NOINLINE void put(void) { put2(); keep(0); }",
			cfg:     slowMemory, class: External, fact: "waits: any user can keep a task (__x64_sys_f is a system call): f calls put, put2, _copy_x"},
		{name: "what waits is too far away", core: "void p4(void); NOINLINE void f(void) { p4(); keep(0); } NOINLINE void __x64_sys_f(void) { f(); keep(0); }",
			outside: "NOINLINE void _copy_x(void) { asm volatile(\"nop\"); } NOINLINE void p1(void) { _copy_x(); keep(0); } NOINLINE void p2(void) { p1(); keep(0); } NOINLINE void p3(void) { p2(); keep(0); } NOINLINE void p4(void) { p3(); keep(0); }",
			cfg:     slowMemory, class: Internal},
		{name: "a wrapper that does not wait", core: "void copy_nmi(void); NOINLINE void f(void) { copy_nmi(); keep(0); } NOINLINE void __x64_sys_f(void) { f(); keep(0); }",
			outside: "NOINLINE void _copy_x(void) { asm volatile(\"nop\"); } NOINLINE void copy_nmi(void) { _copy_x(); keep(0); }",
			cfg:     slowMemory, class: Internal},
		{name: "system call with a lock", core: "void _lock(void); NOINLINE void f(void) { _lock(); keep(0); } NOINLINE void __x64_sys_f(void) { f(); keep(0); }",
			outside: `NOINLINE void _lock(void) { asm volatile("nop"); }`, cfg: slowMemory, class: External, fact: "waits: f calls _lock"},
		{name: "a wrapper of a lock", core: "void locks(void); NOINLINE void f(void) { locks(); keep(0); } NOINLINE void __x64_sys_f(void) { f(); keep(0); }",
			outside: `NOINLINE void _lock(void) { asm volatile("nop"); } NOINLINE void locks(void) { _lock(); keep(0); }`, cfg: slowMemory,
			class: Internal},
		{name: "operation of a file", core: "void _copy_x(void); static NOINLINE void f(void) { _copy_x(); keep(0); } static NOINLINE void w(void) { f(); keep(0); } struct proc_ops { void (*write)(void); }; const struct proc_ops ops = { w };",
			outside: `NOINLINE void _copy_x(void) { asm volatile("nop"); }`, cfg: slowMemory, class: External,
			fact: "waits: any user can keep a task (w is an operation of files: ops): f calls _copy_x"},
		{name: "operation of files", core: "void _copy_x(void); static NOINLINE void f(void) { _copy_x(); keep(0); } struct proc_ops { void (*write)(void); }; struct proc_ops ops[2] = { { f } };",
			outside: `NOINLINE void _copy_x(void) { asm volatile("nop"); }`, cfg: slowMemory, class: External,
			fact: "waits: operation of files: ops"},
		{name: "operation of a file with a lock", core: "void _lock(void); static NOINLINE void f(void) { _lock(); keep(0); } struct proc_ops { void (*write)(void); }; const struct proc_ops ops = { f };",
			outside: `NOINLINE void _lock(void) { asm volatile("nop"); }`, cfg: slowMemory, class: Callback},
		{name: "operation of root's files", core: "void _copy_x(void); static NOINLINE void f(void) { _copy_x(); keep(0); } struct file_operations { void (*write)(void); }; const struct file_operations ops = { f };",
			outside: `NOINLINE void _copy_x(void) { asm volatile("nop"); }`, cfg: slowMemory, class: Callback, fact: "address: object ops"},
		{name: "waits, and code outside calls it", core: "void _copy_x(void); NOINLINE void f(void) { _copy_x(); keep(0); }",
			outside: `void f(void); NOINLINE void _copy_x(void) { asm volatile("nop"); } NOINLINE void ret_from_fork(void) { f(); keep(0); }`,
			cfg:     slowMemory, class: External, fact: "waits: any user can keep a task (f is called by ret_from_fork (init/main.c)): f calls _copy_x"},
		{name: "calls one of the scheduler that waits", core: "static NOINLINE void mid(void) { schedule_timeout(); keep(0); } NOINLINE void f(void) { mid(); keep(0); }",
			class: External, fact: "sleeps: calls mid"},
		{name: "calls one that is marked __sched", core: `SECTION(".sched.text") NOINLINE void wait_for_it(void) { schedule_timeout(); keep(0); } NOINLINE void f(void) { wait_for_it(); keep(0); }`,
			class: External, fact: "sleeps: calls wait_for_it"},
		{name: "calls one that is marked __sched and lets others run",
			core: `SECTION(".sched.text") NOINLINE void __cond_x(void) { __schedule(); keep(0); } NOINLINE void f(void) { __cond_x(); keep(0); }`,
			cfg:  func(c *Config) { c.Preempts = map[string]string{"__cond_*": "runnable"} }, class: Internal, fact: "inside: "},
		{name: "waits by way of another one", core: "void schedule_hr(void); NOINLINE void f(void) { schedule_hr(); keep(0); }",
			outside: `SECTION(".sched.text") NOINLINE void schedule_hr(void) { schedule_timeout(); keep(0); }`, class: External,
			fact: "sleeps: calls schedule_hr"},
		{name: "clone, caller stays", core: `NOINLINE void f(void) CLONE("f.isra.0"); NOINLINE void f(void) { keep(0); } NOINLINE void g(void) { f(); __schedule(); }`,
			class: External, fact: "stays: clone (f.isra.0)"},
		{name: "clone, caller moves", core: `NOINLINE void f(void) CLONE("f.isra.0"); NOINLINE void f(void) { keep(0); } NOINLINE void g(void) { f(); keep(0); }`,
			class: Internal, fact: "inside: g"},
		{name: "header", core: "#include \"linux/h.h\"\nNOINLINE void g(void) { f(); keep(0); }",
			files: map[string]string{"include/linux/h.h": "static NOINLINE void f(void) { keep(0); }\n"}, class: External,
			fact: "header: include/linux/h.h"},
		{name: "noinstr", core: `SECTION(".noinstr.text") NOINLINE void f(void) { keep(0); }`,
			outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }",
			class:   External, fact: "stays: noinstr"},
		{name: "no kprobes", core: `NOINLINE void f(void) { keep(0); }
			static unsigned long __attribute__((used, section("_kprobe_blacklist"))) _kbl_addr_f = (unsigned long)f;`,
			outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }",
			class:   External, fact: "stays: called by what handles breakpoints"},
		{name: "noinstr, not reached", core: `SECTION(".noinstr.text") NOINLINE void f(void) { keep(0); }`, class: Internal, fact: "inside: "},
		{name: "too small", core: `__attribute__((naked, used)) void f(void) { asm("ret\n.type next,@function\nnext: ret\n.size next,.-next"); }`,
			outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }", class: External, fact: "stays: too small ("},
		{name: "patch site where the jump goes", core: `NOINLINE void f(void) { asm volatile("1: .byte 0x0f,0x1f,0x44,0,0\n.pushsection __jump_table,\"aw\"\n.long 1b - .\n.long 1b - .\n.quad 0\n.popsection"); keep(0); }`,
			outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }", class: External, fact: "stays: static key at +0"},
		{name: "patch site further on", core: `NOINLINE void f(void) { asm volatile(".byte 0x0f,0x1f,0x44,0,0\n1: .byte 0x0f,0x1f,0x44,0,0\n.pushsection __jump_table,\"aw\"\n.long 1b - .\n.long 1b - .\n.quad 0\n.popsection"); keep(0); }`,
			outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }", class: Interface, fact: "called: user"},
		{name: "called behind the switch", core: "NOINLINE void f(void) { keep(0); }", tail: []string{"f"}, class: Interface,
			fact: "called: behind the context switch"},
		{name: "told to stay", core: "NOINLINE void f(void) { keep(0); }", cfg: func(c *Config) { c.Stay = map[string]string{"f": "my reason"} },
			class: External, fact: "override: my reason"},
		{name: "called by one told to stay", core: "NOINLINE void f(void) { keep(0); } NOINLINE void g(void) { f(); keep(0); }",
			cfg: func(c *Config) { c.Stay = map[string]string{"g": "my reason"} }, class: Interface,
			fact: "called: g (kernel/sched/core.c), which stays"},
		{name: "told to move", core: "NOINLINE void f(void) { __schedule(); keep(0); }",
			outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }",
			cfg:     func(c *Config) { c.Interface = map[string]string{"f": "I know"} }, class: Interface},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"kernel/sched/core.c": core + tt.core, "init/main.c": base + tt.outside}
			units := []string{"kernel/sched/core.c", "init/main.c"}
			for path, text := range tt.files {
				files[path] = text
				if !strings.HasSuffix(path, ".h") {
					units = append(units, path)
				}
			}
			cfg := config()
			if tt.cfg != nil {
				tt.cfg(cfg)
			}
			p := kernel(t, files, units...)
			f := only(t, derive(t, p, cfg, tt.tail...), "f")
			if f.Class != tt.class {
				t.Errorf("class %s, want %s; facts %v", f.Class, tt.class, f.Facts)
			}
			if tt.fact != "" && !hasFact(f, tt.fact) {
				t.Errorf("facts %+v, want %q", f.Facts, tt.fact)
			}
			if f.Class.Border() != (len(f.Shipped) == arch.X86.JumpSize) {
				t.Errorf("class %s with %d bytes kept of what the jump overwrites", f.Class, len(f.Shipped))
			}
		})
	}
}

// TestUserFault: a function that reaches for user space's memory by itself is one in which a task can be kept, as is one
// that calls such a one outside of the scheduler.
func TestUserFault(t *testing.T) {
	p := kernel(t, map[string]string{
		"kernel/sched/core.c": core + `void out(void);
			NOINLINE void f(void) { keep(0); } NOINLINE void __x64_sys_f(void) { f(); keep(0); }
			NOINLINE void g(void) { out(); keep(0); } NOINLINE void __x64_sys_g(void) { g(); keep(0); }
			NOINLINE void h(void) { keep(0); }`,
		"init/main.c": base + `void h(void); NOINLINE void out(void) { asm volatile("nop"); } NOINLINE void user(void) { h(); keep(0); }`,
	}, "kernel/sched/core.c", "init/main.c")
	classes := func() (out []Class) {
		b := derive(t, p, config())
		for _, name := range []string{"f", "g", "h"} {
			out = append(out, only(t, b, name).Class)
		}
		return out
	}
	if got := classes(); !slices.Equal(got, []Class{Internal, Internal, Interface}) {
		t.Errorf("without: %q", got)
	}
	for _, name := range []string{"f", "out"} {
		p.Func(name)[0].UserFault = true
	}
	if got := classes(); !slices.Equal(got, []Class{External, External, Interface}) {
		t.Errorf("with: %q", got)
	}
	if f := only(t, derive(t, p, config()), "f"); !hasFact(f, "waits: f may fault on memory that user space provides") {
		t.Errorf("%+v", f.Facts)
	}
}

// slowMemory lets tasks wait in functions called _copy_x and in a lock.
func slowMemory(c *Config) {
	c.Waits = map[string]string{"_copy_*": "a test", "_lock": "a test"}
	c.Locks = map[string]string{"_lock": "a test"}
	c.Passes = map[string]string{"*_nmi": "a test"}
	c.Files = map[string]string{"struct proc_ops": "a test"}
}

func hasFact(f *Function, want string) bool {
	kind, text, _ := strings.Cut(want, ": ")
	for _, fact := range f.Facts {
		if fact.Kind == kind && strings.Contains(fact.Text, text) {
			return true
		}
	}
	return false
}

// TestFixpoint: a function that cannot be redirected drags the one behind it
// along, whatever order names and addresses have. The chain: user -> c0 (a clone,
// stays) -> c1 (a clone, stays) -> end (redirected) -> inner (internal).
func TestFixpoint(t *testing.T) {
	const chain = `
		NOINLINE void %[4]s(void) { keep(0); }
		NOINLINE void %[3]s(void) { %[4]s(); keep(0); }
		NOINLINE void %[2]s(void) CLONE("%[2]s.isra.0"); NOINLINE void %[2]s(void) { %[3]s(); keep(0); }
		NOINLINE void %[1]s(void) CLONE("%[1]s.isra.0"); NOINLINE void %[1]s(void) { %[2]s(); keep(0); }
		NOINLINE void %[5]s(void) { %[1]s(); keep(0); }`
	want := []Class{External, External, Interface, Internal, External}
	for _, names := range [][5]string{{"a", "b", "c", "d", "e"}, {"e", "d", "c", "b", "a"}, {"c", "a", "e", "b", "d"},
		{"b", "e", "a", "d", "c"}} {
		n := names
		p := kernel(t, map[string]string{"kernel/sched/core.c": core + fmt.Sprintf(chain, n[0], n[1], n[2], n[3], n[4])}, "kernel/sched/core.c")
		cfg := config()
		cfg.Stay = map[string]string{n[4]: "the start"}
		b := derive(t, p, cfg)
		for i, name := range n {
			if f := only(t, b, name); f.Class != want[i] {
				t.Errorf("%v: %s is %s, want %s", n, name, f.Class, want[i])
			}
		}
	}
}

// twoUnits has functions and objects of every class in two units.
var twoUnits = map[string]string{
	"kernel/sched/core.c": core + fmt.Sprintf(hook, "a") + fmt.Sprintf(hook, "b") + `
		EXPORT(a);
		struct sched_class { void (*run)(void); };
		static inline __attribute__((always_inline)) void helper(void) { keep(a); }
		const struct sched_class fair_sched_class = { b };
		int shared_counter = 5;
		static int mine;
		NOINLINE void waits(void) { helper(); mine++; __schedule(); }
		NOINLINE void user_b(void) { b(); }`,
	"kernel/sched/fair.c": core[:len(prelude)] + `
		static int mine;
		static NOINLINE void twin(void) { mine++; keep(&mine); }
		void (*op)(void) = twin;`,
}

func TestDeterminism(t *testing.T) {
	encode := func(units ...string) string {
		p := kernel(t, twoUnits, units...)
		b := derive(t, p, config(), "b")
		again := derive(t, p, config(), "b")
		if diff := cmp.Diff(b, again); diff != "" {
			t.Errorf("a second run differs:\n%s", diff)
		}
		b.BuildID = ""
		for _, f := range b.Functions { // what follows from the order of linking
			f.Addr = 0
		}
		for _, o := range b.Objects {
			o.Addr = 0
		}
		text, err := json.MarshalIndent(b, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	one := encode("kernel/sched/core.c", "kernel/sched/fair.c")
	if diff := cmp.Diff(one, encode("kernel/sched/core.c", "kernel/sched/fair.c")); diff != "" {
		t.Errorf("two kernels alike:\n%s", diff)
	}
}

func TestResult(t *testing.T) {
	p := kernel(t, twoUnits, "kernel/sched/core.c", "kernel/sched/fair.c")
	b := derive(t, p, config())
	if b.Release != "6.1.0-test" || len(b.BuildID) != 40 {
		t.Errorf("release %q, build-id %q", b.Release, b.BuildID)
	}
	if diff := cmp.Diff([]string{"helper"}, only(t, b, "waits").Inlines); diff != "" {
		t.Errorf("inlined into waits: %s", diff)
	}
	a := only(t, b, "a")
	if a.Unit != "kernel/sched/core.c" || a.DeclFile != a.Unit || a.DeclLine == 0 || a.Addr == 0 || a.Size == 0 || a.Clone() {
		t.Errorf("a: %+v", a)
	}
	if diff := cmp.Diff(map[Class]int{Interface: 2, Callback: 1, Internal: 2, External: 1}, b.Counts()); diff != "" {
		t.Errorf("counts: %s", diff)
	}
	if l := b.FindObject("mine"); len(l) != 2 || l[0].Unit == l[1].Unit || l[0].Class != Shared {
		t.Errorf("mine: %+v", l)
	}
	if l := b.FindObject("fair_sched_class"); len(l) != 1 || l[0].Class != Table || l[0].Size != 8 {
		t.Errorf("fair_sched_class: %+v", l)
	}
	if len(b.Find("nothing")) != 0 || len(b.FindObject("outside")) != 0 {
		t.Error("found what is not the scheduler's")
	}
}

// TestAbsent: functions of the source that the kernel has no symbol of, and
// where they are.
func TestAbsent(t *testing.T) {
	p := kernel(t, map[string]string{
		"kernel/sched/core.c": core + `
			static inline __attribute__((always_inline)) void everywhere(void) { keep(0); }
			NOINLINE void g(void) { everywhere(); asm volatile("nop"); }
			NOINLINE void h(void) { everywhere(); asm volatile("nop"); g(); }
			__attribute__((weak, noinline)) void arch_thing(void) { keep(0); }`,
		"init/main.c": base + "NOINLINE void arch_thing(void) { keep(0); } void h(void); NOINLINE void user(void) { h(); keep(0); }",
	}, "kernel/sched/core.c", "init/main.c")
	b := derive(t, p, config())
	for name, want := range map[string]Absent{
		"everywhere": {Into: []string{"g", "h"}},
		"arch_thing": {Over: "arch_thing (init/main.c)"},
	} {
		list := b.FindAbsent(name)
		if len(list) != 1 || len(b.Find(name)) != 0 {
			t.Errorf("%s: %v", name, list)
			continue
		}
		want.Name, want.Unit, want.DeclFile, want.DeclLine = name, "kernel/sched/core.c", "kernel/sched/core.c", list[0].DeclLine
		if diff := cmp.Diff(want, *list[0]); diff != "" || want.DeclLine == 0 {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if h := only(t, b, "h"); !cmp.Equal(h.Callers, []string{"user"}) || !cmp.Equal(h.Callees, []string{"g", "keep"}) {
		t.Errorf("h is called by %v and calls %v", h.Callers, h.Callees)
	}
	if got := b.Similar("everywere", 3); !cmp.Equal(got, []string{"everywhere"}) {
		t.Errorf("similar to everywere: %v", got)
	}
}

func TestUsers(t *testing.T) {
	p := kernel(t, map[string]string{
		"kernel/sched/core.c": core + "long shared_one; static long own_one; NOINLINE void g(void) { shared_one++; own_one += shared_one; keep(0); } NOINLINE void unrelated(void) { keep(0); }",
		"init/main.c":         base + "extern long shared_one; NOINLINE void user(void) { keep(&shared_one); }",
	}, "kernel/sched/core.c", "init/main.c")
	b := derive(t, p, config())
	users, err := p.ObjectUsers(t.Context(), func(o *image.Object) bool { return b.Owns(o.Unit) })
	if err != nil {
		t.Fatal(err)
	}
	b.SetUsers(users)
	if o := b.FindObject("shared_one"); len(o) != 1 || !cmp.Equal(o[0].Inside, []string{"g"}) || !cmp.Equal(o[0].Outside, []string{"user"}) {
		t.Errorf("shared_one: %+v", o)
	}
	if o := b.FindObject("own_one"); len(o) != 1 || !cmp.Equal(o[0].Inside, []string{"g"}) || o[0].Outside != nil {
		t.Errorf("own_one: %+v", o)
	}
}

// TestBuilders: what builds lasting state is what the configuration names and what only that
// calls; what only boot called does not run any more.
func TestBuilders(t *testing.T) {
	p := kernel(t, map[string]string{
		"kernel/sched/core.c": core + `
			NOINLINE void deep(void) { keep(0); asm volatile("nop"); } NOINLINE void part(void) { deep(); asm volatile("nop"); }
			NOINLINE void both(void) { keep(0); asm volatile("nop"); } NOINLINE void busy(void) { keep(0); asm volatile("nop"); }
			NOINLINE void booted(void) { keep(0); asm volatile("nop"); }
			SECTION(".init.text") NOINLINE void start(void) { part(); booted(); }
			NOINLINE void build(void) { part(); both(); busy(); asm volatile("nop"); }
			NOINLINE void make(void) { both(); asm volatile("nop"); }
			NOINLINE void run(void) { busy(); asm volatile("nop"); }`,
		"init/main.c": base + "void build(void), make(void), run(void);" +
			"NOINLINE void user(void) { build(); make(); run(); asm volatile(\"nop\"); }",
	}, "kernel/sched/core.c", "init/main.c")
	cfg := config()
	cfg.Builders, cfg.Makers = map[string]string{"build": "domains", "no_such": "x"}, map[string]string{"make": "groups"}
	b := derive(t, p, cfg)
	for name, want := range map[string]string{"build": "domains  false", "part": "domains  false", "deep": "domains  false",
		"make": " groups false", "both": " groups false", "busy": "  false", "run": "  false", "booted": "  true"} {
		f := only(t, b, name)
		if got := fmt.Sprint(f.Builds, " ", f.Makes, " ", f.Boot); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestLevelMask: who is only called through a level of the scheduling domains takes effect when they are built.
func TestLevelMask(t *testing.T) {
	p := kernel(t, map[string]string{
		"kernel/sched/core.c": core + `
			struct level { void (*mask)(void); } levels[2];
			NOINLINE void sd_numa_mask(void) { keep(0); asm volatile("nop"); }
			NOINLINE void build_sched_domains(void) { levels[0].mask(); asm volatile("nop"); }
			NOINLINE void sched_init_numa(void) { levels[0].mask = sd_numa_mask; }
			NOINLINE void sched_update_numa(void) { sched_init_numa(); asm volatile("nop"); }`,
		"init/main.c": base + "void build_sched_domains(void), sched_update_numa(void);" +
			"NOINLINE void user(void) { build_sched_domains(); sched_update_numa(); asm volatile(\"nop\"); }",
	}, "kernel/sched/core.c", "init/main.c")
	cfg, err := LoadConfig("")
	if err != nil {
		t.Fatal(err)
	}
	if f := only(t, derive(t, p, cfg), "sd_numa_mask"); f.Class != Callback || f.Builds == "" {
		t.Errorf("%+v", f)
	}
}

func TestPrivate(t *testing.T) {
	p := kernel(t, twoUnits, "kernel/sched/core.c", "kernel/sched/fair.c")
	cfg := config()
	cfg.Private = map[string]string{"shared_counter": "mine is better"}
	o := derive(t, p, cfg).FindObject("shared_counter")
	if len(o) != 1 || o[0].Class != Private || o[0].Why != "mine is better" {
		t.Errorf("%+v", o)
	}
}

func TestDeriveErrors(t *testing.T) {
	sources := map[string]string{"kernel/sched/core.c": core + fmt.Sprintf(hook, "f") + `
		NOINLINE void g(void) CLONE("g.isra.0"); NOINLINE void g(void) { keep(0); }
		SECTION(".init.text") NOINLINE void i(void) { keep(0); }
		SECTION(".noinstr.text") NOINLINE void n(void) { keep(0); }`}
	p := kernel(t, sources, "kernel/sched/core.c")
	reason := func(name string) map[string]string { return map[string]string{name: "because"} }
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"unknown interface":   {Config{Interface: reason("nothing")}, `interface: the kernel has no scheduler function "nothing"`},
		"unknown stay":        {Config{Stay: reason("nothing")}, `stay: the kernel has no scheduler function "nothing"`},
		"unknown private":     {Config{Private: reason("nothing")}, `private: the kernel has no scheduler variable "nothing"`},
		"stay of a foreigner": {Config{Stay: reason("outside")}, `no scheduler function "outside"`},
		"private foreigner":   {Config{Private: reason("pointer")}, `no scheduler variable "pointer"`},
		"misspelled":          {Config{Stay: reason("__shedule")}, `no scheduler function "__shedule"; is __schedule meant?`},
		"clone":               {Config{Interface: reason("g.isra.0")}, "g.isra.0 cannot be redirected: it is a clone"},
		"init":                {Config{Interface: reason("i")}, "i cannot be redirected: it is in .init.text"},
		"noinstr":             {Config{Interface: reason("n")}, "n cannot be redirected: it runs where instrumentation is forbidden"},
		"no such more": {Config{Sources: []string{"kernel/sched", "kernel/extra"}, lines: lines{{"sources", "kernel/extra"}: 1}},
			"no function from kernel/extra"},
		"no such source": {Config{Sources: []string{"kernel/nothing"}}, "no function of kernel/nothing found"},
	} {
		cfg := tt.cfg
		if cfg.Sources == nil {
			cfg.Sources = []string{"kernel/sched"}
		}
		_, err := Derive(t.Context(), p, arch.X86, &cfg, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
}

// TestConfigFIFO: nobody waits for what does not come.
func TestConfigFIFO(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo.yaml")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, t.TempDir()} {
		if _, err := LoadConfig(path); err == nil || !strings.Contains(err.Error(), "is no regular file") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestLoadConfig(t *testing.T) {
	load := func(text string) (*Config, error) {
		path := filepath.Join(t.TempDir(), "plugsched.yaml")
		write(t, path, text)
		return LoadConfig(path)
	}
	builtin, err := LoadConfig("")
	if err != nil || !builtin.Source("kernel/sched/core.c") || builtin.Source("kernel/schedule.c") ||
		!builtin.preempts("preempt_schedule_irq") || builtin.preempts("schedule") {
		t.Fatalf("built in: %+v, %v", builtin, err)
	}
	for name, want := range map[string][2]bool{"sysctl_sched_rt_runtime": {true, false}, "normalized_sysctl_sched_latency": {true, false},
		"sysctl_sched_latency": {false, true}, "sysctl_sched_cfs_bandwidth_slice": {false, false}} {
		if got := [2]bool{builtin.WhyDerived(name) != "", builtin.WhyRecomputed(name) != ""}; got != want {
			t.Errorf("%s: derived, recomputed: %v", name, got)
		}
	}
	missing, err := LoadConfig(filepath.Join(t.TempDir(), "none.yaml"))
	if diff := cmp.Diff(builtin, missing, cmp.AllowUnexported(Config{})); err != nil || diff != "" {
		t.Errorf("missing file: %v\n%s", err, diff)
	}
	for _, empty := range []string{"", "# nothing\n", "interface:\n"} {
		if _, err := load(empty); err != nil {
			t.Errorf("%q: %v", empty, err)
		}
	}
	own, err := load("interface: {a: x}\nstay: {b: y}\nprivate: {c: z}\npreempts: {\"d*\": w}\nsources: [kernel/extra/]\nheaders: {H: v}\n")
	if err != nil {
		t.Fatal(err)
	}
	if own.Interface["a"] != "x" || own.Stay["b"] != "y" || own.Private["c"] != "z" || !own.preempts("dd") ||
		!own.preempts("preempt_schedule") ||
		!own.Source("kernel/extra/a.c") || !own.Source("kernel/sched/a.c") || own.optional["c"] {
		t.Errorf("%+v", own)
	}
	for text, want := range map[string]string{
		"interface:\n  f: x\nstay:\n  f: y\n":    "4: stay: f is listed under interface too (line 2)",
		"stay:\n  f: x\n  g: [unfinished\n":      "3: ",
		"stay: {f: x}\nstray: {f: x}\n":          "2: unknown key stray; known are sources, interface, stay,",
		"# fine\nstay:\n  - f\n":                 "3: seq where an entry is expected: write NAME: REASON",
		"interface:\n  f: x\n  f: again\n":       "3: mapping key \"f\" already defined at line 2",
		"stay: {f: x}\nprivate:\n\tg: x\n":       "3: ",
		"stay:\n  f:\n":                          "2: stay: f needs a reason",
		"waits:\n  \"*_x\": y\n  \"a[\": z\n":    "3: waits: a[ is no pattern",
		"passes:\n  \"[\": z\n":                  "2: passes: [ is no pattern",
		"derived:\n  \"a[\": z\n":                "2: derived: a[ is no pattern",
		"locks:\n  \"a[\": z\n":                  "2: locks: a[ is no pattern",
		"sources:\n  - kernel/sched\n  - ../x\n": "3: sources: \"../x\" is no directory",
		"sources: [/usr/src]\n":                  "1: sources: \"/usr/src\" is no directory",
		"interface:\n  sched_init_numa: want\n":  "2: interface: sched_init_numa has to stay: it stores the names",
		"just words\n":                           "1: str where",
	} {
		_, err := load(text)
		if err == nil || !strings.Contains(err.Error(), "plugsched.yaml:"+want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
	if h := own.HeaderLines(); len(h) != 1 || h["H"] != "plugsched.yaml:6" {
		t.Errorf("headers: %v", h)
	}
}
