// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package debian

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
	"plugsched/internal/operate/live"
)

// A machine is a computer with a Debian on its disk. It is switched on as often as
// a test wants; what is below /run/test is there each time, and not on its disk.
type machine struct {
	*vm.Machine
	t     *testing.T
	cfg   vm.Config
	logs  string // what the names of the console's and the journal's logs begin with
	boots int
}

// newMachine makes a machine that was never switched on.
func newMachine(t *testing.T, files ...vm.File) *machine {
	t.Helper()
	dir := filepath.Join(shared.root, "build/test/console")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := vm.NewOverlay(t.Context(), shared.image, disk); err != nil {
		t.Fatal(err)
	}
	return &machine{t: t,
		logs: filepath.Join(dir, "debian_"+strings.ReplaceAll(t.Name(), "/", "_")),
		cfg:  vm.Config{Kernel: shared.target.Vmlinuz, CPUs: 2, Init: shared.tool, Disk: disk, Modules: shared.modules, Files: files}}
}

// boot switches the machine on, with more words for the kernel's command line. It
// returns when the agent answers, which is before most services are started.
func (m *machine) boot(words ...string) {
	m.t.Helper()
	cfg := m.cfg
	m.boots++
	cfg.ConsoleLog = fmt.Sprintf("%s-%d.log", m.logs, m.boots)
	cfg.JournalLog = fmt.Sprintf("%s-%d.journal", m.logs, m.boots)
	cfg.Append = words
	running, err := vm.Boot(m.t.Context(), cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.Machine = running
	m.t.Cleanup(func() { running.Close() })
}

// up boots the machine and waits until everything is started. It returns systemd's
// word for how that went, such as "running".
func (m *machine) up(words ...string) (state string) {
	m.t.Helper()
	m.boot(words...)
	state, _ = m.sh("systemctl is-system-running --wait")
	return strings.TrimSpace(state)
}

// down shuts the machine down as an operator does. Its kernel must not have
// complained since it was booted.
func (m *machine) down() {
	m.t.Helper()
	m.ok("systemctl reboot")
	m.ended(vm.ErrRebooted)
	m.content()
}

// off cuts the power of a machine whose disk is up to date. Its kernel must not have
// complained.
func (m *machine) off() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := m.Settle(ctx); err != nil {
		m.t.Fatal(err)
	}
	m.Close()
	m.content()
}

// content checks that the kernel had nothing to complain about.
func (m *machine) content() {
	m.t.Helper()
	for _, f := range m.Faults() {
		m.t.Errorf("the guest's kernel complained: %s\n%s(console: %s)", f.Line, f.Excerpt, m.ConsolePath())
	}
}

// crashes waits for a panic.
func (m *machine) crashes(within time.Duration) {
	m.t.Helper()
	var fault *vm.KernelFault
	if err := m.wait(within); !errors.As(err, &fault) || !slices.ContainsFunc(fault.Faults,
		func(f vm.Fault) bool { return f.Kind == vm.Panic }) {
		m.t.Fatalf("the machine did not crash: %v (console: %s)", err, m.ConsolePath())
	}
}

// ended waits for the machine's end, which must have the reason.
func (m *machine) ended(reason error) {
	m.t.Helper()
	if err := m.wait(2 * time.Minute); !errors.Is(err, reason) {
		m.t.Fatalf("the machine's end: %v, expected: %v (console: %s)", err, reason, m.ConsolePath())
	}
}

func (m *machine) wait(limit time.Duration) error {
	select {
	case <-m.Dead():
		return m.Err()
	case <-time.After(limit):
		return fmt.Errorf("it still runs after %v", limit)
	}
}

// environment has the package's programs before the test's.
var environment = []string{"DEBIAN_FRONTEND=noninteractive", "SYSTEMD_COLORS=0", "PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/test"}

// sh runs a shell command.
func (m *machine) sh(command string) (out string, code int) {
	m.t.Helper()
	r, err := m.Run(m.t.Context(), vm.Cmd{Argv: []string{"/bin/sh", "-c", command},
		Env: environment, Timeout: 10 * time.Minute})
	if err != nil {
		m.t.Fatalf("%s: %v", command, err)
	}
	return string(r.Stdout) + string(r.Stderr), r.ExitCode
}

// ok is sh for commands that must succeed.
func (m *machine) ok(command string) string {
	m.t.Helper()
	out, code := m.sh(command)
	if code != 0 {
		m.t.Fatalf("`%s` exited with %d:\n%s", command, code, out)
	}
	return strings.TrimSpace(out)
}

// fails is sh for commands that must not succeed, and must say some words.
func (m *machine) fails(command string, words ...string) {
	m.t.Helper()
	out, code := m.sh(command)
	if code == 0 {
		m.t.Errorf("`%s` succeeded:\n%s", command, out)
	}
	m.says("`"+command+"`", out, words...)
}

// says checks that a text holds some words.
func (m *machine) says(what, text string, words ...string) {
	m.t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			m.t.Errorf("%s does not say %q:\n%s", what, w, text)
		}
	}
}

// runs checks which module is the scheduler, and that no other is loaded; "" is the
// kernel's own.
func (m *machine) runs(module string) {
	m.t.Helper()
	s := m.running()
	if loaded := m.ok("ls /sys/module | grep ^plugsched_ || true"); s.Name != module || s.Active != (module != "") || loaded != module {
		m.t.Fatalf("%q runs and %q is loaded, expected only %q", s.Name, strings.Fields(loaded), module)
	}
}

// running is what plugsched says of the machine's scheduler.
func (m *machine) running() (s live.Status) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.ok("plugsched status --json")), &s); err != nil {
		m.t.Fatal(err)
	}
	return s
}

// program puts a program of the host's into the PATH.
func program(hostPath string) vm.File {
	return vm.File{GuestPath: "/run/test/" + filepath.Base(hostPath), HostPath: hostPath, Mode: 0o755}
}

// begin starts a command whose end the machine may not live to see.
func (m *machine) begin(command string) {
	m.t.Helper()
	if _, err := m.Start(m.t.Context(), vm.Cmd{Argv: []string{"/bin/sh", "-c", command}, Env: environment}); err != nil {
		m.t.Fatal(err)
	}
}
