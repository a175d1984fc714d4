// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/environment"
)

// TestMain lets the test binary be the compiler wrapper.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "cc" {
		os.Exit(WrapCompiler(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// kbuild does of the kernel's build system what a sidecar needs.
const kbuild = `
src := $(M)
obj := $(M)
all: build
include $(M)/Kbuild
.PHONY: all build
build: $(addprefix $(M)/,$(always-y) $(obj-m) $(lib-y) $(extra-y))
	@echo built $(obj-y) $(subdir-y) >$(M)/rest
$(M)/%.o: $(M)/%.c
	$(CC) -DMODULE $(ccflags-y) $(CFLAGS_$*.o) -I$(src) -Iinclude -Wp,-MMD,$@.d -c -o $@ $<
`

func TestCompileSidecars(t *testing.T) {
	work, source, kernel, out := t.TempDir(), t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "out")
	write(t, filepath.Join(kernel, "Makefile"), kbuild)
	writeHeaders(t, kernel)
	write(t, filepath.Join(source, "kernel/Makefile"), "obj-y := fork.o other.o sched/\nobj-m := mod.o\nlib-y := lib.o\nextra-y := x.o\nCFLAGS_fork.o := -DFLAG=4\nCFLAGS_other.o := -DFLAG=9\n")
	write(t, filepath.Join(source, "fs/proc/Makefile"), "obj-y += proc.o\nproc-y := array.o stat.o\nccflags-y := -DALL=7\n")
	write(t, filepath.Join(source, "fs/proc/Kbuild"), "obj-y += proc.o\nccflags-y := -DALL=8\n")
	write(t, filepath.Join(work, "kernel/fork.c"), "#include \"near.h\"\n#include <far.h>\n#ifdef MODULE\n#error a module\n#endif\n#ifdef __DISABLE_EXPORTS\n#error without exports\n#endif\n"+
		"int fork_flag = FLAG * 1000 + NEAR + FAR;\nconst char *file = __FILE__;\n")
	write(t, filepath.Join(work, "kernel/near.h"), "#define NEAR 30\n")
	write(t, filepath.Join(work, "kernel/far.h"), "#define FAR 200\n")
	write(t, filepath.Join(work, "kernel/other.c"), "#error not asked for\n")
	write(t, filepath.Join(work, "fs/proc/array.c"), "#include \"../../../block/trace.h\"\nint all = ALL + TRACE;\n")
	write(t, filepath.Join(source, "block/trace.h"), "#define TRACE 40\n")
	write(t, filepath.Join(source, "include/trace/events/x.h"), "")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tree := &Tree{WorkDir: work, SchedDir: "kernel/sched", KernelBuild: kernel, Common: "/none", Source: source,
		Env: &environment.Environment{CC: "gcc"}, Self: self,
		Module: true}
	units, err := CompileSidecars(t.Context(), tree, out, []string{"kernel/fork.c", "fs/proc/array.c"})
	if err != nil {
		t.Fatal(err)
	}
	if len(units) != 2 || units[0].Name != "fs/proc/array.c" || units[1].Name != "kernel/fork.c" {
		t.Fatalf("units %+v", units)
	}
	for i, want := range [][]string{{"\t.long\t48\n"}, {"\t.long\t4230\n", "kernel/fork.c\"\n"}} {
		text, err := os.ReadFile(units[i].Assembly)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(text), w) || !exists(units[i].Object) {
				t.Errorf("%s has no %q:\n%s", units[i].Name, w, text)
			}
		}
	}
	if rest, err := os.ReadFile(filepath.Join(out, "kernel/rest")); err != nil || string(rest) != "built fork.o other.o\n" {
		t.Errorf("left of the Makefile: %q, %v", rest, err)
	}
	if deps := strings.Join(units[1].Deps, " "); !strings.Contains(deps, filepath.Join(work, "kernel/near.h")) {
		t.Errorf("dependencies %s", deps)
	}
	if _, err := CompileSidecars(t.Context(), tree, out, []string{"mm/memory.c"}); !errors.Is(err, os.ErrNotExist) ||
		!strings.Contains(err.Error(), "it has no Makefile") {
		t.Errorf("without a Makefile: %v", err)
	}
	if units, err := CompileSidecars(t.Context(), tree, out, nil); err != nil || len(units) > 0 {
		t.Errorf("none: %v, %v", units, err)
	}
}

func TestStem(t *testing.T) {
	tree := &Tree{SchedDir: "kernel/sched"}
	got := map[string]string{}
	for _, unit := range []string{"kernel/sched/core.c", "kernel/time/core.c", "kernel/core.c", "kernel/sched/sub/core.c"} {
		got[unit] = tree.Stem(unit)
	}
	want := map[string]string{"kernel/sched/core.c": "core", "kernel/time/core.c": "kernel+time+core", "kernel/core.c": "kernel+core",
		"kernel/sched/sub/core.c": "kernel+sched+sub+core"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
