// SPDX-License-Identifier: BSD-3-Clause

//go:build guest && ibt

package guest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
	"plugsched/test/bochs"
)

// enough is for a machine that does nothing else ten times what a guest in bochs takes. What
// decides is on the console.
const enough = time.Hour

// enforced is what every run begins with: the processor tracks, and nothing is only warned of.
const enforced = `dmesg | grep "CET detected: Indirect Branch Tracking enabled" && ! grep -w ibt=warn /proc/cmdline`

// track runs commands in a guest with the scheduler and another one, on a processor that
// enforces indirect branch tracking.
func track(t *testing.T, files []vm.File, commands ...string) (*bochs.Run, error) {
	t.Helper()
	dir := filepath.Join(shared.root, "build/test/console")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	run, err := bochs.Do(ctx, bochs.Config{
		Kernel: shared.target.Vmlinuz,
		Files: append([]vm.File{
			// What an operator's machine has; the whole tool takes three times as long to load.
			{GuestPath: "/bin/plugsched", HostPath: filepath.Join(shared.root, "bin/plugsched-installer"), Mode: 0o755},
			{GuestPath: "/bin/schedload", HostPath: shared.load, Mode: 0o755},
		}, files...),
		Commands:   append([]string{enforced}, commands...),
		ConsoleLog: filepath.Join(dir, t.Name()+".log"),
		Progress:   t.Logf,
	})
	if run == nil {
		t.Fatal(err)
	}
	if len(run.Results) == 0 || run.Results[0].Code != 0 {
		t.Fatalf("%v; branches are not tracked: is %s a kernel that does?\n%+v", err, shared.release, run.Results)
	}
	return run, err
}

// since are the complaints of a guest's kernel from a command on.
func since(run *bochs.Run, command int) []vm.Fault {
	return vm.Scan(run.Console[run.Results[command].From:])
}

// TestIBT: a scheduler comes, gives way to another, is tried, and goes, under load, and
// nobody calls by pointer what must not be called so.
func TestIBT(t *testing.T) {
	other := variant(t, otherPatch)
	const check = "schedload check --seconds 5"
	files := []vm.File{{GuestPath: "/scheduler.ko", HostPath: shared.project.Module()}, {GuestPath: "/other.ko", HostPath: other}}
	run, err := track(t, files,
		"schedload start --spec light",
		"plugsched install /scheduler.ko && echo PLUGSCHED_TEST > "+features, check,
		"plugsched install --replace /other.ko", check,
		// A trial that the kernel ends: what runs then is in a timer, and the stopped machine.
		`plugsched try --for 2s --replace /scheduler.ko
		until plugsched status | grep "not confirmed in time"; do sleep 1; done`, check,
		"plugsched try --for 1h --replace /scheduler.ko && plugsched confirm",
		"plugsched uninstall", check,
		"schedload stop")
	if err != nil || run.Panicked {
		t.Errorf("%v, panicked: %v", err, run.Panicked)
	}
	for _, r := range run.Results {
		if r.Code != 0 {
			t.Errorf("`%s` exited with %d:\n%s", r.Command, r.Code, r.Output)
		}
		const verified = "no function, no timer and no stack leads to the module"
		if strings.HasPrefix(r.Command, "plugsched uninstall") && !strings.Contains(r.Output, verified) {
			t.Errorf("not verified:\n%s", r.Output)
		}
	}
	for _, text := range []string{"I am the new scheduler", "I am the other scheduler"} {
		if !strings.Contains(string(run.Console), text) {
			t.Errorf("nobody said %q", text)
		}
	}
	for _, f := range since(run, 0) {
		t.Errorf("the guest's kernel complained: %s\n%s", f.Line, f.Excerpt)
	}
	if strings.Contains(string(run.Console), missing) {
		t.Error(missing)
	}
}

// missing is what the kernel says of a call that is not let through.
const missing = "Missing ENDBR"

// Two ways to the same wrong pointer. The second is seen by nobody but the processor.
const (
	byName      = "\tperf_event_task_tick();\n"
	byPointer   = "\tvoid (*mine)(void) = perf_event_task_tick;\n\n\tOPTIMIZER_HIDE_VAR(mine);\n\tmine();\n"
	byItsLetter = "\tvoid (*mine)(void) = (void *)kallsyms_lookup_name(\"perf_event_task_tick\");\n\n\tmine();\n"
)

// TestWrongPointer: `build` refuses a call by pointer of what the kernel calls by name only,
// and the processor catches it where `build` cannot see it, so that it would have in TestIBT.
func TestWrongPointer(t *testing.T) {
	dir, done := workbench(t)
	source := filepath.Join(dir, core)
	pristine, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(call string) {
		t.Helper()
		text := strings.Replace(string(pristine), byName, "\t{\n"+call+"\t}\n", 1)
		if text == string(pristine) {
			t.Fatalf("%s has no %q", core, byName)
		}
		if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	edit(byPointer)
	out, code := plugsched(t, "build", dir)
	if code != 6 || !strings.Contains(out, "takes the address of perf_event_task_tick, which must not be called by pointer") {
		t.Errorf("exit code %d, expected 6 and a refusal:\n%s", code, out)
	}
	edit(byItsLetter)
	if out, code := plugsched(t, "build", dir); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	ko := done()
	run, err := track(t, []vm.File{{GuestPath: "/wrong.ko", Content: ko}}, "plugsched install /wrong.ko; sleep 60")
	if err != nil || !run.Panicked {
		t.Errorf("%v, the kernel has not panicked", err)
	}
	if want := missing + ": perf_event_task_tick"; !strings.Contains(string(run.Console), want) {
		t.Errorf("the processor did not say %q:\n%v", want, since(run, 0))
	}
}
