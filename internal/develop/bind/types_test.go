// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/image"
	"plugsched/internal/kernel/symbols"
)

// layouts is what the kernel and the module share through the variable queue, and
// own, which never leaves the stack.
const layouts = `
struct inner { int deep; };
struct queue {
	int nr;
	long load;
	unsigned flag : 1, other : 3;
	unsigned long kabi_reserved1;
	struct { int in; } sub;
	union { int a; long b; };
	struct inner inner;
};
struct own { int x; };
struct queue queue;
void method(struct queue *q) { struct own o = { q->nr }; queue.nr += o.x; }
`

func types(t *testing.T, c string) *image.Types {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "kernel/sched"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "kernel/sched/sched.h"), c)
	run(t, dir, "gcc", "-c", "-g", "-O2", "-o", "sched.o", "-x", "c", "kernel/sched/sched.h")
	ty, err := ReadTypes(filepath.Join(dir, "sched.o"))
	if err != nil {
		t.Fatal(err)
	}
	return ty
}

func TestCompareTypes(t *testing.T) {
	k := NewKernel(arch.X86, &boundary.Boundary{
		Functions: []*boundary.Function{{Name: "method", Base: "method", Unit: unitName, Class: boundary.Callback}},
		Objects:   []*boundary.Object{{Name: "queue", Unit: unitName, Type: "struct queue"}},
		Sources:   []string{"kernel/sched"},
	}, table(t, symbols.Symbol{Name: "queue"}))
	was := types(t, layouts)
	for _, tt := range []struct {
		name, from, to string
		why            string // "" is accepted
		name2          string // what is named
		warned         int
	}{
		{name: "nothing", from: "int nr;", to: "int nr; /* remark */"},
		{name: "reserved member", from: "unsigned long kabi_reserved1;", to: "unsigned long mine;", warned: 1},
		{name: "reserved member by union", from: "unsigned long kabi_reserved1;",
			to: "union { int mine; unsigned long kabi_reserved1; };", warned: 1},
		{name: "half of a reserved member", from: "unsigned long kabi_reserved1;",
			to: "int mine __attribute__((aligned(8))); int kabi_reserved1;", warned: 2},
		{name: "hole", from: "int nr;", to: "int nr; int mine;", warned: 1},
		{name: "free bits", from: "other : 3", to: "other : 3, mine : 2", warned: 1},
		{name: "own structure", from: "struct own { int x; }", to: "struct own { int x; long y; }"},
		{name: "new member", from: "long load;", to: "long load, mine;", name2: "struct queue",
			why: "+ long int mine at byte 16; "},
		{name: "behind the end", from: "struct inner inner;", to: "struct inner inner; long mine;", name2: "struct queue",
			why: "+ long int mine at byte 56; size was 56, is 64 bytes"},
		{name: "renamed", from: "int in;", to: "int out;", name2: "struct queue", why: "+ int sub.out at byte 32; - int sub.in at byte 32"},
		{name: "another name", from: "long load;", to: "union { long mine; long load; };"},
		{name: "another name, of another type", from: "long load;", to: "union { unsigned long mine; long load; };",
			name2: "struct queue", why: "+ long unsigned int mine at byte 8)"},
		{name: "type", from: "long load;", to: "unsigned long load;", name2: "struct queue",
			why: "load was long int (8 bytes), is long unsigned int (8 bytes)"},
		{name: "bits", from: "flag : 1", to: "flag : 2", name2: "struct queue",
			why: "flag was unsigned int (1 bits), is unsigned int (2 bits); 1 members move, other from byte 16 to 16"},
		{name: "order", from: "int nr;\n\tlong load;", to: "long load;\n\tint nr;", name2: "struct queue",
			why: "10 members move, load from byte 8 to 0; size was 56, is 48 bytes"},
		{name: "over another member", from: "unsigned long kabi_reserved1;", to: "unsigned long mine[1];", warned: 1},
		{name: "inside", from: "int deep;", to: "char deep;", name2: "struct inner", why: "deep was int (4 bytes), is char (1 bytes)"},
		{name: "signature", from: "void method(struct queue *q) {",
			to: "int method(struct queue *q) { return 0; }\nvoid rest(struct queue *q) {", name2: "method",
			why: `from "void (struct queue *)" to "int (struct queue *)"`},
		{name: "class", from: "struct queue queue;", to: "struct queue queue; struct sched_class { int x; }; const struct sched_class mine = { 1 };", name2: "mine", why: "is a new scheduling class"},
		{name: "classes", from: "struct queue queue;", to: "struct queue queue; struct sched_class { int x; }; static struct sched_class mine[2] __attribute__((used));", name2: "mine", why: "is a new scheduling class"},
		{name: "part of it", from: "struct queue queue;", to: "struct queue queue; struct sched_class { int x; }; struct policy { int id; struct sched_class class; }; struct policy *f(void) { static struct policy mine; return &mine; }",
			name2: "mine", why: "is a new scheduling class"},
		{name: "class with a way out of it", from: "struct queue queue;",
			to: "struct queue queue; struct sched_class { int x; }; const struct sched_class mine = { 1 };\n" +
				"int plugsched_leaving(int force) { return force; }"},
		{name: "class with a way out that nobody wrote", from: "struct queue queue;",
			to:    "struct queue queue; int plugsched_leaving(int force); struct sched_class { int x; }; const struct sched_class mine = { 1 };",
			name2: "mine", why: "is a new scheduling class"},
		{name: "pointers to classes", from: "struct queue queue;",
			to: "struct queue queue; struct sched_class { int x; }; extern const struct sched_class theirs; const struct sched_class *mine[2]; int f(void) { return theirs.x; }"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			edited := strings.Replace(layouts, tt.from, tt.to, 1)
			if edited == layouts {
				t.Fatal("nothing replaced")
			}
			src := &edits.Set{}
			src.Compare("kernel/sched/sched.h", layouts, edited)
			out, err := k.CompareTypes(t.Context(), unitName, types(t, edited), was, src, nil)
			if err != nil {
				t.Fatal(err)
			}
			refusals, warnings := out.Refusals, out.Warnings
			if len(warnings) != tt.warned {
				t.Errorf("warnings %q, want %d", warnings, tt.warned)
			}
			switch {
			case tt.why == "" && len(refusals) > 0:
				t.Errorf("refused: %v", refusals)
			case tt.why == "":
			case len(refusals) != 1 || refusals[0].Name != tt.name2 || !strings.Contains(refusals[0].Why, tt.why) ||
				refusals[0].File != "kernel/sched/sched.h" || refusals[0].Line == 0:
				t.Errorf("got %v, want %s: %s", refusals, tt.name2, tt.why)
			}
		})
	}
}

