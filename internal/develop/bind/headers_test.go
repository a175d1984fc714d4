// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"fmt"
	"strings"
	"testing"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/arch"
)

const header = `#define USED 1
#define OURS 2
#define CLAIMED 3
#define UNKNOWN 4
enum list { A, B };
struct s { int x; };
typedef unsigned long word_t;
extern void moves(int);
extern void elsewhere(int);
static inline int twice(int x) { return 2 * x; }
`

func TestCompareHeaders(t *testing.T) {
	k := NewKernel(arch.X86, &boundary.Boundary{Sources: []string{"kernel/sched"},
		Functions: []*boundary.Function{{Name: "moves", Base: "moves", Unit: unitName, Class: boundary.Interface}}}, table(t))
	h := &Headers{
		Includers: map[string][]string{"kernel/sched/smp.h": {"kernel/smp.c"}},
		Users:     map[string][]string{"USED": {"kernel/exit.c:8", "fs/x.c:1", "a.c:1", "b.c:1"}, "CLAIMED": {"kernel/smp.c:9"}},
		Ours:      map[string]string{"OURS": "plugsched.yaml:2", "CLAIMED": "plugsched.yaml:3"},
	}
	const outside, own, lent = "include/linux/sched.h", "kernel/sched/sched.h", "kernel/sched/smp.h"
	for _, tt := range []struct {
		name, file, from, to string
		want                 string // "" is accepted
	}{
		{"used", outside, "USED 1", "USED 2", "USED is a macro that the rest of the kernel was compiled with: kernel/exit.c:8, fs/x.c:1, a.c:1 and 1 more goes on"},
		{"who knows", outside, "UNKNOWN 4", "UNKNOWN 5", "UNKNOWN is a macro in a header that the rest"},
		{"ours", outside, "OURS 2", "OURS 3", ""},
		{"not ours", outside, "CLAIMED 3", "CLAIMED 4", "CLAIMED is a macro that only the scheduler uses, plugsched.yaml:3 says, but so does kernel/smp.c:9"},
		{"the scheduler's header", own, "USED 1", "USED 2", ""},
		{"lent, used there", lent, "CLAIMED 3", "CLAIMED 4", "kernel/smp.c:9"},
		{"lent, not used there", lent, "USED 1", "USED 2", ""},
		{"inline function", outside, "2 * x", "x + x", "twice is a function in a header"},
		{"new", outside, "#define USED", "#define NEW 1\n#define USED", ""},
		{"removed", outside, "#define UNKNOWN 4\n", "", ""},
		{"constant behind", outside, "A, B", "A, B, C", ""},
		{"constant before", outside, "A, B", "C, A, B", "enum list is a enum"},
		{"structure", outside, "int x; }", "long x; }", ""}, // the debug information shows it
		{"typedef", outside, "unsigned long word_t", "unsigned int word_t", "word_t is a type"},
		{"declaration of the scheduler's", outside, "moves(int)", "moves(long)", ""}, // so does the signature
		{"declaration", outside, "elsewhere(int)", "elsewhere(long)", "elsewhere is a declaration"},
		{"remark", outside, "#define USED 1", "#define USED 1 /* one */", ""},
	} {
		edited := strings.Replace(header, tt.from, tt.to, 1)
		if edited == header {
			t.Fatalf("%s: nothing replaced", tt.name)
		}
		src := &edits.Set{}
		src.Compare(tt.file, header, edited)
		got := k.CompareHeaders(k.HeaderChanges(src, h.Includers), h)
		switch {
		case tt.want == "" && len(got) > 0:
			t.Errorf("%s: refused: %v", tt.name, got)
		case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0].String(), tt.want) || got[0].Line == 0 || got[0].File != tt.file):
			t.Errorf("%s: %v, want %q", tt.name, got, tt.want)
		}
	}
}

func TestCompareExports(t *testing.T) {
	k := NewKernel(arch.X86, &boundary.Boundary{}, table(t))
	const a, b = "void f(void) {}\nEXPORT_SYMBOL(f);\n", "void g(void) {}\n"
	for _, tt := range []struct {
		name, a, b string
		want       []string
	}{
		{"nothing", a + "int x;\n", b, nil},
		{"new", a, b + "EXPORT_SYMBOL_GPL(g);\n", []string{"b.c:2: EXPORT_SYMBOL_GPL(g) makes an export"}},
		{"gone", "void f(void) {}\n", b, []string{"a.c:2: EXPORT_SYMBOL(f) takes back an export"}},
		{"moved", "", b + a, nil},
		{"for others", strings.Replace(a, "SYMBOL", "SYMBOL_GPL", 1), b, []string{"a.c:2: EXPORT_SYMBOL_GPL(f) makes",
			"a.c:2: EXPORT_SYMBOL(f) takes back"}},
	} {
		src := &edits.Set{}
		src.Compare("a.c", a, tt.a)
		src.Compare("b.c", b, tt.b)
		got := k.CompareExports(src)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %v", tt.name, got)
			continue
		}
		for i, r := range got {
			if !strings.HasPrefix(r.String(), tt.want[i]) {
				t.Errorf("%s: %s, want %q", tt.name, r, tt.want[i])
			}
		}
	}
}

