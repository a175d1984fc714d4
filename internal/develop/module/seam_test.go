// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plugsched"
	"plugsched/internal/kernel/arch"
)

// TestRuntimeSizes: what this side and the runtime rely on is the same, for every
// architecture.
func TestRuntimeSizes(t *testing.T) {
	says := func(path, line string) {
		t.Helper()
		text, err := fs.ReadFile(plugsched.Runtime, path)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(strings.FieldsFunc(strings.ReplaceAll(string(text), "\t", " "), func(r rune) bool { return r == '\n' }), line) {
			t.Errorf("%s does not say %q", path, line)
		}
	}
	says("runtime/arch.h", fmt.Sprintf("#define PLUGSCHED_JUMP_MAX %d", jumpMax))
	for _, a := range arch.All {
		says("runtime/arch/"+a.Name+"/text.c", fmt.Sprintf("const unsigned int plugsched_jump_size = %d;", a.JumpSize))
		if a.JumpSize > jumpMax {
			t.Errorf("%s: a jump has %d bytes, there is room for %d", a.Title, a.JumpSize, jumpMax)
		}
	}
}

// TestBenchSource: what benchmarks need is in the module that asks for it, and in no other.
func TestBenchSource(t *testing.T) {
	for _, bench := range []bool{false, true} {
		dir := t.TempDir()
		objects, err := copyRuntime(dir, arch.X86, bench)
		if err != nil {
			t.Fatal(err)
		}
		if has := slices.Contains(objects, "plugsched/bench_ways.o"); has != bench {
			t.Errorf("bench %v: %q", bench, objects)
		}
		files, _ := filepath.Glob(dir + "/bench_*")
		kbuild := linkKbuild(&Tree{}, nil, objects, bench)
		if (len(files) > 0) != bench || strings.Contains(kbuild, "-DPLUGSCHED_BENCH") != bench {
			t.Errorf("bench %v: files %q, and\n%s", bench, files, kbuild)
		}
	}
}

// TestRuntimeArch: the module has the runtime of its own architecture, and of no other.
func TestRuntimeArch(t *testing.T) {
	objects, err := copyRuntime(filepath.Join(t.TempDir()), arch.X86, false)
	if err != nil || !slices.Contains(objects, "plugsched/arch_x86_text.o") || !slices.Contains(objects, "plugsched/main.o") {
		t.Errorf("%q, %v", objects, err)
	}
	other := *arch.X86
	other.Name = "other"
	objects, err = copyRuntime(filepath.Join(t.TempDir()), &other, false)
	if err != nil || slices.ContainsFunc(objects, func(o string) bool { return strings.Contains(o, "arch_") }) ||
		!slices.Contains(objects, "plugsched/main.o") {
		t.Errorf("%q, %v", objects, err)
	}
}
