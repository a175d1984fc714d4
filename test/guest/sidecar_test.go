// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/guest/vm"
)

// sidecars are what testdata/sidecar.patch changes, and how user space sees it.
var sidecars = []struct {
	name, command, old, new string
}{
	{"fs/proc/loadavg.c:loadavg_proc_show", "cat /proc/loadavg | wc -w", "5", "6"},
	{"kernel/fork.c:copy_process", "a=$(cat /proc/$$/timerslack_ns); b=$(cat /proc/self/timerslack_ns); echo child $((b > a))",
		"child 0", "child 1"},
	{"kernel/sched/core.c:sched_getattr", "chrt -f 10 sleep 100 & sleep 0.5; chrt -p $! | tail -1; kill $!", "priority: 10", "priority: 1010"},
}

// sidecarTree is a working directory with these sidecars, and the patch.
func sidecarTree(t *testing.T) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	dir := ownWork(t)
	run := func(command ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
		}
		spentBy(t, cmd)
		return string(out)
	}
	init := []string{shared.tool, "init", "--release", shared.release}
	for _, s := range sidecars {
		init = append(init, "--sidecar", s.name)
	}
	run(append(init, dir)...)
	if out := run("git", "-C", dir, "show", "--format=%s", "--name-only"); !strings.HasPrefix(out,
		"Sidecars: fs/proc/loadavg.c, kernel/fork.c\n") || !strings.Contains(out, "\nkernel/fork.c\n") {
		t.Errorf("last commit:\n%s", out)
	}
	run("git", "-C", dir, "apply", filepath.Join(shared.root, "test/guest/testdata/sidecar.patch"))
	run(shared.tool, "build", dir)
	return dir
}

// TestSidecar: functions outside of the boundary are the module's while it is the
// running scheduler's, and the kernel's before and after.
func TestSidecar(t *testing.T) {
	t.Parallel()
	dir := sidecarTree(t)
	m := boot(t, func(c *vm.Config) {
		with("/sidecar.ko", filepath.Join(dir, "scheduler.ko"))(c)
		addChrt(t, c)
	})
	see := func(when string, loaded bool) {
		t.Helper()
		for _, s := range sidecars {
			want := s.old
			if loaded {
				want = s.new
			}
			if got := ok(t, m, s.command); !strings.HasSuffix(got, want) {
				t.Errorf("%s: %s: %q, want %q", when, s.name, got, want)
			}
		}
	}
	see("before", false)
	ok(t, m, "schedload start --spec none,fork=3,clone=2,exec=2,ping_pipe=2")
	for range rounds(1, 3) {
		installs(t, m, "plugsched install /sidecar.ko")
		see("loaded", true)
		ok(t, m, "plugsched uninstall")
		see("removed", false)
	}
	installs(t, m, "plugsched install /sidecar.ko")
	installs(t, m, "plugsched install --replace /scheduler.ko")
	see("replaced by one without sidecars", false)
	installs(t, m, "plugsched install --replace /sidecar.ko")
	see("back again", true)
	ok(t, m, "plugsched uninstall")
	ok(t, m, "schedload stop")
	see("after all", false)
	stock(t, m)
	t.Run("refused", func(t *testing.T) { sidecarRefused(t, dir) })
}

// sidecarRefused: what cannot be one, and what else in its file cannot be changed.
func sidecarRefused(t *testing.T, dir string) {
	config := filepath.Join(dir, "plugsched.yaml")
	was, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		sidecar, want string
	}{
		{"kernel/frok.c:copy_process", "sidecar: kernel/frok.c: the kernel's source has no such file"},
		{"arch/x86/entry/entry_64.S:ret_from_fork", "is assembly"},
		{"kernel/fork.c:copy_mm", "inlined copy_mm into copy_process: name that instead"},
		{"kernel/sched/core.c:update_rq_clock", "is inside the boundary and moves already"},
		{"net/ipv4/tcp_bbr.c:bbr_main", "the kernel's image has no code of this file: it is part of a module"},
		{"kernel/fork.c:kernel_clone", "kernel_clone cannot move: it sleeps"},
	} {
		out, code := plugsched(t, "build", "--sidecar", c.sidecar, dir)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if last := lines[len(lines)-1]; code != 3 || !strings.Contains(last, c.want) || !strings.Contains(last, "plugsched.yaml:") {
			t.Errorf("%s: exit code %d, want %q:\n%s", c.sidecar, code, c.want, out)
		}
		if now, _ := os.ReadFile(config); string(now) != string(was) {
			t.Errorf("%s: plugsched.yaml is now:\n%s", c.sidecar, now)
		}
	}
	// The refused ones are gone; init finds everything as it was.
	if out, code := plugsched(t, "init", "--release", shared.release, dir); code != 0 {
		t.Fatalf("init: %d\n%s", code, out)
	}
	const file = "kernel/fork.c"
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	const place = "\tWARN_ON_ONCE(mm == current->mm);\n"
	other := strings.Replace(string(text), place, place+"\tmm->flags++;\n", 1)
	if other == string(text) {
		t.Fatalf("%s: not found: %s", file, place)
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	out, code := plugsched(t, "build", dir)
	if code != 6 || !strings.Contains(out, "__mmdrop stays in the kernel") || !strings.Contains(out,
		"`plugsched build --sidecar kernel/fork.c:__mmdrop .`") {
		t.Errorf("another function of %s: exit code %d\n%s", file, code, out)
	}
}