// TestInnermost: a structure in which another changed is told when it has an edit of its own as well.
func TestInnermost(t *testing.T) {
	k := NewKernel(arch.X86, &boundary.Boundary{Objects: []*boundary.Object{{Name: "queue", Unit: unitName, Type: "struct queue"}},
		Sources: []string{"kernel/sched"}}, table(t, symbols.Symbol{Name: "queue"}))
	was := types(t, layouts)
	for _, tt := range []struct{ from, to, want string }{
		{"int deep;", "int deep; long mine;", "struct inner"},
		{"struct inner inner;", "struct inner inner; long mine;", "struct queue"},
		{"int deep; };\nstruct queue {", "int deep; long mine; };\nstruct queue {\n\tlong own;", "struct inner, struct queue"},
		{"int deep; };\nstruct queue {\n\tint nr;\n\tlong load;", "int deep; long mine; };\nstruct queue {\n\tlong load;\n\tint nr;",
			"struct inner, struct queue"},
	} {
		edited := strings.Replace(layouts, tt.from, tt.to, 1)
		src := &edits.Set{}
		src.Compare("kernel/sched/sched.h", layouts, edited)
		out, err := k.CompareTypes(t.Context(), unitName, types(t, edited), was, src, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range out.Refusals {
			got = append(got, r.Name)
		}
		if s := strings.Join(got, ", "); s != tt.want {
			t.Errorf("%q: %s, want %s", tt.to, s, tt.want)
		}
	}
}

func TestSpare(t *testing.T) {
	for name, want := range map[string]bool{"android_kabi_reserved1": true, "rh_reserved12": true, "__reserved_1": true,
		"suse_kabi_padding": true,
		"lowmem_reserve":    false, "nr_running": false, "pad": false, "reserved_pages": false} {
		if spare.MatchString(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestDistinct(t *testing.T) {
	own, derived, layout := Refusal{Class: Stays, Name: "a"}, Refusal{Class: Stays, Name: "b", Derived: true},
		Refusal{Class: Layout, Name: "c"}
	if diff := cmp.Diff([]Refusal{own, derived}, Distinct([]Refusal{derived, own, own})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Refusal{own, layout}, Distinct([]Refusal{layout, derived, own})); diff != "" {
		t.Error(diff)
	}
}
