// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// kernelFlags compile as the kernel does where it matters: code in the top
// 2 GiB, ftrace's sites recorded.
var kernelFlags = []string{
	"-O2", "-std=gnu11", "-mcmodel=kernel", "-mno-red-zone", "-fno-pic", "-fno-pie", "-fcf-protection=none",
	"-fno-asynchronous-unwind-tables", "-fno-stack-protector", "-ffreestanding",
	"-pg", "-mfentry", "-mrecord-mcount", "-Ikernel/sched",
}

// gcc runs the compiler, which the project needs anyway, in a directory.
func gcc(t testing.TB, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("gcc", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc %v: %v\n%s", args, err, out)
	}
}

var tiny struct {
	once sync.Once
	dir  string
}

// TestMain removes what the tests share.
func TestMain(m *testing.M) {
	code := m.Run()
	if tiny.dir != "" {
		os.RemoveAll(tiny.dir)
	}
	os.Exit(code)
}

// tinyKernel builds testdata/tiny once and returns its path.
func tinyKernel(t testing.TB) string {
	t.Helper()
	tiny.once.Do(func() {
		dir, err := os.MkdirTemp("", "image-test-")
		if err != nil {
			t.Fatal(err)
		}
		tiny.dir = dir
		if err := os.CopyFS(filepath.Join(dir, "src"), os.DirFS("testdata/tiny")); err != nil {
			t.Fatal(err)
		}
		link(t, filepath.Join(dir, "src"), filepath.Join(dir, "vmlinux"), "-g")
	})
	path := filepath.Join(tiny.dir, "vmlinux")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the test kernel was not built: %v", err)
	}
	return path
}

// link compiles the sources under src and links them.
func link(t testing.TB, src, out string, flags ...string) {
	t.Helper()
	var objs []string
	for _, s := range []string{"arch/entry.S", "kernel/sched/core.c", "lib/lib.c"} {
		o := filepath.Base(s) + ".o"
		args := append([]string{"-c", "-o", o, s}, kernelFlags...)
		gcc(t, src, append(args, flags...)...)
		objs = append(objs, o)
	}
	args := append([]string{"-static", "-nostdlib", "-no-pie", "-Wl,-T,vmlinux.lds", "-Wl,--build-id=sha1", "-o", out}, objs...)
	gcc(t, src, args...)
}

func loadTiny(t testing.TB) *Program {
	t.Helper()
	p, err := Load(context.Background(), tinyKernel(t), Options{SourceDirs: []string{"kernel/sched"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
