// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// slack is what an emulated machine may be late, in its own time.
const slack = 8 * time.Second

// rolledBack waits for a module to roll back by itself, within so much of the guest's own time,
// and returns its report.
func rolledBack(t *testing.T, m *vm.Machine, name string, within time.Duration) (report string) {
	t.Helper()
	dir := "/sys/module/" + name + "/plugsched/"
	own := m.Stopwatch()
	for {
		state, err := m.ReadFile(t.Context(), dir+"state")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if strings.TrimSpace(string(state)) == "rolled back" {
			break
		}
		if own() > within+slack {
			t.Fatalf("%s was not rolled back in %v: %s", name, within, state)
		}
		time.Sleep(50 * time.Millisecond)
	}
	text, err := m.ReadFile(t.Context(), dir+"report")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// uptime is the guest's time, as roughly also its log has it.
func uptime(t *testing.T, m *vm.Machine) time.Duration {
	t.Helper()
	return seconds(t, ok(t, m, "cat /proc/uptime"))
}

func seconds(t *testing.T, text string) time.Duration {
	t.Helper()
	var s float64
	if _, err := fmt.Sscanf(text, "%f", &s); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return time.Duration(s * float64(time.Second))
}

// lastsFrom checks that a trial, which began after a time, was not over too early. When it
// began exactly nobody says: the kernel's line about it is the installer's, who may have
// had to wait for a CPU.
func lastsFrom(t *testing.T, m *vm.Machine, start time.Duration, name string, trial time.Duration) {
	t.Helper()
	// The kernel tells of a rollback a little later.
	line := ok(t, m, "for i in $(seq 600); do dmesg | grep 'took over from "+name+"' > /run/line && break; sleep 0.1; done; "+
		"tail -n 1 /run/line")
	if d := seconds(t, strings.TrimLeft(line, "[ ")) - start; d < trial-time.Second {
		t.Errorf("the trial of %v was over %v after the command for it", trial, d)
	}
}

// TestTrial: a trial ends by itself unless it is confirmed, whatever becomes of
// the tool.
func TestTrial(t *testing.T) {
	t.Parallel()
	m := borrow(t, nil)
	ok(t, m, "echo nobody:x:65534:65534::/:/bin/sh >> /etc/passwd")
	for _, r := range []refusal{
		{"no time", "plugsched try --for 0s /scheduler.ko", 2, "from 1s to 24h"},
		{"too short", "plugsched try --for 999ms /scheduler.ko", 2, "from 1s to 24h"},
		{"too long", "plugsched try --for 24h1s /scheduler.ko", 2, "from 1s to 24h"},
		{"in the past", "plugsched try --for -5s /scheduler.ko", 2, "from 1s to 24h"},
		{"no number", "plugsched try --for soon /scheduler.ko", 2, "--for"},
		{"no module", "plugsched try --for 5s", 2, "usage"},
		{"nothing to confirm", "plugsched confirm", 3, "the kernel runs its own scheduler"},
	} {
		r.check(t, m)
		stock(t, m)
	}
	ok(t, m, "schedload start --spec light")

	const trial = 10 * time.Second
	// On a slow host it may be over before anybody can ask.
	start := uptime(t, m)
	ok(t, m, "plugsched try --for 10s /scheduler.ko")
	name := strings.TrimSpace(ok(t, m, "ls /sys/module | grep ^plugsched_"))
	report := rolledBack(t, m, name, trial)
	if !strings.HasPrefix(report, "it was not confirmed in time") {
		t.Errorf("report:\n%s", report)
	}
	if s := status(t, m); s.Active || len(s.Modules) != 1 || s.Modules[0].State != "rolled back" || s.Report != strings.TrimSpace(report) {
		t.Errorf("after the trial: %+v", s)
	}
	lastsFrom(t, m, start, name, trial)
	if out, code := sh(t, m, "su nobody -c 'cat /sys/module/"+name+"/plugsched/report' 2>&1"); code == 0 ||
		!strings.Contains(out, "ermission denied") {
		t.Errorf("a plain user reads the report: %d\n%s", code, out)
	}
	refusal{"too late", "plugsched confirm", 3, name + " was rolled back"}.check(t, m)

	for range rounds(2, 5) {
		ok(t, m, "dmesg -c > /dev/null; plugsched try --for 1h /scheduler.ko && plugsched reject --reason 'not good' && ! ls -d /sys/module/plugsched_*")
		if log := ok(t, m, "dmesg"); !strings.Contains(log, name+" is left: asked for: not good\n") {
			t.Errorf("the log does not say why:\n%s", log)
		}
	}

	installs(t, m, "plugsched try --for 30s /scheduler.ko")
	// Nothing is left of its timer. The load would only keep the host busy meanwhile.
	ok(t, m, "plugsched confirm && schedload stop && sleep 31 && schedload start --spec light")
	alone(t, m, name)
	ok(t, m, "plugsched uninstall")
	goesOn(t, m)
	ok(t, m, "schedload stop")
	stock(t, m)
}

// TestTrialKilled: the tool is killed as soon as the trial has begun, with all that
// runs in its session.
func TestTrialKilled(t *testing.T) {
	t.Parallel()
	m := borrow(t, nil)
	for try := 1; ; try++ {
		start := uptime(t, m)
		ok(t, m, `setsid sh -c 'echo $$ > /run/session; sh -c "sleep 1000" & plugsched try --for 5s /scheduler.ko; touch /run/ended' > /dev/null 2>&1 &
			until grep -qx active /sys/kernel/plugsched/state 2> /dev/null; do :; done
			kill -9 -$(cat /run/session)`)
		name := strings.TrimSpace(ok(t, m, "ls /sys/module | grep ^plugsched_"))
		// A system call that has begun is ended first.
		if left := ok(t, m, "i=0; while [ $i -lt 50 ] && pidof plugsched; do sleep 0.1; i=$((i+1)); done > /dev/null; pidof plugsched || true"); left != "" {
			t.Fatalf("still runs: %s", left)
		}
		if report := rolledBack(t, m, name, 5*time.Second); !strings.HasPrefix(report, "it was not confirmed in time") {
			t.Errorf("report:\n%s", report)
		}
		lastsFrom(t, m, start, name, 5*time.Second)
		if _, code := sh(t, m, "rm /run/ended"); code != 0 {
			break
		}
		if try == 5 {
			t.Fatal("the tool always ended before it could be killed")
		}
	}
	ok(t, m, "plugsched install /scheduler.ko && plugsched uninstall")
	stock(t, m)
}

// TestRollback: the administrator's ways back that need no scheduler, under load.
func TestRollback(t *testing.T) {
	t.Parallel()
	m := borrow(t, nil)
	ok(t, m, "echo nobody:x:65534:65534::/:/bin/sh >> /etc/passwd")
	ok(t, m, "schedload start --spec light")
	for _, c := range []struct{ command, report string }{
		{"echo 'it feels slow' > /sys/kernel/plugsched/rollback", "asked for: it feels slow\n"},
		{"echo x > /proc/sysrq-trigger", "SysRq\n"},
	} {
		name := installs(t, m, "plugsched install /scheduler.ko")
		if out, code := sh(t, m, "su nobody -c 'echo x > /sys/kernel/plugsched/rollback' 2>&1"); code == 0 {
			t.Errorf("a plain user may roll back:\n%s", out)
		}
		alone(t, m, name)
		ok(t, m, c.command)
		if report := rolledBack(t, m, name, time.Second); !strings.HasPrefix(report, c.report) {
			t.Errorf("`%s`: report:\n%s", c.command, report)
		}
		if s := status(t, m); s.Active {
			t.Errorf("`%s`: %+v", c.command, s)
		}
		goesOn(t, m)
	}
	ok(t, m, "plugsched install /scheduler.ko && plugsched uninstall")
	goesOn(t, m)
	ok(t, m, "schedload stop")
	// The key is free again.
	ok(t, m, "dmesg -c > /dev/null; echo x > /proc/sysrq-trigger")
	if log := ok(t, m, "dmesg"); strings.Contains(log, "previous scheduler") || !strings.Contains(log, "HELP") {
		t.Errorf("SysRq x without a module:\n%s", log)
	}
}

// TestWatchdogTimes: which times the watchdog takes.
func TestWatchdogTimes(t *testing.T) {
	t.Parallel()
	m := borrow(t, nil)
	const file = "/sys/kernel/plugsched/watchdog"
	for _, bad := range []string{"5ms", "99ms", "25h"} {
		if out, code := sh(t, m, "plugsched install --watchdog "+bad+" /scheduler.ko"); code != 2 || !strings.Contains(out, "from 100ms to 24h") {
			t.Errorf("--watchdog %s: exit code %d\n%s", bad, code, out)
		}
		stock(t, m)
	}
	installs(t, m, "plugsched install --watchdog 2s /scheduler.ko")
	for _, bad := range []string{"5", "99", "86400001"} {
		if out, code := sh(t, m, "echo "+bad+" > "+file); code == 0 || !strings.Contains(out, "out of range") {
			t.Errorf("%s ms: %d\n%s", bad, code, out)
		}
	}
	if ms := ok(t, m, "cat "+file); ms != "2000" {
		t.Errorf("the watchdog is at %s ms, expected 2000", ms)
	}
	for _, good := range []string{"100", "86400000", "0"} {
		ok(t, m, "echo "+good+" > "+file)
		if ms := ok(t, m, "cat "+file); ms != good {
			t.Errorf("the watchdog is at %s ms, expected %s", ms, good)
		}
	}
	if s := status(t, m); s.Watchdog != 0 {
		t.Errorf("off: %+v", s)
	}
	ok(t, m, "plugsched uninstall")
}
