// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
	"plugsched/internal/operate/history"
	"plugsched/internal/operate/live"
)

// TestOperator: doctor finds what the kernel would refuse and changes nothing; status,
// list, history and metrics tell of a real install, a trial that ends by itself, and a
// removal.
func TestOperator(t *testing.T) {
	t.Parallel()
	m := boot(t, with("/livepatch.ko", buildKmod(t, filepath.Join(shared.root, "test/kmod/livepatch"))))
	t.Run("doctor", func(t *testing.T) { testDoctor(t, m) })
	t.Run("history", func(t *testing.T) { testHistory(t, m) })
	t.Run("unwritable", func(t *testing.T) { testUnwritable(t, m) })
	// The last: there is no way back from this.
	ok(t, m, "echo 1 > /proc/sys/kernel/modules_disabled")
	obstacles(t, m, "plugsched doctor", "module loading")
}

// obstacles checks what doctor finds, by name.
func obstacles(t *testing.T, m *vm.Machine, command string, want ...string) {
	t.Helper()
	out, code := sh(t, m, command+" --json")
	var d struct {
		OK       bool
		Findings []live.Finding
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	var got []string
	for _, f := range d.Findings {
		if !f.Warning {
			got = append(got, f.Check)
			if f.Fix == "" {
				t.Errorf("no fix for %+v", f)
			}
		}
	}
	expected := 0
	if len(want) > 0 {
		expected = 3
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") || code != expected || d.OK != (expected == 0) {
		t.Errorf("`%s` exited with %d and found %q, expected %q:\n%s", command, code, got, want, out)
	}
}

func testDoctor(t *testing.T, m *vm.Machine) {
	const (
		patch  = "/sys/kernel/livepatch/schedtest_livepatch"
		doctor = "plugsched doctor /scheduler.ko"
	)
	ok(t, m, "echo nobody:x:65534:65534::/:/bin/sh >> /etc/passwd")
	obstacles(t, m, doctor)
	obstacles(t, m, "plugsched doctor")
	obstacles(t, m, "su nobody -c '"+doctor+" --json' #", "privileges")

	ok(t, m, "echo 'p:mine "+site(t, "wake_up_process")+"' > "+kprobeEvents)
	obstacles(t, m, doctor, "kprobes")
	if out, _ := sh(t, m, doctor); !strings.Contains(out, "a kprobe is at wake_up_process+0x5, where a jump will be") {
		t.Errorf("%s", out)
	}
	// What it says of a kprobe, the kernel does: it takes one at ftrace's site.
	refusal{"a kprobe", "plugsched install /scheduler.ko 2>&1 | tail -n 1; exit 3", 3, "hooked"}.check(t, m)
	ok(t, m, "echo 'p:mine wake_up_process' > "+kprobeEvents)
	obstacles(t, m, doctor)
	ok(t, m, "plugsched install /scheduler.ko && plugsched uninstall; echo > "+kprobeEvents)

	ok(t, m, "insmod /livepatch.ko; for i in $(seq 900); do [ $(cat "+patch+"/transition) = 0 ] && exit; sleep 0.1; done; exit 1")
	obstacles(t, m, doctor, "livepatch")
	ok(t, m, "echo 0 > "+patch+"/enabled; for i in $(seq 900); do [ -e "+patch+" ] || break; sleep 0.1; done; rmmod schedtest_livepatch")

	ok(t, m, "echo 2 > /proc/sys/kernel/kptr_restrict; echo 1 > /proc/sys/kernel/panic_on_oops")
	obstacles(t, m, doctor, "addresses")
	if out, _ := sh(t, m, doctor); !strings.Contains(out, "warning:  panic: kernel.panic_on_oops=1") ||
		!strings.Contains(out, "fix: set kernel.kptr_restrict") {
		t.Errorf("%s", out)
	}
	ok(t, m, "echo 0 > /proc/sys/kernel/kptr_restrict; echo 0 > /proc/sys/kernel/panic_on_oops")
	obstacles(t, m, doctor)
	stock(t, m)
	ok(t, m, "rm -r /var/lib/plugsched")
}

func entries(t *testing.T, m *vm.Machine) []history.Entry {
	t.Helper()
	var printed struct{ Entries []history.Entry }
	if err := json.Unmarshal([]byte(ok(t, m, "plugsched history --json")), &printed); err != nil {
		t.Fatal(err)
	}
	return printed.Entries
}

func testHistory(t *testing.T, m *vm.Machine) {
	if list := entries(t, m); len(list) != 0 {
		t.Fatalf("before anything happened: %+v", list)
	}
	installed := ok(t, m, "plugsched install /scheduler.ko")
	s := status(t, m)
	for _, want := range []string{"package:    none, it was installed by hand", "since:      ", "downtime "} {
		if !strings.Contains(installed, want) {
			t.Errorf("no %q in\n%s", want, installed)
		}
	}
	obstacles(t, m, "plugsched doctor")
	obstacles(t, m, "plugsched doctor /scheduler.ko", "running scheduler")

	// What a package would leave: who the scheduler is from is known at once.
	dir := "/usr/lib/plugsched/" + s.Release + "/demo"
	ok(t, m, "mkdir -p "+dir+" && echo '{\"name\": \"demo\", \"scheduler\": \"demo\", \"version\": \"7\", \"release\": \""+s.Release+"\", \"module\": \""+s.Name+"\"}' > "+dir+"/package.json")
	if out := ok(t, m, "plugsched status && plugsched list"); !strings.Contains(out, "package:    demo 7\n") ||
		!regexp.MustCompile(regexp.QuoteMeta(s.Name)+" +yes +no\n").MatchString(out+"\n") {
		t.Errorf("%s", out)
	}
	metrics := ok(t, m, "plugsched metrics --output /run/plugsched.prom && cat /run/plugsched.prom") + "\n"
	for _, want := range []string{"plugsched_scheduler_active 1", `module="` + s.Name + `",release="` + s.Release +
		`",package="demo",version="7"} 1`,
		`plugsched_updates_total{direction="install",result="done"} 1`, "plugsched_downtime_seconds_count 1",
		"plugsched_watchdog_timeout_seconds 30"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %q in\n%s", want, metrics)
		}
	}
	tool := exec.Command(filepath.Join(shared.root, "build/tools/promtool"), "check", "metrics")
	tool.Stdin = strings.NewReader(metrics)
	if out, err := tool.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	ok(t, m, "ip link set lo up; plugsched metrics --listen 127.0.0.1:9101 > /dev/null 2>&1 & echo $! > /run/server; for i in $(seq 600); do wget -q -O /run/served http://127.0.0.1:9101/metrics && exit; sleep 0.1; done; exit 1")
	if out := ok(t, m, "kill $(cat /run/server); cat /run/served"); !strings.Contains(out, "plugsched_scheduler_active 1\n") {
		t.Errorf("served:\n%s", out)
	}

	ok(t, m, "echo p:mine "+jumpOf(t, m, "wake_up_process")+" > "+kprobeEvents)
	if out := ok(t, m, "plugsched status"); !strings.Contains(out, "conflict:   kprobes at wake_up_process+0x5: ") {
		t.Errorf("%s", out)
	}
	ok(t, m, "echo > "+kprobeEvents)

	ok(t, m, "plugsched uninstall && rm -r "+dir)
	const trial = 10 * time.Second
	name := installs(t, m, "plugsched try --for "+trial.String()+" /scheduler.ko")
	rolledBack(t, m, name, trial)
	if list := entries(t, m); len(list) != 4 {
		t.Errorf("before the next command: %+v", list)
	}
	ok(t, m, "plugsched install /scheduler.ko && plugsched uninstall")
	var told []string
	for _, e := range entries(t, m) {
		told = append(told, e.Action+" "+e.Result+" "+e.Direction+" "+e.Version)
		if e.Downtime <= 0 || e.Downtime > 30*time.Second || e.BootID == "" || time.Since(e.Time).Abs() > 24*time.Hour {
			t.Errorf("%+v", e)
		}
	}
	want := "install done install , uninstall done remove 7, try done install , rolled back done remove , install done install , uninstall done remove "
	if got := strings.Join(told, ", "); got != want {
		t.Errorf("the history is\n%s, expected\n%s", got, want)
	}
	for _, want := range []string{"rolled back", "it was not confirmed in time", "kernel -> " + name} {
		if out := ok(t, m, "plugsched history"); !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out, code := sh(t, m, "su nobody -c 'plugsched history' 2>&1"); code != 3 || !strings.Contains(out, "only root may read the history") {
		t.Errorf("a plain user: %d\n%s", code, out)
	}
	if out, code := sh(t, m, "su nobody -c 'plugsched status && plugsched metrics' 2>&1"); code != 0 ||
		!strings.Contains(out, "plugsched_scheduler_active 0") {
		t.Errorf("a plain user: %d\n%s", code, out)
	}
}

// testUnwritable: an update costs nothing but a line where its history cannot be
// written.
func testUnwritable(t *testing.T, m *vm.Machine) {
	const dir = "/var/lib/plugsched"
	for name, mount := range map[string]string{
		"read-only": "mount -t tmpfs -o ro none " + dir,
		"full":      "mount -t tmpfs -o size=4k none " + dir + " && dd if=/dev/zero of=" + dir + "/fill bs=4k count=1 2> /dev/null",
	} {
		ok(t, m, mount)
		out := ok(t, m, "plugsched install /scheduler.ko 2>&1")
		if strings.Count(out, "warning: the history ("+dir+"/history.jsonl) is not written: ") != 1 {
			t.Errorf("%s:\n%s", name, out)
		}
		ok(t, m, "plugsched uninstall")
		obstacles(t, m, "plugsched doctor") // it stops only packages
		ok(t, m, "umount "+dir)
		stock(t, m)
	}
}
