// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// compileC builds a program of testdata for the guests.
func compileC(t *testing.T, name string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(name), ".c"))
	source := filepath.Join(shared.root, "test/guest/testdata", name)
	if out, err := exec.CommandContext(t.Context(), "gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread", "-o", path,
		source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// installsAndRemoves installs and removes the scheduler, which must succeed.
func installsAndRemoves(t *testing.T, m *vm.Machine, when string) {
	t.Helper()
	for _, command := range []string{"plugsched install /scheduler.ko", "plugsched uninstall --verify=false"} {
		if out, code := sh(t, m, command); code != 0 {
			t.Errorf("%s: %s: exit code %d:\n%s", when, command, code, out)
		}
	}
}

// TestKeptTasks: no user keeps a task inside code that is replaced: not by memory that
// is slow to appear, and not by doing again and again what waits for all CPUs.
func TestKeptTasks(t *testing.T) {
	t.Parallel()
	m := boot(t, both(with("/bin/slow", compileC(t, "slow.c")), func(c *vm.Config) { c.Append = append(c.Append, "psi=1") }))
	ok(t, m, "echo nobody:x:65534:65534::/:/bin/sh >> /etc/passwd")

	ok(t, m, "slow > /run/slow &")
	for end := time.Now().Add(2 * time.Minute); ok(t, m, "cat /run/slow") != "stuck"; time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Fatalf("no tasks are stuck:\n%s", ok(t, m, "for p in $(pidof slow); do cat /proc/$p/task/*/stack; done"))
		}
	}
	installsAndRemoves(t, m, "tasks wait for memory")
	// The task that is being born is a process of its own.
	ok(t, m, "kill -9 $(pidof slow); while pidof slow; do usleep 100000; done")

	const loop = "while :; do exec 3<>/proc/pressure/cpu; echo some 150000 2000000 >&3; exec 3>&-; echo >> /run/psi/$$; done"
	ok(t, m, "mkdir -m 777 /run/psi; for i in 1 2 3 4; do su nobody -c '"+loop+"' > /run/psi.$i 2>&1 & done")
	for range 3 {
		installsAndRemoves(t, m, "a user makes and destroys psi triggers")
	}
	rounds := ok(t, m, "cat /run/psi/* | wc -l; cat /run/psi.*")
	if strings.HasPrefix(rounds, "0") || strings.Contains(rounds, "\n") {
		t.Errorf("the user did nothing, or could not: %s", rounds)
	}
	ok(t, m, "for f in /run/psi/*; do kill -9 ${f##*/}; done")
}
