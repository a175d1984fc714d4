// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"plugsched/internal/vm"
)

// addChrt puts the host's chrt, which busybox does not have, and its libraries into
// a guest.
func addChrt(t *testing.T, c *vm.Config) {
	t.Helper()
	const chrt = "/usr/bin/chrt"
	out, err := exec.Command("ldd", chrt).CombinedOutput()
	if err != nil {
		t.Fatalf("ldd %s: %v\n%s", chrt, err, out)
	}
	for _, f := range append(regexp.MustCompile(`/\S+`).FindAllString(string(out), -1), chrt) {
		c.Files = append(c.Files, vm.File{GuestPath: f, HostPath: f, Mode: 0o755})
	}
}

// A broken scheduler, of examples/broken.
type broken struct {
	name string
	// provoke runs into the mistake, and makes the file /run/lives in the end.
	provoke  string
	within   time.Duration // of the provocation it must be gone
	report   []string      // patterns
	expected []complaint
}

// inBackground keeps a guest's command from being waited for.
func inBackground(command string) string { return "(" + command + ") > /dev/null 2>&1 &" }

// lives checks that the provocation comes to its end.
func (b *broken) lives(t *testing.T, m *vm.Machine, when string) {
	t.Helper()
	if out, code := sh(t, m, "for i in $(seq 100); do [ -e /run/lives ] && exit; sleep 0.1; done; ps; exit 1"); code != 0 {
		t.Errorf("%s: the victim does not go on:\n%s", when, out)
	}
	ok(t, m, "touch /run/enough; sleep 0.3; rm -f /run/lives /run/enough")
}

// TestBroken: the kernel leaves schedulers that are broken by itself, says why, and
// all goes on: the victim, the load, and the next scheduler.
func TestBroken(t *testing.T) {
	const (
		who   = `task \d+ \(\S+\)`
		where = `(?m)^run queue \d+: \d+ running \(\d+ fair, \d+ realtime, \d+ deadline\), \d+ switches, current \d+ \(.*\)$`
		batch = `(?m)^` + who + `: state 0x\d+, policy 3, priority 1\d\d, on_rq %, CPU \d+, waits \d+ ms$`
	)
	for _, b := range []broken{
		{name: "starve",
			provoke: "taskset 4 sh -c 'while [ ! -e /run/enough ]; do :; done' & chrt -b 0 taskset 4 sh -c 'sleep 0.1; touch /run/lives'",
			within:  6 * time.Second,
			report:  []string{`^` + who + ` was not run for \d+ ms`, strings.Replace(batch, "%", "1", 1), where}},
		{name: "lost",
			provoke: "chrt -b 0 sh -c 'i=0; while [ $i -lt 40 ]; do sleep 0.02; i=$((i+1)); done; touch /run/lives'",
			within:  6 * time.Second,
			report:  []string{`^` + who + ` is awake but in no queue for \d+ ms`, strings.Replace(batch, "%", "0", 1), where}},
		{name: "warn",
			provoke:  "chrt -b 0 sh -c 'sleep 0.1; sleep 0.1; touch /run/lives'",
			within:   2 * time.Second,
			report:   []string{`^the kernel says: WARNING: CPU: \d+ PID: \d+ at \S*kernel/sched/core.c:\d+ sched_fork\+\S+ \[plugsched_`},
			expected: []complaint{{vm.Warning, "sched_fork"}}},
		{name: "sleep",
			provoke:  "renice -n 3 $$; sleep 0.1; touch /run/lives",
			within:   2 * time.Second,
			report:   []string{`^the kernel says: `},
			expected: []complaint{{vm.Warning, "Voluntary context switch within RCU"}, {vm.Atomic, "scheduling while atomic"}}},
	} {
		t.Run(b.name, func(t *testing.T) { testBroken(t, &b) })
	}
}

func testBroken(t *testing.T, b *broken) {
	ko := variant(t, "examples/broken/"+b.name+".patch")
	m := boot(t, func(c *vm.Config) { with("/broken.ko", ko)(c); addChrt(t, c) }, b.expected...)
	ok(t, m, "schedload start --spec light")
	ok(t, m, inBackground(b.provoke))
	b.lives(t, m, "before")

	out, code := sh(t, m, "plugsched install --watchdog 2s /broken.ko")
	t.Logf("install: %d\n%s", code, out)
	name := strings.TrimSpace(ok(t, m, "ls /sys/module | grep ^plugsched_"))
	start := time.Now()
	ok(t, m, inBackground(b.provoke))
	report := wentBack(t, m, name, b.within)
	t.Logf("back after %v:\n%s", time.Since(start).Round(10*time.Millisecond), report)
	for _, p := range b.report {
		if !regexp.MustCompile(p).MatchString(report) {
			t.Errorf("%q is not in the report", p)
		}
	}
	b.lives(t, m, "after")
	ok(t, m, "schedload check --seconds 5")
	if s := status(t, m); s.Active || s.Report == "" {
		t.Errorf("afterwards: %+v", s)
	}
	t.Log(ok(t, m, "plugsched status; dmesg | grep plugsched"))
	ok(t, m, "plugsched install /scheduler.ko && schedload check --seconds 5 && plugsched uninstall && schedload stop")
	stock(t, m)
}

// TestBrokenLock: explore.
func TestBrokenLock(t *testing.T) {
	ko := variant(t, "examples/broken/lock.patch")
	m := boot(t, func(c *vm.Config) { with("/broken.ko", ko)(c); addChrt(t, c) })
	out, code := sh(t, m, "plugsched install --watchdog 2s /broken.ko")
	t.Logf("install: %d\n%s", code, out)
	sh(t, m, inBackground("sleep 0.5; nice -n -20 true"))
	for range 60 {
		time.Sleep(time.Second)
		select {
		case <-m.Dead():
			t.Fatal("dead", m.Err())
		default:
		}
	}
	if b, err := m.ReadFile(t.Context(), "/sys/kernel/plugsched/report"); err == nil {
		t.Logf("report: %s", b)
	} else {
		t.Log(err)
	}
}

// TestNoFalseAlarm: a good scheduler with a short watchdog stays, whatever the load:
// throttled groups, realtime tasks that take all they get, deadlines.
func TestNoFalseAlarm(t *testing.T) {
	m := boot(t, nil)
	ok(t, m, "schedload start --spec default,rthog=1")
	name := installs(t, m, "plugsched install --watchdog 2s /scheduler.ko")
	for range 6 {
		ok(t, m, "schedload check --seconds 10")
		if s := status(t, m); s.Name != name || s.Report != "" {
			t.Fatalf("false alarm: %+v\n%s", s, s.Report)
		}
	}
	ok(t, m, "plugsched uninstall && schedload stop")
}