// TestMoved: a global definition may move to another unit, a new one included, and
// is compared there.
func TestMoved(t *testing.T) {
	const other = "kernel/sched/new.c"
	const border = "NOINLINE void border(void) { keep(&shared); asm volatile(\"nop\"); }\n"
	const external = "NOINLINE void external(void) { keep(&shared); keep((void *)known); }\n"
	head := scheduler[:strings.Index(scheduler, "struct sched_class")] + "extern int shared; extern const int known[3];\n"
	for _, tt := range []struct {
		name, moved, as string
		refused         string
		fate            Fate
	}{
		{"border", border, border, "", Keep},
		{"border, changed", border, strings.Replace(border, "keep(", "keep(0); keep(", 1), "", Keep},
		{"external", external, external, "", Drop},
		{"external, changed", external, strings.Replace(external, "keep(", "keep(0); keep(", 1), "external stays in the kernel", Drop},
	} {
		from := strings.Replace(scheduler, tt.moved, "void border(void), external(void);\n", 1)
		old, now, added := compile(t, scheduler), compile(t, from), compile(t, head+tt.as)
		k := kernelOf(t, old, schedulerClasses, schedulerObjects)
		k.SetUnits(map[string]*asm.Unit{unitName: old}, map[string]*asm.Unit{unitName: now, other: added})
		src := &edits.Set{}
		src.Compare(unitName, scheduler, from)
		src.Compare(other, "", head+tt.as)
		if c := k.Decide(unitName, now, old).Compare(src); len(c.Refusals) > 0 || len(c.Removed) > 0 {
			t.Errorf("%s: left: %v, removed %v", tt.name, c.Refusals, c.Removed)
		}
		p := k.Decide(other, added, &asm.Unit{})
		name, _, _ := strings.Cut(tt.name, ",")
		if f := p.Fates[added.Lookup(name)]; f != tt.fate {
			t.Errorf("%s: fate %s", tt.name, f)
		}
		c := p.Compare(src)
		if got := len(c.Refusals) > 0; got != (tt.refused != "") || got && !strings.Contains(c.Refusals[0].String(), tt.refused) {
			t.Errorf("%s: %v, want %q", tt.name, c.Refusals, tt.refused)
		}
		if changed := len(c.Changed) > 0; changed != strings.Contains(tt.name, "changed") {
			t.Errorf("%s: changed %v", tt.name, c.Changed)
		}
	}
}

// TestInlined: the refusal names the function that was changed, where it was, and
// all that have it inlined.
func TestInlined(t *testing.T) {
	pristine := strings.Replace(scheduler, "NOINLINE void external(void) {",
		"static inline void in(int x)\n{\n\tkeep((void *)9L);\n}\nNOINLINE void external(void) { in(1);", 1)
	edited := strings.Replace(pristine, "9L", "10L", 1)
	p, src := plan(t, pristine, edited)
	p.kernel.SetInlining(unitName, types(t, pristine), types(t, edited))
	c := p.Compare(src)
	if len(c.Refusals) != 1 || c.Refusals[0].Class != Inlined || c.Refusals[0].Name != "in" ||
		!strings.Contains(c.Refusals[0].Why, "is inlined into external, which stays") {
		t.Fatalf("%v", c.Refusals)
	}
	if want := 1 + strings.Count(edited[:strings.Index(edited, "10L")], "\n"); c.Refusals[0].Line != want || c.Refusals[0].File != unitName {
		t.Errorf("%s:%d, want line %d", c.Refusals[0].File, c.Refusals[0].Line, want)
	}
}

// TestManyExports: a tree with very many edits is no work for the rest of the day, which the
// test's own time limit would notice.
func TestManyExports(t *testing.T) {
	k := NewKernel(arch.X86, &boundary.Boundary{}, table(t))
	src := &edits.Set{}
	const n = 500000
	for i := range n {
		item := &edits.Item{Kind: edits.Call, Name: fmt.Sprint("f", i), Macro: "EXPORT_SYMBOL"}
		src.Changes = append(src.Changes, &edits.Change{Item: item, New: true})
	}
	src.Changes = append(src.Changes, &edits.Change{Item: src.Changes[0].Item, Gone: true})
	if got := k.CompareExports(src); len(got) != n-1 {
		t.Errorf("%d refusals, want %d", len(got), n-1)
	}
}
