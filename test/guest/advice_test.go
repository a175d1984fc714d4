// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestAdvice: what refusals advise works, to the end: tables of a module's own, a static key and a function pointer
// instead of a static call, trace_printk instead of a tracepoint. (sysctls and debugfs: TestState; features and
// values: TestDefaults; members in holes, new names, constants: TestGuardsAccept.)
func TestAdvice(t *testing.T) {
	t.Parallel()
	m := borrow(t, with("/advice.ko", variant(t, "test/guest/testdata/advice.patch")))
	const file, proc = "cpu.patience", "/proc/plugsched_patience"
	gone := func(when string) {
		t.Helper()
		if out, code := sh(t, m, "ls /sys/fs/cgroup/*/"+file+" "+proc+" 2>/dev/null"); code == 0 || out != "" {
			t.Errorf("%s: %s", when, out)
		}
	}
	ok(t, m, "cd /sys/fs/cgroup && echo +cpu >cgroup.subtree_control && mkdir before")
	gone("before")
	for range 2 {
		ok(t, m, "plugsched install /advice.ko && cd /sys/fs/cgroup && mkdir after")
		const text = "cd /sys/fs/cgroup && cat before/" + file + " after/" + file + " " + proc
		if got := ok(t, m, text); got != "0\n0\n0" {
			t.Errorf("at first: %q", got)
		}
		if got := ok(t, m, "echo 7 >/sys/fs/cgroup/before/"+file+" && "+text); got != "7\n7\n7" {
			t.Errorf("written: %q", got)
		}
		ok(t, m, "grep -q 'patience 7' /sys/kernel/debug/tracing/trace")
		// Who has a file open of what is gone is no reason to wait.
		got := ok(t, m, "exec 9</sys/fs/cgroup/before/"+file+"; plugsched uninstall >&2; cat <&9 2>&1; true")
		if !strings.Contains(got, "No such device") {
			t.Errorf("open while it was removed: %q", got)
		}
		stock(t, m)
		gone("removed")
		ok(t, m, "rmdir /sys/fs/cgroup/after && echo >/sys/kernel/debug/tracing/trace")
	}
	ok(t, m, "cd /sys/fs/cgroup && rmdir before && echo -cpu >cgroup.subtree_control")
}

// TestAdvisedSidecar: a refusal that names a sidecar is followed by the command that it gives, until the edits are built.
func TestAdvisedSidecar(t *testing.T) {
	rarely(t, true)
	t.Parallel()
	building.Lock()
	defer building.Unlock()
	dir := filepath.Join(shared.root, "build/test/advised", shared.release)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"cp", "-a", shared.work, dir}, {"git", "-C", dir, "checkout", "-q", "-f", "pristine"}} {
		if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	for _, e := range []struct{ file, function, at string }{
		{core, "SYSCALL_DEFINE4(sched_getattr", "\tif (!uattr"},
		{core, "static int sched_copy_attr(", "\tret = get_user(size"},
		{"kernel/sched/membarrier.c", "static int membarrier_register_private_expedited(", "\tif (flags & MEMBARRIER_FLAG_SYNC_CORE"},
	} {
		path := filepath.Join(dir, e.file)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		head, rest, ok := strings.Cut(string(text), e.function)
		body, end, ok2 := strings.Cut(rest, e.at)
		if !ok || !ok2 {
			t.Fatalf("%s: no %q with %q", e.file, e.function, e.at)
		}
		edited := head + e.function + body + "\tif (nr_iowait() == 4711)\n\t\treturn -EINVAL;\n" + e.at + end
		if err := os.WriteFile(path, []byte(edited), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	advised := regexp.MustCompile("`plugsched build ((?:--sidecar \\S+ )+)\\.`")
	out, code := plugsched(t, "build", dir)
	for range 4 {
		all := advised.FindAllStringSubmatch(out, -1)
		if code != 6 || len(all) == 0 {
			break
		}
		args := []string{"build"}
		for _, m := range all {
			args = append(args, strings.Fields(m[1])...)
		}
		out, code = plugsched(t, append(args, dir)...)
	}
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	config, err := os.ReadFile(filepath.Join(dir, "plugsched.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"sched_getattr:", "sched_setattr:", "membarrier_register_private_expedited:"} {
		if !strings.Contains(string(config), "\n    "+want) {
			t.Errorf("no %s in\n%s", want, config)
		}
	}
}
