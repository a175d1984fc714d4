// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/arch"
	image "plugsched/internal/vmlinux"
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
	p, err := image.Load(t.Context(), filepath.Join(dir, "vmlinux"), image.Options{SourceDirs: []string{"kernel/sched"}})
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
	b, err := Derive(p, arch.X86, cfg, tail)
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

// hook is a function of the scheduler that a table calls.
const hook = "NOINLINE void %s(void) { keep(%[1]s); }\n"

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
		{name: "called from outside", core: "NOINLINE void f(void) { keep(0); }", outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }",
			class: Interface, fact: "called: user (init/main.c), which stays"},
		{name: "exported", core: "NOINLINE void f(void) { keep(0); } EXPORT(f);", class: Interface, fact: "exported: modules may call it"},
		{name: "called from assembly", core: "NOINLINE void f(void) { keep(0); }",
			files: map[string]string{"arch/entry.S": ".text\n.globl entry\n.type entry,@function\nentry: call f\n ret\n.size entry,.-entry\n"},
			class: Interface, fact: "called: entry (a"},
		{name: "called from assembly without a type", core: "NOINLINE void f(void) { keep(0); }",
			files: map[string]string{"arch/entry.S": ".text\n.globl entry\nentry: call f\n ret\n"}, class: Interface, fact: "called: entry (a"},
		{name: "address in data", core: "static NOINLINE void f(void) { keep(0); } void (*op)(void) = f;", class: Callback, fact: "address: object op"},
		{name: "address in code", core: "static NOINLINE void f(void) { keep(0); } NOINLINE void g(void) { keep(f); }", outside: "void g(void); NOINLINE void user(void) { g(); keep(0); }",
			class: Callback, fact: "address: code of g"},
		{name: "address in data and called", core: "NOINLINE void f(void) { keep(0); } void (*op)(void) = f;", outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }",
			class: Interface, fact: "address: object op"},
		{name: "class table only", core: "static NOINLINE void f(void) { keep(0); } struct sched_class { void (*run)(void); }; const struct sched_class fair = { f };",
			class: Internal, fact: "inside: scheduling class table"},
		{name: "such a table outside", core: "NOINLINE void f(void) { keep(0); }", outside: "void f(void); struct sched_class { void (*run)(void); }; const struct sched_class foreign = { f };",
			class: Callback, fact: "address: object foreign"},
		{name: "called from inside", core: "static NOINLINE void f(void) { keep(0); } NOINLINE void g(void) { f(); keep(0); }", class: Internal, fact: "inside: g"},
		{name: "called by init code only", core: `NOINLINE void f(void) { keep(0); } SECTION(".init.text") NOINLINE void g(void) { f(); keep(0); }`, class: Internal, fact: "inside: "},
		{name: "init", core: `SECTION(".init.text") NOINLINE void f(void) { keep(0); }`, class: Init, fact: "init: .init.text"},
		{name: "marked __sched", core: `SECTION(".sched.text") NOINLINE void f(void) { keep(0); }`, class: External, fact: "sleeps: marked __sched"},
		{name: "reaches __schedule", core: "NOINLINE void f(void) { __schedule(); keep(0); }", class: External, fact: "sleeps: through __schedule"},
		{name: "reaches __schedule through another", core: "static NOINLINE void mid(void) { __schedule(); keep(0); } NOINLINE void f(void) { mid(); keep(0); }",
			class: External, fact: "sleeps: through mid, __schedule"},
		{name: "reaches __schedule by preemption", core: "NOINLINE void preempt_schedule_x(void) { __schedule(); keep(0); } NOINLINE void f(void) { preempt_schedule_x(); keep(0); }",
			cfg: func(c *Config) { c.Preempts = map[string]string{"preempt_schedule*": "runnable"} }, class: Internal, fact: "inside: "},
		{name: "waits", core: "NOINLINE void f(void) { schedule_timeout(); keep(0); }", class: External, fact: "sleeps: calls schedule_timeout"},
		{name: "calls one that waits for it", core: "void schedule_delayed(void); NOINLINE void f(void) { schedule_delayed(); keep(0); }", class: Internal, fact: "inside: "},
		{name: "clone, caller stays", core: `NOINLINE void f(void) CLONE("f.isra.0"); NOINLINE void f(void) { keep(0); } NOINLINE void g(void) { f(); __schedule(); }`,
			class: External, fact: "stays: clone (f.isra.0)"},
		{name: "clone, caller moves", core: `NOINLINE void f(void) CLONE("f.isra.0"); NOINLINE void f(void) { keep(0); } NOINLINE void g(void) { f(); keep(0); }`,
			class: Internal, fact: "inside: g"},
		{name: "header", core: "#include \"linux/h.h\"\nNOINLINE void g(void) { f(); keep(0); }",
			files: map[string]string{"include/linux/h.h": "static NOINLINE void f(void) { keep(0); }\n"}, class: External, fact: "header: include/linux/h.h"},
		{name: "noinstr", core: `SECTION(".noinstr.text") NOINLINE void f(void) { keep(0); }`, outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }",
			class: External, fact: "stays: noinstr"},
		{name: "noinstr, not reached", core: `SECTION(".noinstr.text") NOINLINE void f(void) { keep(0); }`, class: Internal, fact: "inside: "},
		{name: "too small", core: `void f(void); asm(".text\n.globl f\n.type f,@function\nf: ret\n.size f,.-f\n.type next,@function\nnext: ret\n.size next,.-next");` +
			"\n#line 1 \"kernel/sched/core.c\"\n", outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }", class: External},
		{name: "patch site where the jump goes", core: `NOINLINE void f(void) { asm volatile("1: .byte 0x0f,0x1f,0x44,0,0\n.pushsection __jump_table,\"aw\"\n.long 1b - .\n.long 1b - .\n.quad 0\n.popsection"); keep(0); }`,
			outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }", class: External, fact: "stays: static key at +0"},
		{name: "patch site further on", core: `NOINLINE void f(void) { asm volatile(".byte 0x0f,0x1f,0x44,0,0\n1: .byte 0x0f,0x1f,0x44,0,0\n.pushsection __jump_table,\"aw\"\n.long 1b - .\n.long 1b - .\n.quad 0\n.popsection"); keep(0); }`,
			outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }", class: Interface, fact: "called: user"},
		{name: "called behind the switch", core: "NOINLINE void f(void) { keep(0); }", tail: []string{"f"}, class: Interface, fact: "called: behind the context switch"},
		{name: "told to stay", core: "NOINLINE void f(void) { keep(0); }", cfg: func(c *Config) { c.Stay = map[string]string{"f": "my reason"} },
			class: External, fact: "override: my reason"},
		{name: "called by one told to stay", core: "NOINLINE void f(void) { keep(0); } NOINLINE void g(void) { f(); keep(0); }",
			cfg: func(c *Config) { c.Stay = map[string]string{"g": "my reason"} }, class: Interface, fact: "called: g (kernel/sched/core.c), which stays"},
		{name: "told to move", core: "NOINLINE void f(void) { __schedule(); keep(0); }", outside: "void f(void); NOINLINE void user(void) { f(); keep(0); }",
			cfg: func(c *Config) { c.Interface = map[string]string{"f": "I know"} }, class: Interface},
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

func hasFact(f *Function, want string) bool {
	kind, text, _ := strings.Cut(want, ": ")
	for _, fact := range f.Facts {
		if fact.Kind == kind && strings.Contains(fact.Text, text) {
			return true
		}
	}
	return false
}
