// SPDX-License-Identifier: BSD-3-Clause

package asm

import (
	"fmt"
	"strings"
	"testing"

	"plugsched/internal/fuzzing"
	"plugsched/internal/kernel/arch"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// warn is the kernel's WARN_ON: struct bug_entry holds the line in its first word.
const warn = `
#define STR1(x) #x
#define STR(x) STR1(x)
#define WARN() asm volatile("1:\tud2\n\t.pushsection __bug_table,\"aw\"\n2:\t.long 1b - .\n\t.long %c0 - .\n\t.word %c1\n\t.word %c2\n\t.popsection" \
	:: "i" (__FILE__), "i" (__LINE__), "i" (FLAGS))
#ifndef SECOND
#define SECOND 1, 78
#endif
#ifndef FLAGS
#define FLAGS 2305
#endif
int print(const char *, ...);
int far(int), further(int, ...);
void __might_sleep(const char *, int);
`

const normalBase = warn + `
int first(void) { static int n; return ++n; }
int f(int x)
{
	static int n;
	if (x > 100)
		WARN();
	__might_sleep(__FILE__, __LINE__);
	far(77), further(SECOND);
	for (int i = 0; i < x; i++)
		n += far(i);
	print("n is %d", n);
	return n;
}
int after(void) { static int n = 3; return print("after %d", n++); }
`

func normals(t *testing.T, c string, flags ...string) map[string]string {
	t.Helper()
	u := parse(t, compile(t, c, flags...))
	out := map[string]string{}
	for _, d := range u.Defs {
		if d.Kind == Func {
			out[d.Name] = u.Normal(d)
		}
	}
	return out
}

// TestNormalMoved: code that only moves is equal to what it was.
func TestNormalMoved(t *testing.T) {
	want := normals(t, normalBase, "-g")
	if len(want) != 3 || strings.Count(want["f"], "\n") < 10 || !strings.Contains(want["f"], "ud2") {
		t.Fatalf("functions: %q", want)
	}
	insert := func(before, text string) string {
		out := strings.Replace(normalBase, before, text+before, 1)
		if out == normalBase {
			t.Fatalf("no %q", before)
		}
		return out
	}
	for name, c := range map[string]string{
		"lines":         insert("int first", "\n\n\n/* a remark */\n\n"),
		"string":        insert("int first", "int newer(void) { return print(\"newer\") + print(\"still\"); }\n"),
		"static local":  insert("int first", "int newer(void) { static int n; static int m; return n++ + m++; }\n"),
		"loop, warning": insert("int first", "int newer(int x) { if (x) WARN(); while (far(x)) x++; return x; }\n"),
	} {
		for _, debug := range []string{"-g", "-g0"} {
			t.Run(name+" "+debug, func(t *testing.T) {
				got := normals(t, c, debug)
				for fn := range want {
					if diff := cmp.Diff(want[fn], got[fn]); diff != "" {
						t.Errorf("%s differs:\n%s", fn, diff)
					}
				}
			})
		}
	}
}

// TestNormalChanged: a change of code shows, in its function only.
func TestNormalChanged(t *testing.T) {
	want := normals(t, normalBase)
	for _, change := range [][2]string{
		{"n is %d", "n was %d"}, // only the string
		{"x > 100", "x > 101"},
		{"far(i)", "further(i)"},
		{"#define SECOND 1, 78", "#define SECOND 1, 79"}, // a second argument that is no line
		{"__might_sleep(__FILE__, __LINE__)", "__might_sleep(\"another\", __LINE__)"},
		{"n += far(i)", "n -= far(i)"},
		{"i < x", "i <= x"},
		{"return n;\n}\nint after", "return x;\n}\nint after"},
		{"static int n;\n\tif", "static long n;\n\tif"},
		{"#define FLAGS 2305", "#define FLAGS 2307"}, // WARN_ON to WARN_ON_ONCE
	} {
		c := strings.Replace(normalBase, change[0], change[1], 1)
		if c == normalBase {
			t.Fatalf("no %q", change[0])
		}
		got := normals(t, c)
		if got["f"] == want["f"] {
			t.Errorf("%q: not seen", change)
		}
		if got["after"] != want["after"] || got["first"] != want["first"] {
			t.Errorf("%q: seen in other functions", change)
		}
	}
}

// TestNormalData: contents of objects, and what the code reads from tables that
// gcc made of a switch.
func TestNormalData(t *testing.T) {
	lookup := func(value int) string {
		return fmt.Sprintf("int f(unsigned x) { switch (x) { case 0: return 8; case 1: return 1; case 2: return %d; case 3: return -4; case 4: return 12; } return 0; }", value)
	}
	old, same, changed := normals(t, lookup(77)), normals(t, "int g;\n"+lookup(77)), normals(t, lookup(78))
	if old["f"] != same["f"] {
		t.Error("a lookup table's number shows")
	}
	if old["f"] == changed["f"] {
		t.Errorf("a changed lookup table does not show:\n%s", old["f"])
	}
}

// TestNormalZero: zeros without a label of their own show as those with one, so that another
// size, or another value, is seen.
func TestNormalZero(t *testing.T) {
	const text = "\t.local\tnohz\n\t.comm\tnohz,%d,64\n\t.bss\n\t.type\tlabelled.3,@object\n\t.size\tlabelled.3,40\nlabelled.3:\n\t.zero\t40\n"
	for _, size := range []int{40, 48} {
		u := parse(t, fmt.Appendf(nil, text, size))
		if is, want := u.Normal(u.Lookup("nohz")), fmt.Sprintf("nohz:\n.zero\t%d\n", size); is != want {
			t.Errorf("%q, want %q", is, want)
		}
		if is := u.Normal(u.Lookup("labelled.3")); is != "labelled:\n.zero\t40\n" {
			t.Errorf("with a label: %q", is)
		}
	}
}

// TestTablesOfTables: tables that refer to each other, and to themselves, are
// shown once each.
func TestTablesOfTables(t *testing.T) {
	const tables = 40
	text := "\t.text\n\t.type f,@function\nf:\n\tleaq t.1(%rip), %rax\n\tret\n\t.size f,.-f\n\t.section .rodata\n"
	for i := range tables {
		text += fmt.Sprintf("\t.type t.%d,@object\nt.%[1]d:\n", i)
		for j := range tables {
			text += fmt.Sprintf("\t.quad t.%d\n", j)
		}
	}
	u := parse(t, []byte(text))
	if n := len(u.Normal(u.Lookup("f"))); n > 100*tables*tables {
		t.Errorf("%d bytes", n)
	}
}

// FuzzParse: Parse takes anything, what it takes the other functions take too,
// and what Write writes means the same when it is read again.
func FuzzParse(f *testing.F) {
	for _, c := range samples {
		f.Add(compile(f, c))
	}
	f.Add(compile(f, normalBase, "-g"))
	f.Add([]byte("\t.popsection\n\t.previous\n.previous\n\t.set a,a\na:\n\t.type a,@object\n\t.size a,-1\n\t.set .x,y"))
	f.Add([]byte("\t.section\n\t.pushsection \"\n:\n: x\n#\n\t.comm a,b\n\t.globl\n\t.type\n\t.size\n"))
	f.Add([]byte("\t.type f,@function\nf:\n\t.type f.cold,@function\nf.cold:\n\t.size f,.-f\n\t.size f.cold,.-f.cold\nf:\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		fuzzing.Bounded(t, func() { parseAndUse(t, text) })
	})
}

func parseAndUse(t *testing.T, text []byte) {
	u, err := Parse(&arch.X86.Assembly, "fuzz.s", text)
	if err != nil {
		return
	}
	for _, d := range u.Defs {
		if u.Lookup(d.Name) == nil {
			t.Errorf("%q is not found", d.Name)
		}
		u.Refs(d, func(string, bool) {})
		u.Normal(d)
	}
	u.Write(Edit{Drop: func(d *Def) bool { return d.Kind == Func }, Refer: func(_ *Def, name string, _ bool) string { return name + "x" },
		Rename: func(d *Def) (string, string) { return d.Name + "y", "z" }})
	out := u.Write(Edit{})
	again, err := Parse(&arch.X86.Assembly, "again.s", out)
	if err != nil {
		t.Fatalf("what was written is refused: %v\n%s", err, out)
	}
	if diff := cmp.Diff(defs(u), defs(again), cmpopts.IgnoreUnexported(Def{})); diff != "" {
		t.Errorf("other definitions after writing and reading:\n%s", diff)
	}
}

// defs are the definitions, without their places.
func defs(u *Unit) []Def {
	var out []Def
	for _, d := range u.Defs {
		c := *d
		c.first, c.last = 0, 0
		out = append(out, c)
	}
	return out
}
