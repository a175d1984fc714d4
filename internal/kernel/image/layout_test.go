// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"debug/elf"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// readTypes reads the tiny kernel's types out of core.c, compiled with flags.
func readTypes(t *testing.T, flags ...string) *Types {
	t.Helper()
	src := filepath.Join(t.TempDir(), "src")
	if err := os.CopyFS(src, os.DirFS("testdata/tiny")); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-c", "-o", "core.o", "kernel/sched/core.c"}, kernelFlags...)
	gcc(t, src, append(args, flags...)...)
	return typesOf(t, filepath.Join(src, "core.o"))
}

func typesOf(t *testing.T, path string) *Types {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	types, err := ReadTypes(d, func(unit string) bool { return unit == "kernel/sched/core.c" })
	if err != nil {
		t.Fatal(err)
	}
	return types
}

var wantLayouts = map[string]Layout{
	"struct rq": {Size: 96, DeclFile: "kernel/sched/sched.h", Members: []Member{
		{Name: "nr", Offset: 0, Size: 4, Type: "int"},
		{Name: "flags", Offset: 4, Size: 4, BitSize: 3, Type: "unsigned int"},
		{Name: "idle", Offset: 4, Size: 4, BitOffset: 3, BitSize: 1, Type: "unsigned int"},
		{Name: "", Offset: 8, Size: 8, Type: "union {...}"},
		{Name: "word", Offset: 8, Size: 8, Type: "long int"},
		{Name: "", Offset: 8, Size: 8, Type: "struct {...}"},
		{Name: "low", Offset: 8, Size: 4, Type: "int"},
		{Name: "high", Offset: 12, Size: 4, Type: "int"},
		{Name: "nest", Offset: 16, Size: 2, Type: "struct {...}"},
		{Name: "nest.depth", Offset: 16, Size: 2, Type: "short int"},
		{Name: "refs", Offset: 20, Size: 4, Type: "atomic_t"},
		{Name: "state", Offset: 24, Size: 4, Type: "enum state"},
		{Name: "next", Offset: 32, Size: 8, Type: "struct rq *"},
		{Name: "pick", Offset: 40, Size: 8, Type: "int (*)(struct rq *, int)"},
		{Name: "slots", Offset: 48, Size: 48, Type: "void *[2][3]"},
		{Name: "tail", Offset: 96, Size: 0, Type: "char[]"},
	}},
	"struct sched_class": {Size: 16, DeclFile: "kernel/sched/sched.h", Members: []Member{
		{Name: "enqueue", Offset: 0, Size: 8, Type: "void (*)(struct rq *)"},
		{Name: "select", Offset: 8, Size: 8, Type: "int (*)(int)"},
	}},
	"atomic_t": {Size: 4, DeclFile: "kernel/sched/sched.h", Members: []Member{
		{Name: "counter", Offset: 0, Size: 4, Type: "int"},
	}},
}

func TestLayouts(t *testing.T) {
	for name, types := range map[string]*Types{
		"DWARF 5":     readTypes(t, "-gdwarf-5"),
		"DWARF 4":     readTypes(t, "-gdwarf-4"),
		"DWARF 2":     readTypes(t, "-gdwarf-2", "-gstrict-dwarf"),
		"linked":      typesOf(t, tinyKernel(t)),
		"unoptimised": readTypes(t, "-g", "-O0"),
	} {
		if diff := cmp.Diff(wantLayouts, types.Layouts, cmpopts.IgnoreFields(Layout{}, "DeclLine")); diff != "" {
			t.Errorf("%s: layouts (-want +got):\n%s", name, diff)
		}
		if len(types.Conflicts) > 0 {
			t.Errorf("%s: conflicts %v", name, types.Conflicts)
		}
	}
}

// TestInlining: what is inlined where, by the names of the source.
func TestInlining(t *testing.T) {
	for name, types := range map[string]*Types{"object": readTypes(t, "-g"), "linked": typesOf(t, tinyKernel(t))} {
		if diff := cmp.Diff([]string{"deepest", "inner"}, types.Inlined["inlines"]); diff != "" {
			t.Errorf("%s: into inlines (-want +got):\n%s", name, diff)
		}
		if list := types.Inlined["caller"]; len(list) > 0 {
			t.Errorf("%s: %v inlined into a function that only calls", name, list)
		}
	}
}

func TestPrototypes(t *testing.T) {
	const core, header = "kernel/sched/core.c", "kernel/sched/sched.h"
	types := readTypes(t, "-g")
	for name, want := range map[string]Prototype{
		"callee":       {"int (int)", core, 0, true},
		"enqueue_task": {"void (struct rq *)", core, 0, true},
		"take_in_code": {"void *(void)", core, 0, true},
		"range_check":  {"int (long unsigned int)", core, 0, true},
		"same_name":    {"int (int)", core, 0, false},
		"cloned":       {"int (int)", core, 0, false},
		"inner":        {"int (int)", header, 0, false},
		"chooser":      {"int (*(struct rq *, int (*)(int), ...))(int)", core, 0, true},
	} {
		got := types.Prototypes[name]
		if got.DeclLine == 0 {
			t.Errorf("%s has no line", name)
		}
		got.DeclLine = 0
		if got != want {
			t.Errorf("%s is %+v, want %+v", name, got, want)
		}
	}
	if p, ok := types.Prototypes["fail"]; ok {
		t.Errorf("fail, which is only declared, is defined as %+v", p)
	}
}

func TestLayoutEqual(t *testing.T) {
	a := wantLayouts["struct sched_class"]
	b := a
	b.DeclLine, b.DeclFile = 7, "elsewhere.h"
	if !a.Equal(b) {
		t.Error("the place of declaration makes a difference")
	}
	b.Members = append([]Member(nil), a.Members...)
	b.Members[1].Type = "int (*)(long int)"
	if a.Equal(b) {
		t.Error("a member's type makes no difference")
	}
	b = a
	b.Size++
	if a.Equal(b) {
		t.Error("the size makes no difference")
	}
}
