// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"plugsched/internal/develop/module"
)

// gdb runs the debugger without anybody's settings, and returns what it says.
func gdb(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "gdb", append([]string{"-nx", "-batch"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("gdb: %v (scripts/setup installs it)\n%s", err, out)
	}
	return string(out)
}

// TestDebugInfo: gdb finds the module's debug information by the build-id, and in it lines of the
// scheduler and of the runtime; no directory of this machine's is in it.
func TestDebugInfo(t *testing.T) {
	t.Parallel()
	ko := shared.project.Module()
	id, err := module.ID(ko)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(shared.project.DebugInfo())
	if err != nil {
		t.Fatal(err)
	}
	if other, err := module.ID(shared.project.DebugInfo()); err != nil || other != id {
		t.Errorf("the build-id is %s, of the debug information %s, %v", id, other, err)
	}
	if i := bytes.Index(text, []byte(shared.work)); i >= 0 {
		t.Errorf("it has the working directory: %q", text[i:i+len(shared.work)+40])
	}
	dir := t.TempDir()
	path := filepath.Join(dir, ".build-id", id[:2], id[2:]+".debug")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	for function, file := range map[string]string{"__schedule": core, "try_to_wake_up": core, "update_curr": fair, "task_tick_rt": rt,
		"plugsched_enable": "plugsched/command.c", "plugsched_schedule": "springboard.S"} {
		said := gdb(t, "-iex", "set debug-file-directory "+dir, "-ex", "info line "+function, ko)
		if !regexp.MustCompile(`Line \d+ of "[^"]*`+regexp.QuoteMeta(file)).MatchString(said) || !strings.Contains(said, "<"+function+">") {
			t.Errorf("%s: %s", function, said)
		}
	}
	if said := gdb(t, "-iex", "set debug-file-directory "+dir, "-ex", "ptype struct cfs_rq", ko); !strings.Contains(said, "nr_running") {
		t.Errorf("struct cfs_rq: %s", said)
	}
}

// TestVMDebug: vm installs a module, lets gdb in, and tells it where kernel and module are.
func TestVMDebug(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	countBoot(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, shared.tool, "vm", "--dir", shared.work, "--install", shared.project.Module(),
		"--gdb="+strconv.Itoa(port), "--", "/bin/sh", "-c", "plugsched status; sleep 100000")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var out bytes.Buffer
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	script, said := "", ""
	for buf := make([]byte, 4096); script == ""; {
		n, err := pipe.Read(buf)
		said += string(buf[:n])
		if m := regexp.MustCompile(`gdb -x (\S+)\n`).FindStringSubmatch(said); m != nil {
			script = m[1]
		} else if err != nil {
			t.Fatalf("%v: %s", err, said)
		}
	}
	defer os.Remove(script)
	got := gdb(t, "-x", script, "-ex", "info line plugsched_enable", "-ex", "info symbol plugsched_schedule", "-ex", "info symbol schedule",
		"-ex", "print plugsched_nr_redirects")
	for _, want := range []string{`command.c" starts at address 0xffffffff`, "plugsched_schedule in section", "schedule in section .text",
		"$1 = "} {
		if !strings.Contains(got, want) {
			t.Errorf("gdb does not say %q:\n%s", want, got)
		}
	}
	cancel()
	cmd.Wait()
}
