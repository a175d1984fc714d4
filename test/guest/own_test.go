// SPDX-License-Identifier: BSD-3-Clause

//go:build guest && own

package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/guest/vm"
)

// These tests are about a kernel that is nobody's package, from the directory that it was built in: scripts/own-kernel.

// ownTree is that directory.
func ownTree(t *testing.T) string {
	t.Helper()
	if shared.target.Origin != "tree" {
		t.Fatalf("%s is no kernel from a tree: make test-own-kernel", shared.release)
	}
	return shared.target.KernelBuild
}

// like makes a directory that has all that a tree has, but for a configuration with other lines.
func like(t *testing.T, tree string, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	entries, err := os.ReadDir(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == ".config" {
			continue
		}
		if err := os.Symlink(filepath.Join(tree, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(tree, ".config"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".config"), []byte(string(text)+strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestOwnRefused: what such a kernel must not be configured with is refused before anything is made, with the reason; so is a
// configuration that is not the kernel's.
func TestOwnRefused(t *testing.T) {
	t.Parallel()
	tree := ownTree(t)
	for _, tt := range []struct{ line, want string }{
		{"CONFIG_RT_GROUP_SCHED=y", "groups have realtime queues"},
		{"CONFIG_PREEMPT_RT=y", "would sleep"},
		{"CONFIG_DEBUG_INFO_SPLIT=y", "files other than vmlinux"},
		{"CONFIG_NOBODY_KNOWS=y", "build it again"},
	} {
		work := filepath.Join(t.TempDir(), "work")
		out, code := run(t, "init", "--tree", like(t, tree, tt.line), work)
		if code != 3 || !strings.Contains(out, tt.want) {
			t.Errorf("%s: exit code %d: %s", tt.line, code, out)
		}
		if _, err := os.Stat(work); err == nil {
			t.Errorf("%s: the working directory was made", tt.line)
		}
	}
	if out, code := run(t, "init", "--check", "--tree", tree); code != 0 || strings.Contains(out, "unknown ") {
		t.Errorf("init --check: exit code %d:\n%s", code, out)
	}
}

// TestOwnHeaders: the developer's headers are what is compiled, by inclusion and before the first line, although the compiler
// runs in a tree that has them too; and what the tree's build generated is none of them.
func TestOwnHeaders(t *testing.T) {
	ownTree(t)
	for _, header := range []string{"include/linux/sched/topology.h", "include/linux/kconfig.h", "arch/x86/include/asm/processor.h"} {
		path := filepath.Join(shared.work, header)
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append([]byte("#error reached\n"), was...), 0o644); err != nil {
			t.Fatal(err)
		}
		out, code := run(t, "check", shared.work)
		if err := os.WriteFile(path, was, 0o644); err != nil {
			t.Fatal(err)
		}
		if code != 6 || !strings.Contains(out, header+":1") {
			t.Errorf("%s: exit code %d:\n%s", header, code, out)
		}
	}
	if _, err := os.Stat(filepath.Join(shared.work, "include/generated")); err == nil {
		t.Error("generated headers are among the developer's")
	}
}

// TestOwnKernel: install, replacement and removal under the load, with what this kernel is configured with and Debian's are not.
func TestOwnKernel(t *testing.T) {
	t.Parallel()
	ownTree(t)
	m := boot(t, func(c *vm.Config) { other(t)(c) })
	config := ok(t, m, "zcat /proc/config.gz")
	for _, line := range []string{"CONFIG_PREEMPT=y", "CONFIG_SCHED_CORE=y", "CONFIG_UCLAMP_TASK=y", "# CONFIG_FUNCTION_TRACER is not set",
		"# CONFIG_NUMA is not set"} {
		if !strings.Contains(config, line) {
			t.Errorf("the kernel is not configured with %s", line)
		}
	}
	// The load as it is by default, but for what takes kernel features that this one lacks.
	ok(t, m, "schedload start --spec default")
	for range 3 {
		ok(t, m, "plugsched install /scheduler.ko")
		ok(t, m, "schedload check --within 60")
		ok(t, m, "plugsched install --replace /other.ko")
		ok(t, m, "schedload check --within 60")
		out := ok(t, m, "plugsched uninstall")
		if !strings.Contains(out, "no function, no timer and no stack leads to the module") || !strings.Contains(out, "no pointer to it") {
			t.Fatalf("not verified:\n%s", out)
		}
		ok(t, m, "schedload check --within 60")
	}
	ok(t, m, "schedload stop")
}
