// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/arch"
)

// TestBind: what is found about all units is put together; a unit may be new, or gone.
func TestBind(t *testing.T) {
	unit := func(name, body string, functions ...string) *asm.Unit {
		text := "\t.text\n"
		for _, f := range functions {
			text += "\t.globl\t" + f + "\n\t.type\t" + f + ", @function\n" + f + ":\n\t" + body + "\n\tret\n\t.size\t" + f + ", .-" + f + "\n"
		}
		u, err := asm.Parse(&arch.X86.Assembly, name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	function := func(name, unit string, class boundary.Class) *boundary.Function {
		return &boundary.Function{Name: name, Base: name, Unit: unit, Class: class}
	}
	k := NewKernel(arch.X86, &boundary.Boundary{Functions: []*boundary.Function{function("f", "a.c", boundary.Internal),
		function("same", "a.c", boundary.Internal), function("border", "gone.c", boundary.Interface)}}, table(t))
	b, err := k.Bind(t.Context(), map[string]*asm.Unit{"a.c": unit("a.c", "nop", "f", "same"), "gone.c": unit("gone.c", "nop", "border")},
		map[string]*asm.Unit{"a.c": unit("a.c", "nop", "same"), "new.c": unit("new.c", "nop", "g", "h")}, &edits.Set{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a.c", "new.c"}, slices.Sorted(maps.Keys(b.Assembly))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"g", "h"}, b.Added); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"f"}, b.Removed); diff != "" {
		t.Error(diff)
	}
	if len(b.Changed) != 0 || len(b.Refusals) != 1 || b.Refusals[0].Class != Entry || b.Refusals[0].Name != "border" {
		t.Errorf("changed %q, refused %v", b.Changed, b.Refusals)
	}
}

// TestRuntimeCalls: what an update calls must be there under its name.
func TestRuntimeCalls(t *testing.T) {
	const called = "static NOINLINE int dequeue_entities(void) { keep(0); return 1; }\n" +
		"NOINLINE void sleeps(void) { dequeue_entities(); keep(0); }\n"
	const clone = "static NOINLINE int dequeue_entities(void) __asm__(\"dequeue_entities.isra.0\");\n" + called
	was, inline := scheduler+called, "static inline __attribute__((always_inline)) int"
	for name, tt := range map[string]struct {
		to     string
		refuse bool
	}{
		"as it was": {was, false},
		"another":   {strings.Replace(was, "return 1;", "return 2;", 1), false},
		"inlined":   {scheduler + strings.Replace(called, "static NOINLINE int", inline, 1), true},
		"cloned":    {scheduler + clone, true},
		"removed":   {scheduler, true},
	} {
		p, src := plan(t, was, tt.to)
		refused := false
		for _, r := range p.Compare(src).Refusals {
			refused = refused || r.Class == Entry && r.Name == "dequeue_entities"
		}
		if refused != tt.refuse {
			t.Errorf("%s: refused: %v", name, refused)
		}
	}
}
