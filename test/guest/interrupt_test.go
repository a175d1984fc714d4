// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// interrupted runs the tool and sends it SIGINT after a while. It returns false
// when the tool was done before that.
func interrupted(t *testing.T, after time.Duration, args ...string) bool {
	t.Helper()
	cmd := exec.Command(shared.tool, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { cmd.Process.Signal(os.Interrupt) })
	cmd.Wait()
	if timer.Stop() || cmd.ProcessState.ExitCode() == 0 {
		return false
	}
	if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(out.String(), "interrupted") {
		t.Errorf("%v, interrupted after %v: exit code %d:\n%s", args, after, code, out.String())
	}
	return true
}

// TestCtrlC: an interrupted init resumes, an interrupted build leaves the module
// as it was, and neither leaves a process behind.
func TestCtrlC(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "work")
	hits := 0
	for _, after := range []time.Duration{200 * time.Millisecond, 2 * time.Second, 6 * time.Second} {
		if interrupted(t, after, "init", "--release", shared.release, dir) {
			hits++
			if out, code := plugsched(t, "build", dir); code != 3 || !strings.Contains(out, "init") {
				t.Errorf("build after an interrupted init: %d\n%s", code, out)
			}
		}
	}
	if hits == 0 {
		t.Error("init was never interrupted")
	}
	if out, code := plugsched(t, "init", "--release", shared.release, dir); code != 0 {
		t.Fatalf("init does not resume: %d\n%s", code, out)
	}
	for _, after := range []time.Duration{500 * time.Millisecond, 5 * time.Second, 14 * time.Second} {
		if interrupted(t, after, "build", dir) {
			if _, err := os.Stat(filepath.Join(dir, "scheduler.ko")); err == nil {
				t.Error("an interrupted build left a module")
			}
		}
	}
	if out, err := exec.Command("pgrep", "-af", dir).CombinedOutput(); err == nil {
		t.Errorf("left running:\n%s", out)
	}
	if out, code := plugsched(t, "build", dir); code != 0 {
		t.Fatalf("build after an interrupted one: %d\n%s", code, out)
	}
}
