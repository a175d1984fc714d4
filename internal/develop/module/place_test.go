// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"debug/elf"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/environment"
)

// loop is a unit with a function that aligns beyond its own alignment, as gcc does for loops.
const loop = `	.text
	.p2align 4
	.type	first, @function
first:
	.long	1
	.size	first, .-first
	.p2align 4
	.type	second, @function
second:
	.long	2
	.p2align 5
.L3:
	.long	3
	.size	second, .-second
`

// TestPlace: what differs by padding is equal at the kernel's address, and nothing else is.
func TestPlace(t *testing.T) {
	dir := t.TempDir()
	assemble := func(name, text string) string {
		t.Helper()
		source, object := filepath.Join(dir, name+".s"), filepath.Join(dir, name+".o")
		write(t, source, text)
		if out, err := exec.Command("gcc", "-c", "-o", object, source).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return object
	}
	const unit = "kernel/sched/core.c"
	// In the kernel something stands between the two functions.
	kernel := codeOf(t, assemble("kernel", strings.Replace(loop, "	.p2align 4\n	.type	second", "	.skip 16\n	.p2align 4\n	.type	second", 1)))
	u := &Unit{Name: unit, Source: filepath.Join(dir, "ours.s"), Object: assemble("ours", loop)}
	r, err := bind.Reproduce(kernel, unit, u.Object)
	if err != nil || len(r.Mismatches) != 1 || r.Mismatches[0].Function != "second" {
		t.Fatalf("as compiled: %+v, %v", r, err)
	}
	tree := &Tree{Env: &environment.Environment{CC: "gcc"}}
	placed := filepath.Join(dir, "placed.o")
	reproduced := func() *bind.Reproduction {
		t.Helper()
		if err := Place(t.Context(), tree, u, kernel.Places(unit), placed); err != nil {
			t.Fatal(err)
		}
		r, err := bind.Reproduce(kernel, unit, placed)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := reproduced(); r.Functions != 2 || r.Reproduced != 2 {
		t.Errorf("placed: %+v", r)
	}
	// Other padding is another code, and so is another instruction.
	for what, text := range map[string]string{
		"padding":     strings.Replace(loop, "p2align 5", "p2align 4", 1),
		"instruction": strings.Replace(loop, ".long	3", ".long	4", 1),
	} {
		u.Object = assemble("ours", text)
		if r := reproduced(); r.Reproduced != 1 {
			t.Errorf("another %s: %+v", what, r)
		}
	}
	write(t, u.Source, "	.nonsense\n")
	if err := Place(t.Context(), tree, u, nil, placed); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("what is no assembly: %v", err)
	}
}

// codeOf takes an object's functions, linked at an address, for the kernel's.
func codeOf(t *testing.T, object string) *bind.Code {
	t.Helper()
	f, err := elf.Open(object)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	text, err := f.Section(".text").Data()
	if err != nil {
		t.Fatal(err)
	}
	code := &bind.Code{}
	for _, s := range syms {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			code.Functions = append(code.Functions, bind.FunctionCode{Name: s.Name, Unit: "kernel/sched/core.c", Addr: 0x1000 + s.Value,
				Code: text[s.Value : s.Value+s.Size]})
		}
	}
	return code
}
