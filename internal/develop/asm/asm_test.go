// SPDX-License-Identifier: BSD-3-Clause

package asm

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/kernel/arch"
)

// kernelFlags are those of the kernel's build that shape the assembly.
var kernelFlags = []string{"-O2", "-std=gnu11", "-fno-pie", "-mcmodel=kernel", "-mno-sse", "-mno-red-zone", "-ffreestanding",
	"-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-fno-common", "-Wno-attributes"}

// compile returns gcc's assembly of C text.
func compile(t testing.TB, c string, flags ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "unit.c"), []byte(c))
	args := append(append([]string{"-S", "-o", "unit.s"}, kernelFlags...), flags...)
	run(t, dir, "gcc", append(args, "unit.c")...)
	text, err := os.ReadFile(filepath.Join(dir, "unit.s"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// assemble returns the object that as makes of text.
func assemble(t testing.TB, text []byte) *elf.File {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "unit.s"), text)
	run(t, dir, "as", "-o", "unit.o", "unit.s")
	f, err := elf.Open(filepath.Join(dir, "unit.o"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func parse(t testing.TB, text []byte) *Unit {
	t.Helper()
	u, err := Parse(&arch.X86.Assembly, "unit.s", text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// listing describes what an object holds, without debug information: symbols,
// sections and relocations, in an order that does not depend on the file's.
func listing(t testing.TB, f *elf.File) []string {
	t.Helper()
	var out []string
	syms, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		t.Fatal(err)
	}
	section := func(i elf.SectionIndex) string {
		if i > 0 && int(i) < len(f.Sections) {
			return f.Sections[i].Name
		}
		return i.String()
	}
	name := func(s elf.Symbol) string {
		if elf.ST_TYPE(s.Info) == elf.STT_SECTION {
			return "section " + section(s.Section)
		}
		return s.Name
	}
	for _, s := range syms {
		if typ := elf.ST_TYPE(s.Info); typ == elf.STT_FILE || typ == elf.STT_SECTION || strings.HasPrefix(s.Name, ".L") {
			continue
		}
		out = append(out, fmt.Sprintf("symbol %s %s %s %s %#x %d", s.Name, section(s.Section), elf.ST_BIND(s.Info), elf.ST_TYPE(s.Info),
			s.Value, s.Size))
	}
	for _, s := range f.Sections {
		data, err := s.Data()
		if s.Type == elf.SHT_NOBITS {
			data, err = fmt.Appendf(nil, "%d bytes", s.Size), nil
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.Contains(s.Name, ".debug_") || s.Name == ".comment" || s.Name == ".note.GNU-stack" || s.Name == ".eh_frame" ||
			s.Name == ".rela.eh_frame" || s.Size == 0:
		case s.Type == elf.SHT_PROGBITS || s.Type == elf.SHT_NOBITS || s.Type == elf.SHT_NOTE:
			out = append(out, fmt.Sprintf("section %s %v align %d: %x", s.Name, s.Flags, s.Addralign, data))
		case s.Type == elf.SHT_RELA:
			for ; len(data) >= 24; data = data[24:] {
				info := binary.LittleEndian.Uint64(data[8:])
				out = append(out, fmt.Sprintf("reloc %s %#x %v %s %d", s.Name, binary.LittleEndian.Uint64(data), elf.R_X86_64(uint32(info)),
					name(syms[info>>32-1]), int64(binary.LittleEndian.Uint64(data[16:]))))
			}
		}
	}
	sort.Strings(out)
	return out
}

// samples are small units, one for each thing that gcc's output may hold.
var samples = map[string]string{
	"static locals": `
int a(void) { static int n; static int m = 5; return ++n + m++; }
int b(void) { static int n; static const int k[3] = {1, 2, 3}; return ++n + k[n & 1]; }`,
	"cold part": `
void bad(const char *) __attribute__((cold));
int work(int);
int f(int x) { if (__builtin_expect(x < 0, 0)) { bad("less"); x = work(x); bad("much less"); } return work(x); }
int g(int x) { if (x == 3) bad("three"); return x + 1; }`,
	"switch table": `
int one(void), two(void), three(void), four(void), five(void), six(void);
int f(int x) { switch (x) { case 0: return one(); case 1: return two() + 1; case 2: return three() * 3;
	case 3: return four(); case 4: return five() - 1; case 5: return six(); } return 0; }
int g(int x) { switch (x) { case 0: return 8; case 1: return 1; case 2: return 77; case 3: return -4; case 4: return 12; } return 0; }`,
	"aliases": `
int target(int x) { return x * 7; }
int other(int x) __attribute__((alias("target")));
int maybe(int x) __attribute__((weak, alias("target")));
int call(void) { return other(1) + maybe(2); }`,
	"sections from asm": `
static int data = 4;
int f(int x)
{
	asm volatile("1: nop\n\t.pushsection __bug_table,\"aw\"\n2:\t.long 1b - .\n\t.word 12\n\t.word 0\n\t.popsection" ::: "memory");
	asm volatile("661: nop; nop\n\t.pushsection outer,\"a\"\n\t.long 1\n\t.pushsection inner,\"a\"\n\t.long 2\n\t.popsection\n\t.long 3\n\t.popsection");
	asm volatile(".section aside, \"a\"\n\t.quad data\n\t.previous\n\tnop");
	return x + data++;
}
asm(".pushsection .data\n.globl fromasm\n.type fromasm,@object\n.size fromasm,8\nfromasm:\n.quad 7\n.popsection");
int g(void) { return 3; }`,
	"statements on one line": `
int f(int x)
{
	asm volatile("1: nop; .pushsection notes,\"a\"; .long 1b - .; .popsection; nop" ::: "memory");
	return x + 1;
}
int g(int x)
{
	asm volatile(".pushsection notes,\"a\"; .long 5; .popsection" ::: "memory");
	return x + 2;
}`,
	"sections behind labels": `
int f(int x)
{
	asm volatile("1: nop\n\t.pushsection __bug_table,\"aw\"\n\t912: .pushsection notes,\"a\", @progbits; .long 912b - ., 1; .popsection\n"
		"\t2:\n\t.long 1b - .\n\t.word 12\n\t.word 0\n\t.popsection\n\tmark%=: .pushsection notes\n\t.long mark%=\n\t.popsection" ::: "memory");
	return x + 1;
}
int g(int x) { return x + 2; }`,
	"common and weak": `
int common __attribute__((common));
static int zero[10];
int big __attribute__((weak)) = 8;
extern int nowhere(void) __attribute__((weak));
int f(int i) { return nowhere ? nowhere() : zero[i]++ + big + common; }
int __attribute__((weak)) g(void) { return big; }`,
	"percpu": `
int pcpu __attribute__((section(".data..percpu"))) = 5;
static long pstat __attribute__((section(".data..percpu..shared_aligned"), aligned(64)));
int once __attribute__((section(".data.once")));
int initial __attribute__((section(".init.data"))) = 9;
int __attribute__((section(".init.text"), cold)) setup(void) { return initial; }
int __attribute__((section(".sched.text"))) f(void) { pstat++; return pcpu + once; }`,
	"strings": `
int print(const char *, ...);
static const char *names[] = { "one # not a comment", "call f; jmp f", "f(%rip)", "a\"quote\\", "tab\tnew\nline" };
const char *name(int i) { return names[i]; }
int f(void) { return print("f@PLT %s\n", names[0]) + print("# %d", 4); }
int (*const table[])(void) = { f, f };`,
	"no code": `int x;`,
}

func variants(t *testing.T, f func(t *testing.T, text []byte)) {
	for name, c := range samples {
		for _, flags := range [][]string{nil, {"-g"}, {"-ffunction-sections", "-fdata-sections"}} {
			t.Run(strings.TrimSpace(name+" "+strings.Join(flags, " ")), func(t *testing.T) { f(t, compile(t, c, flags...)) })
		}
	}
}

func TestRoundTrip(t *testing.T) {
	variants(t, func(t *testing.T, text []byte) {
		want := listing(t, assemble(t, text))
		out := parse(t, text).Write(Edit{})
		if diff := cmp.Diff(want, listing(t, assemble(t, out))); diff != "" {
			t.Errorf("the object changed (-before +after):\n%s", diff)
		}
	})
}

// TestSections: what .previous means after .popsection, and the like.
func TestSections(t *testing.T) {
	for name, lines := range map[string][]string{
		"previous behind popsection": {`.section a,"a"`, ".byte 1", `.section b,"a"`, ".byte 2", `.pushsection c,"a"`, ".byte 3",
			`.section d,"a"`, ".byte 4",
			".popsection", ".byte 5", ".previous", ".byte 6", ".previous", ".byte 7"},
		"previous twice": {".data", ".byte 1", ".text", "nop", ".previous", ".byte 2", ".previous", "nop"},
		"flags once":     {`.section a,"aw",@nobits`, ".zero 8", ".text", "nop", ".section a", ".zero 4"},
		"quoted name":    {`.section ".init.text","ax"`, "nop", ".text", "nop", `.section .init.text`, "nop"},
	} {
		text := []byte("\t" + strings.Join(lines, "\n\t") + "\n")
		if diff := cmp.Diff(listing(t, assemble(t, text)), listing(t, assemble(t, parse(t, text).Write(Edit{})))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// defined and undefined names of an object.
func names(t *testing.T, f *elf.File) (defined, undefined map[string]bool) {
	t.Helper()
	defined, undefined = map[string]bool{}, map[string]bool{}
	syms, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		t.Fatal(err)
	}
	for _, s := range syms {
		if s.Section == elf.SHN_UNDEF {
			undefined[s.Name] = true
		} else {
			defined[s.Name] = true
		}
	}
	return defined, undefined
}

// TestDrop leaves out each definition in turn: the rest still assembles, and who
// referred to the definition refers to an undefined symbol now.
func TestDrop(t *testing.T) {
	variants(t, func(t *testing.T, text []byte) {
		u := parse(t, text)
		for _, victim := range u.Defs {
			gone := func(d *Def) bool { return d == victim || d.Kind == Alias && d.Target == victim.Name }
			referred := false
			for _, d := range u.Defs {
				if !gone(d) {
					u.Refs(d, func(name string, _ bool) { referred = referred || name == victim.Name })
				}
			}
			defined, undefined := names(t, assemble(t, u.Write(Edit{Drop: gone})))
			for _, d := range u.Defs {
				if want := !gone(d); defined[d.Name] != want {
					t.Errorf("without %s: %s defined: %v, want %v", victim.Name, d.Name, defined[d.Name], want)
				}
			}
			if defined[victim.Name+".cold"] {
				t.Errorf("without %s: its .cold part is left", victim.Name)
			}
			for name := range undefined {
				if strings.HasPrefix(name, ".L") {
					t.Errorf("without %s: local label %s is undefined", victim.Name, name)
				}
			}
			if referred != undefined[victim.Name] {
				t.Errorf("without %s: undefined: %v, want %v", victim.Name, undefined[victim.Name], referred)
			}
		}
	})
}

func TestDefs(t *testing.T) {
	text := compile(t, samples["cold part"]+`
		int pcpu __attribute__((section(".data..percpu"))) = 5;
		int __attribute__((section(".init.text"))) setup(void) { return pcpu; }
		static int st(void) { return 4; }
		int (*ptr)(void) = st;
		int wk(void) __attribute__((weak, alias("setup")));
		int cm __attribute__((common));`)
	type def struct {
		Kind         Kind
		Section      string
		Global, Weak bool
		Size         uint64
		Target       string
	}
	want := map[string]def{
		"f.again": {}, // not there
		"bad":     {}, // only declared
		"g":       {Func, ".text", true, false, 0, ""},
		"st":      {Func, ".text", false, false, 0, ""},
		"ptr":     {Object, ".data", true, false, 8, ""},
		"pcpu":    {Object, ".data..percpu", true, false, 4, ""},
		"setup":   {Func, ".init.text", true, false, 0, ""},
		"wk":      {Alias, "", true, true, 0, "setup"},
		"cm":      {Object, ".bss", true, false, 4, ""},
	}
	u := parse(t, text)
	for name, w := range want {
		d := u.Lookup(name)
		if (d == nil) != (w == def{}) {
			t.Errorf("%s: found: %v", name, d != nil)
		}
		if d == nil {
			continue
		}
		got := def{d.Kind, d.Section, d.Global, d.Weak, d.Size, d.Target}
		if d.Kind == Alias {
			got.Section = "" // where the directive happens to stand
		}
		if got != w {
			t.Errorf("%s: %+v, want %+v", name, got, w)
		}
	}
	if c, f := u.Lookup("g.cold"), u.Lookup("g"); c != f {
		t.Errorf("g.cold is not part of g")
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"\t.type f,@function\nf:\n\tret\n":                         "unit.s: function f has no end",
		"\t.size f, .-f\n\t.type f,@function\nf:\n\tret\n":         "unit.s: function f has no end",
		"\tnop\n\t.comm x\n":                                       "unit.s:2: unreadable directive",
		"\t.type f,@function\nf:\n\t.size f, .-f\n\t.comm\tlone\n": "unit.s:4: unreadable directive",
	} {
		_, err := Parse(&arch.X86.Assembly, "unit.s", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

// TestRefer: f is the name to be rewritten; calls and jumps go to B, addresses to A.
func TestRefer(t *testing.T) {
	tests := []struct{ in, want string }{
		{"\tcall\tf", "\tcall\tB"},
		{"\tcallq f", "\tcallq B"},
		{"\tjmp\tf", "\tjmp\tB"},
		{"\tjne\tf", "\tjne\tB"},
		{"\tcall\tf@PLT", "\tcall\tB@PLT"},
		{"\tcall\tf # to f", "\tcall\tB # to f"},
		{"\tnop; call f; nop", "\tnop; call B; nop"},
		{"1:\tcall\tf", "1:\tcall\tB"},
		{"1: jmp f", "1: jmp B"},
		{"\tnotrack jmp f", "\tnotrack jmp B"},
		{"\tcall\t*f", "\tcall\t*A"},
		{"\tcall\t*f(%rip)", "\tcall\t*A(%rip)"},
		{"\tcall\t*f(,%rax,8)", "\tcall\t*A(,%rax,8)"},
		{"\tjmp\tf+4", "\tjmp\tA+4"},
		{"\tmovq\t$f, %rax", "\tmovq\t$A, %rax"},
		{"\tmovq\t$f+8, %rax", "\tmovq\t$A+8, %rax"},
		{"\tleaq\tf(%rip), %rdi", "\tleaq\tA(%rip), %rdi"},
		{"\tmovq\tf(%rip), %rdi", "\tmovq\tA(%rip), %rdi"},
		{"\tmovl\tf+4(%rip), %eax", "\tmovl\tA+4(%rip), %eax"},
		{"\tmovq\t%gs:f(%rip), %rax", "\tmovq\t%gs:A(%rip), %rax"},
		{"\tcmpq\t$f, 8(%rax)", "\tcmpq\t$A, 8(%rax)"},
		{"\t.quad\tf", "\t.quad\tA"},
		{"\t.quad\tf, f+1", "\t.quad\tA, A+1"},
		{"\t.long\tf - .", "\t.long\tA - ."},
		{"\t.long 661b-f", "\t.long 661b-A"},
		{"\tlock; incl f(%rip)", "\tlock; incl A(%rip)"},
		// not references
		{"\t.string\t\"f call f\"", "\t.string\t\"f call f\""},
		{"\t.ascii\t\"\\\"f\", \"f\"", "\t.ascii\t\"\\\"f\", \"f\""},
		{"# f", "# f"},
		{"\tnop # call f", "\tnop # call f"},
		{"f:", "f:"},
		{"f: nop", "f: nop"},
		{"\tf", "\tf"}, // a mnemonic
		{"\tcall\tff", "\tcall\tff"},
		{"\tcall\tf.isra.0", "\tcall\tf.isra.0"},
		{"\tcall\t_f", "\tcall\t_f"},
		{"\tmov %f, %g", "\tmov %f, %g"},
		{"\tjmp\t1f", "\tjmp\t1f"},
		{"\tjmp .Lf", "\tjmp .Lf"},
		{"\tmovl $0xf, %eax", "\tmovl $0xf, %eax"},
	}
	for _, tt := range tests {
		got := referLine(&arch.X86.Assembly, tt.in, func(name string, branch bool) string {
			switch {
			case name != "f":
				return name
			case branch:
				return "B"
			}
			return "A"
		})
		if got != tt.want {
			t.Errorf("%q -> %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestWriteEdits(t *testing.T) {
	u := parse(t, compile(t, `
		int f(int);
		static int own(int x) { return f(x) + 1; }
		int (*table[])(int) __attribute__((section("tab"))) = { own, f };
		extern int listed;
		int g(int x) { return own(x) + own(x + listed); }
		asm(".pushsection stray,\"a\"\n.quad f\n.popsection");
		asm(".pushsection stray,\"a\"\n.local listed ;\nlisted:;\n.type listed, STT_OBJECT;\n.size listed, 4;\n.long 1\n.popsection");`, "-fno-inline", "-fno-ipa-icf"))
	asked := map[string]bool{}
	out := string(u.Write(Edit{
		DropSection: func(s string) bool { return s == "stray" },
		Rename: func(d *Def) (string, string) {
			if d.Name == "table" {
				return "newtable", ".data.rel.ro"
			}
			return "", ""
		},
		Refer: func(in *Def, name string, branch bool) string {
			asked[fmt.Sprintf("%s->%s %v", in.Name, name, branch)] = true
			if name == "f" && !branch {
				return "kernel_f"
			}
			return name
		},
		Rewrite: func(in *Def, text string) (string, bool) {
			return "\tnop", in.Name == "g" && strings.TrimSpace(text) == "ret"
		},
	}))
	f := assemble(t, []byte(out))
	defined, undefined := names(t, f)
	if !defined["newtable"] || defined["table"] || !undefined["kernel_f"] || !undefined["listed"] || f.Section(".data.rel.ro") == nil ||
		f.Section("tab") != nil && f.Section("tab").Size != 0 || f.Section("stray") != nil {
		t.Errorf("defined %v, undefined %v in\n%s", defined, undefined, out)
	}
	for _, want := range []string{"own->f true", "table->own false", "table->f false"} {
		if !asked[want] {
			t.Errorf("Refer was not asked about %q, but about %v", want, asked)
		}
	}
	if strings.Count(out, "\tret\n") != 1 || strings.Count(out, "\tnop\n") != 1 {
		t.Errorf("Rewrite did not replace the one ret of g:\n%s", out)
	}
}

func TestStrayRefs(t *testing.T) {
	u := parse(t, []byte("\t.section .initcall,\"a\"\n\t.long setup - .\n\t.section other,\"a\"\n\t.quad f\n\t.type o,@object\n\t.size o,8\no:\n\t.quad inside\n"))
	var got []string
	u.StrayRefs(func(s string) bool { return s == ".initcall" }, func(name string) { got = append(got, name) })
	if diff := cmp.Diff([]string{"setup"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestStem(t *testing.T) {
	for in, want := range map[string]string{
		"f": "f", "mutex.5": "mutex", "f.isra.0": "f.isra", "f.part.0.isra.12": "f.part.0.isra", "a.1.2": "a",
		"__UNIQUE_ID___addressable_x123": "__UNIQUE_ID___addressable_x", ".LC5": ".LC5", "v2": "v2", "f.": "f.", ".5": ".5", "": "",
	} {
		if got := Stem(in); got != want {
			t.Errorf("Stem(%q) = %q, want %q", in, got, want)
		}
	}
}
