// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

// Package foreign tests modules for kernels of another architecture than this machine's, in guests that
// are emulated. scripts/test-foreign makes what it needs.
package foreign

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// setting is a file that the environment has to name.
func setting(t *testing.T, name string) string {
	t.Helper()
	path := os.Getenv(name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return path
}

// TestInstall: the kernel gets a new scheduler and its own back, several times, and complains about nothing.
// Kernels patch themselves for the processor that they find, and are anywhere in memory or where they were linked.
func TestInstall(t *testing.T) {
	for _, tt := range []struct {
		name, cpu string
		noKASLR   bool
		cycles    int
	}{{"all", "", false, 10}, {"fixed", "", true, 3}, {"old", "cortex-a57", false, 3}} {
		t.Run(tt.name, func(t *testing.T) { install(t, tt.cpu, tt.noKASLR, tt.cycles) })
	}
}

func install(t *testing.T, cpu string, noKASLR bool, cycles int) {
	plugsched := setting(t, "PLUGSCHED_FOREIGN_BINARY")
	cfg := vm.Config{Kernel: setting(t, "PLUGSCHED_TEST_VMLINUZ"), Init: plugsched, Busybox: setting(t, "PLUGSCHED_TEST_BUSYBOX"), CPUs: 2,
		CPU: cpu, NoKASLR: noKASLR,
		ConsoleLog: filepath.Join(os.Getenv("PLUGSCHED_TEST_CONSOLES"), strings.ReplaceAll(t.Name(), "/", "-")+".log"),
		Files: []vm.File{
			{GuestPath: "/bin/plugsched", HostPath: plugsched, Mode: 0o755},
			{GuestPath: "/scheduler.ko", HostPath: setting(t, "PLUGSCHED_FOREIGN_MODULE")},
		}}
	m, err := vm.Boot(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	run := func(script string) string {
		t.Helper()
		r, err := m.Run(t.Context(), vm.Cmd{Argv: []string{"sh", "-c", script}, Timeout: 10 * time.Minute})
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, m.Console())
		}
		text := string(r.Stdout) + string(r.Stderr)
		t.Logf("%s:\n%s", script, text)
		if r.ExitCode != 0 {
			t.Fatalf("exit status %d", r.ExitCode)
		}
		return text
	}
	run("test -e /sys/kernel/debug/sched/features || mount -t debugfs debugfs /sys/kernel/debug")
	// Processes that are born, sleep and die, and some that never sleep.
	run("for i in 1 2 3 4; do (while :; do ls / | sort; usleep 20000; done >/dev/null 2>&1 &); done; (while :; do :; done >/dev/null 2>&1 &)")
	for i := range cycles {
		run("plugsched install /scheduler.ko")
		if state := run("cat /sys/kernel/plugsched/state"); strings.TrimSpace(state) != "active" {
			t.Fatal("it is not active")
		}
		run("echo PLUGSCHED_TEST >/sys/kernel/debug/sched/features && sleep 1")
		if n := strings.TrimSpace(run("dmesg | grep -c 'I am the new scheduler: __schedule'")); n != fmt.Sprint(i+1) {
			t.Fatalf("after %d installs the new scheduler has spoken %s times", i+1, n)
		}
		out := run("plugsched uninstall")
		if !strings.Contains(out, "no pointer to it in") {
			t.Error("something still refers to the module")
		}
		run("test ! -e /sys/kernel/plugsched && ! grep PLUGSCHED_TEST /sys/kernel/debug/sched/features && sleep 1")
	}
	if f := m.Faults(); len(f) > 0 {
		t.Errorf("the kernel complains: %v\n%s", f, m.Console())
	}
}
