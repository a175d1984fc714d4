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

// guest is a machine whose kernel gets other schedulers: hello says something, and starve never runs batch work.
type guest struct{ m *vm.Machine }

func boot(t *testing.T, change func(*vm.Config)) *guest {
	plugsched := setting(t, "PLUGSCHED_FOREIGN_BINARY")
	cfg := vm.Config{Kernel: setting(t, "PLUGSCHED_TEST_VMLINUZ"), Init: plugsched, Busybox: setting(t, "PLUGSCHED_TEST_BUSYBOX"), CPUs: 2,
		ConsoleLog: filepath.Join(os.Getenv("PLUGSCHED_TEST_CONSOLES"), strings.ReplaceAll(t.Name(), "/", "-")+".log"),
		Files: []vm.File{
			{GuestPath: "/bin/plugsched", HostPath: plugsched, Mode: 0o755},
			{GuestPath: "/bin/batch", HostPath: setting(t, "PLUGSCHED_FOREIGN_BATCH"), Mode: 0o755},
			{GuestPath: "/bin/fault", HostPath: setting(t, "PLUGSCHED_FOREIGN_FAULT"), Mode: 0o755},
			{GuestPath: "/hello.ko", HostPath: setting(t, "PLUGSCHED_FOREIGN_HELLO")},
			{GuestPath: "/starve.ko", HostPath: setting(t, "PLUGSCHED_FOREIGN_STARVE")},
		}}
	change(&cfg)
	m, err := vm.Boot(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if f := m.Faults(); len(f) > 0 {
			t.Errorf("the kernel complains: %v\n%s", f, m.Console())
		}
		m.Close()
	})
	g := &guest{m}
	g.run(t, "test -e /sys/kernel/debug/sched/features || mount -t debugfs debugfs /sys/kernel/debug")
	// Processes that are born, sleep and die, and some that never sleep.
	g.run(t, "for i in 1 2 3 4; do (while :; do ls / | sort; usleep 20000; done >/dev/null 2>&1 &); done; "+
		"(while :; do :; done >/dev/null 2>&1 &)")
	return g
}

// try runs a script, and returns what it says and its exit status.
func (g *guest) try(t *testing.T, script string) (string, int) {
	t.Helper()
	r, err := g.m.Run(t.Context(), vm.Cmd{Argv: []string{"sh", "-c", script}, Timeout: 10 * time.Minute})
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, g.m.Console())
	}
	text := string(r.Stdout) + string(r.Stderr)
	t.Logf("%s:\n%s", script, text)
	return text, r.ExitCode
}

// run runs a script that has to succeed.
func (g *guest) run(t *testing.T, script string) string {
	t.Helper()
	text, code := g.try(t, script)
	if code != 0 {
		t.Fatalf("exit status %d", code)
	}
	return text
}

// installs runs a command and returns the name of the module that is the scheduler then.
func (g *guest) installs(t *testing.T, command string) string {
	t.Helper()
	g.run(t, command)
	g.run(t, "grep -qx active /sys/kernel/plugsched/state")
	name := strings.TrimSpace(g.run(t, "ls /sys/module | grep ^plugsched_"))
	if strings.Contains(name, "\n") {
		t.Fatalf("several are loaded: %q", name)
	}
	return name
}

// speaks has the scheduler say which it is, if it is hello.
func (g *guest) speaks(t *testing.T) {
	t.Helper()
	g.run(t, "dmesg -c >/dev/null; echo PLUGSCHED_TEST >"+features+" && sleep 1 && dmesg | grep 'I am the new scheduler: __schedule'")
}

// uninstalls gives the kernel its own scheduler back.
func (g *guest) uninstalls(t *testing.T) {
	t.Helper()
	if out := g.run(t, "plugsched uninstall"); !strings.Contains(out, "no pointer to it in") {
		t.Error("something still refers to the module")
	}
	g.run(t, "test ! -e /sys/kernel/plugsched && ! grep PLUGSCHED_TEST "+features+" && sleep 1")
}

// left waits for a module to leave by itself, within so much of the guest's own time, and returns why it did.
func (g *guest) left(t *testing.T, name string, within time.Duration) string {
	t.Helper()
	state := "/sys/module/" + name + "/plugsched/state"
	g.run(t, fmt.Sprintf("for i in $(seq %d); do grep -qx 'rolled back' %s && exit; sleep 1; done; cat %[2]s; exit 1",
		int(within.Seconds()), state))
	return g.run(t, "cat /sys/module/"+name+"/plugsched/report")
}

const features = "/sys/kernel/debug/sched/features"

func install(t *testing.T, cpu string, noKASLR bool, cycles int) {
	g := boot(t, func(c *vm.Config) { c.CPU, c.NoKASLR = cpu, noKASLR })
	for range cycles {
		g.installs(t, "plugsched install /hello.ko")
		g.speaks(t)
		g.uninstalls(t)
	}
}
