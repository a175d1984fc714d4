// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPerCPUUsers: who names a per-CPU variable, where its address looks like a number.
func TestPerCPUUsers(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/tiny")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/tiny/kernel/sched/core.c")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, `
#define percpu __used __attribute__((section(".data..percpu")))
long before[512] percpu, var[8] percpu;
unsigned long __per_cpu_offset[64], taken;
/* As include/asm-generic/percpu.h has it: the address goes through a register. */
#define per_cpu_ptr(p, off) ({ unsigned long __p; asm("" : "=r"(__p) : "0"(p)); (long *)(__p + (off)); })
alone long by_constant(int cpu) { return *per_cpu_ptr(&var, __per_cpu_offset[cpu]); }
alone long by_index(int cpu, long i) { return *per_cpu_ptr(&var[i], __per_cpu_offset[cpu]); }
alone long by_segment(void) { return *(long __seg_gs *)(unsigned long)&var[1]; }
alone void address_only(void) { taken = (unsigned long)&var; }
alone long a_number(long i) { return i == 4096 ? 4104 : i * 8 + 4100; }
alone long an_offset(char *p) { return *(long *)(p + 4096); }
alone long other_area(int cpu, char *p) { return __per_cpu_offset[cpu] + *(long *)(p + 4096); }
`...)
	if err := os.WriteFile(filepath.Join(dir, "kernel/sched/core.c"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	link(t, dir, filepath.Join(dir, "vmlinux"), "-g", "-fno-toplevel-reorder")
	p, err := Load(t.Context(), filepath.Join(dir, "vmlinux"), Options{SourceDirs: []string{"kernel/sched"}})
	if err != nil {
		t.Fatal(err)
	}
	if o := p.Object("var"); o == nil || o.Addr == 0 || o.Addr > 0x3000 {
		t.Fatalf("%+v: not where it can be taken for a number", o)
	}
	users, err := p.ObjectUsers(t.Context(), func(o *Object) bool { return o.Name == "var" })
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, f := range users[p.Object("var")] {
		got[f.Name] = true
	}
	if diff := cmp.Diff(map[string]bool{"by_constant": true, "by_index": true, "by_segment": true, "address_only": true}, got); diff != "" {
		t.Error(diff)
	}
}
