// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"plugsched/internal/guest/vm"
	"plugsched/internal/kernel/image"
	"plugsched/test/oldcode"
)

// building is held while something is built that several tests use.
var (
	building sync.Mutex
	kmods    = map[string]string{} // what buildKmod has built
)

// buildKmod builds the one module that a directory's Kbuild describes, for the
// guests' kernel, once. Nothing is written to the directory.
func buildKmod(t *testing.T, dir string) (ko string) {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	if kmods[dir] != "" {
		return kmods[dir]
	}
	out := filepath.Join(shared.root, "build/test/kmod", shared.release, filepath.Base(dir))
	if err := os.RemoveAll(out); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(out, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	// Type information for BPF would need pahole.
	env, err := shared.project.Programs()
	if err != nil {
		t.Fatal(err)
	}
	cmd := env.Command(t.Context(), "make", "-C", shared.target.KernelBuild, "M="+out, "CC="+env.CC,
		"CONFIG_DEBUG_INFO_BTF_MODULES=", "modules")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", dir, err, text)
	}
	list, err := filepath.Glob(filepath.Join(out, "*.ko"))
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: the build left %v, expected one module: %v", dir, list, err)
	}
	kmods[dir] = list[0]
	return list[0]
}

// schedtest is the debugfs directory of test/kmod, and addSchedtest puts that
// module into a guest, as /schedtest.ko.
const schedtest = "/sys/kernel/debug/schedtest"

func addSchedtest(t *testing.T) func(*vm.Config) {
	ko := buildKmod(t, filepath.Join(shared.root, "test/kmod"))
	return func(c *vm.Config) {
		c.Files = append(c.Files, vm.File{GuestPath: "/schedtest.ko", HostPath: ko})
	}
}

var program = sync.OnceValues(func() (*image.Program, error) {
	b, err := shared.project.Boundary()
	if err != nil {
		return nil, err
	}
	return image.Load(context.Background(), shared.target.Vmlinux, image.Options{SourceDirs: b.Sources})
})

// oldCode is what must not run while a scheduler is installed.
func oldCode(t *testing.T) []oldcode.Range {
	t.Helper()
	p, err := program()
	if err != nil {
		t.Fatal(err)
	}
	b, err := shared.project.Boundary()
	if err != nil {
		t.Fatal(err)
	}
	list, err := oldcode.Ranges(p, b)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// trap fills ranges with traps in a guest that has schedtest.ko loaded. Writing
// to schedtest's untrap takes them back.
func trap(t *testing.T, m *vm.Machine, list []oldcode.Range) {
	t.Helper()
	if err := tryTrap(t, m, list); err != nil {
		t.Fatalf("trap: %v\n%s", err, ok(t, m, "dmesg | tail -n 5"))
	}
}

func tryTrap(t *testing.T, m *vm.Machine, list []oldcode.Range) error {
	t.Helper()
	p, err := program()
	if err != nil {
		t.Fatal(err)
	}
	link, found := p.Symbol("_stext")
	text := ok(t, m, "grep ' _stext$' /proc/kallsyms")
	addr, err := strconv.ParseUint(strings.Fields(text)[0], 16, 64)
	if err != nil || !found {
		t.Fatalf("_stext: %v", err)
	}
	// The agent writes it with one system call, as the module wants.
	return m.WriteFile(t.Context(), schedtest+"/trap", oldcode.Render(list, addr-link), 0)
}

// runsInto waits until some functions have run into a trap, and returns what hits does.
func runsInto(t *testing.T, m *vm.Machine, least int) (n int, report string) {
	t.Helper()
	await(m, func() bool {
		n, report = hits(t, m)
		return n >= least
	})
	return n, report
}

// hits returns how many functions ran into a trap since the last were set, and
// the module's words about them.
func hits(t *testing.T, m *vm.Machine) (n int, report string) {
	t.Helper()
	report = ok(t, m, "cat "+schedtest+"/hits")
	if _, err := fmt.Sscanf(report, "total %d\n", &n); err != nil {
		t.Fatalf("hits: %v:\n%s", err, report)
	}
	return n, report
}
