// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestCompare(t *testing.T) {
	fn := func(name, base, file string, c Class) *Function {
		return &Function{Name: name, Base: base, DeclFile: file, Unit: "any", Class: c, Facts: []Fact{{Text: "why " + name}}}
	}
	from := &Boundary{
		Functions: []*Function{
			fn("same", "same", "a.c", Internal), fn("f", "f", "a.c", Interface), fn("f.part.0", "f", "a.c", Internal),
			fn("twice", "twice", "a.c", Internal), fn("twice", "twice", "b.c", Internal),
			fn("gone", "gone", "a.c", Callback), fn("shrinks", "shrinks", "a.c", Internal),
		},
		Absent:  []*Absent{{Name: "grows", Into: []string{"f"}}},
		Objects: []*Object{{Name: "v", Type: "int", Class: Shared}, {Name: "old", Class: Shared}},
	}
	to := &Boundary{
		Functions: []*Function{
			fn("same", "same", "other.c", Internal), fn("f.isra.0", "f", "a.c", External),
			fn("twice", "twice", "a.c", Internal), fn("twice", "twice", "b.c", External),
			fn("new", "new", "a.c", Init), fn("grows", "grows", "a.c", Internal),
		},
		Absent:  []*Absent{{Name: "shrinks", Into: []string{"new"}}},
		Objects: []*Object{{Name: "v", Type: "long int", Class: Shared}, {Name: "young", Class: Table}},
	}
	want := &Diff{
		Functions:      []Change{{"f", "interface", "external", "why f.isra.0"}, {"twice (b.c)", "internal", "external", "why twice"}},
		Inlined:        []Change{{"grows", "absent", "internal", "why grows"}, {"shrinks", "internal", "absent", "is inlined into new"}},
		Removed:        []Change{{Name: "gone", From: "callback"}},
		Added:          []Change{{Name: "new", To: "init"}},
		Objects:        []Change{{Name: "v", From: "shared int", To: "shared long int"}},
		RemovedObjects: []Change{{Name: "old", From: "shared"}},
		AddedObjects:   []Change{{Name: "young", To: "table"}},
	}
	if diff := cmp.Diff(want, Compare(from, to), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&Diff{}, Compare(from, from), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("with itself: %s", diff)
	}
}
