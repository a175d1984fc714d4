// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
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
	woken    bool          // who was lost
	expected []complaint
}

// inBackground keeps a guest's command from being waited for.
func inBackground(command string) string { return "(" + command + ") > /dev/null 2>&1 &" }

// lives checks that the provocation comes to its end.
func (b *broken) lives(t *testing.T, m *vm.Machine, when string) {
	t.Helper()
	if out, code := sh(t, m, "for i in $(seq 600); do [ -e /run/lives ] && exit; sleep 0.1; done; ps; exit 1"); code != 0 {
		t.Errorf("%s: the victim does not go on:\n%s", when, out)
	}
	ok(t, m, "touch /run/enough; sleep 0.3; rm -f /run/lives /run/enough")
}

// TestBroken: the kernel leaves schedulers that are broken by itself, says why, and
// all goes on: the victim, the load, and the next scheduler.
func TestBroken(t *testing.T) {
	t.Parallel()
	const (
		who   = `task \d+ \(\S+\)`
		where = `(?m)^run queue \d+: \d+ running, \d+ of them realtime; \d+ switches, now \d+ \(.*\)$`
		owed  = `(?m)^its CPU had \d+ ms, it is owed \d+ ms; up to \d+ ms would be right$`
		at    = `(CPU: \d+ PID: \d+ at \S*core.c:\d+|\S*core.c:\d+ at)` // before 6.19, and since
		batch = `(?m)^` + who + `: state 0x\d+, policy 3, priority 1\d\d, on_rq %, CPU \d+$`
	)
	for _, b := range []broken{
		{name: "starve",
			provoke: "taskset 4 sh -c 'while [ ! -e /run/enough ]; do :; done' & chrt -b 0 taskset 4 sh -c 'sleep 0.1; touch /run/lives'",
			within:  time.Minute, // of its CPU's time it takes little more than 2 s
			// With EEVDF, who is woken is placed near the mean of all, which the batch task has moved: somebody
			// else who waits behind the others, and has a lower number, may be the first that is seen.
			report: []string{`^` + who + ` was not run for \d+ ms`, strings.NewReplacer("%", "1", "policy 3", "policy [03]").Replace(batch),
				where, owed}},
		{name: "lost",
			provoke: "chrt -b 0 sh -c 'i=0; while [ $i -lt 40 ]; do sleep 0.02; i=$((i+1)); done; touch /run/lives'",
			within:  6 * time.Second,
			report:  []string{`^` + who + ` is awake but in no queue for \d+ ms`, strings.Replace(batch, "%", "0", 1), where}, woken: true},
		{name: "warn",
			provoke:  "chrt -b 0 sh -c 'sleep 0.1; sleep 0.1; touch /run/lives'",
			within:   2 * time.Second,
			report:   []string{`^the kernel says: WARNING: ` + at + ` sched_fork\+\S+ \[plugsched_`},
			expected: []complaint{{kind: vm.Warning, text: "sched_fork"}}},
		{name: "sleep",
			provoke:  "sh -c 'renice -n 3 -p $$; sleep 0.1; touch /run/lives'",
			within:   2 * time.Second,
			report:   []string{`^the kernel says: `},
			expected: []complaint{{kind: vm.Warning, text: "rcu_note_context_switch"}, {kind: vm.Atomic, text: "scheduling while atomic"}}},
	} {
		t.Run(b.name, func(t *testing.T) {
			// TestLosers loses tasks too; to sleep is another thing of which the kernel complains.
			rarely(t, b.name == "lost" || b.name == "warn")
			testBroken(t, &b)
		})
	}
}

func testBroken(t *testing.T, b *broken) {
	ko := variant(t, "examples/broken/"+b.name+".patch")
	m := boot(t, func(c *vm.Config) { with("/broken.ko", ko)(c); addChrt(t, c) }, b.expected...)
	// The victims are batch work: nobody else's is to become one, and then something else.
	ok(t, m, "schedload start --spec light,policy=0,hog=1")
	ok(t, m, inBackground(b.provoke))
	b.lives(t, m, "before")

	// Its own changes of priority may be what the scheduler does not survive.
	if out, code := sh(t, m, "plugsched install --watchdog 2s /broken.ko"); code != 0 && code != 5 {
		t.Fatalf("install: %d\n%s", code, out)
	}
	name := strings.TrimSpace(ok(t, m, "ls /sys/module | grep ^plugsched_"))
	start := time.Now()
	ok(t, m, inBackground(b.provoke))
	report := rolledBack(t, m, name, b.within)
	t.Logf("back after %v:\n%s", time.Since(start).Round(10*time.Millisecond), report)
	for _, p := range b.report {
		if !regexp.MustCompile(p).MatchString(report) {
			t.Errorf("%q is not in the report:\n%s", p, report)
		}
	}
	b.lives(t, m, "after")
	goesOn(t, m)
	s := status(t, m)
	if s.Active || !strings.HasPrefix(s.Report, strings.SplitN(report, "\n", 2)[0]) {
		t.Errorf("afterwards: %+v", s)
	}
	if b.woken && !regexp.MustCompile(`(?m)^task \d+ \(\S+\) was in no queue and has been woken$`).MatchString(s.Report) {
		t.Errorf("nobody was woken:\n%s", s.Report)
	}
	ok(t, m, "plugsched install /scheduler.ko")
	goesOn(t, m)
	ok(t, m, "plugsched uninstall && schedload stop")
	stock(t, m)
}

// TestBrokenLock: a CPU that takes no interrupts any more, because it spins on its own
// run queue, cannot be survived. If the watchdog's timer is on another CPU, the kernel's
// log names the CPU, and it is tried again for ever. If not, the kernel's own stall
// detector may say something, or the guest is dead without a word.
func TestBrokenLock(t *testing.T) {
	rarely(t, true) // it spins for minutes, and shows what cannot be helped
	t.Parallel()
	ko := variant(t, "examples/broken/lock.patch")
	var complaints []complaint
	for _, k := range []vm.Kind{vm.Atomic, vm.Lockup, vm.Stall, vm.Unresponsive, vm.Panic} {
		complaints = append(complaints, complaint{kind: k, may: true})
	}
	m := boot(t, func(c *vm.Config) {
		with("/broken.ko", ko)(c)
		c.HangTimeout = 30 * time.Second
	}, complaints...)
	name := installs(t, m, "plugsched install --watchdog 2s /broken.ko")
	ok(t, m, inBackground("sh -c 'sleep 0.5; renice -n 19 -p $$'"))
	waits := regexp.MustCompile(`is to be left, but that has to wait: CPU \d+ does not answer`)
	for end := time.Now().Add(2 * time.Minute); !waits.Match(m.Console()); time.Sleep(time.Second) {
		if _, err := m.Run(t.Context(), vm.Cmd{Argv: []string{"/bin/true"}}); err != nil {
			t.Logf("the guest is dead: %v", err)
			break
		}
		if time.Now().After(end) {
			t.Fatal("the guest lives on: is the CPU not stuck?")
		}
	}
	if strings.Contains(string(m.Console()), "took over from "+name) {
		t.Error("it was rolled back: is the CPU not stuck?")
	}
	m.Close()
}

// A load that keeps tasks waiting for as long as a good scheduler lets them.
type patient struct {
	name   string
	load   string
	change func(*vm.Config)
	watch  string // what the watchdog is set to
	long   time.Duration
	goesOn bool // soon enough to be checked
	rare   bool
}

// TestNoFalseAlarm: a good scheduler with a short watchdog stays, whatever the load and
// the machine's speed: throttled groups, realtime tasks that take all they get,
// deadlines, the lightest weights, crowds.
func TestNoFalseAlarm(t *testing.T) {
	t.Parallel()
	const all = "schedload start --timeout 600 --spec default,rthog=1"
	slow := func(cpus, shift int) func(*vm.Config) {
		return func(c *vm.Config) {
			c.CPUs, c.ICount, c.ICountShift = cpus, true, shift
			c.BootTimeout, c.HangTimeout = 15*time.Minute, 10*time.Minute
		}
	}
	for _, p := range []patient{
		{name: "default", load: all, watch: "2s", long: 10 * time.Second, goesOn: true},
		// Forks keep coming, and the lightest tasks wait behind them.
		{name: "light", load: "schedload start --timeout 600 --spec default,fork=4/60,clone=2/60,hog=24", watch: "500ms",
			long: 30 * time.Second, rare: true},
		// Of a CPU's time 5 % are left to 400 tasks: each waits for half a minute.
		{name: "throttled", load: inBackground("chrt -f 1 taskset 2 sh -c 'while :; do :; done'") +
			" i=0; while [ $i -lt 400 ]; do " + inBackground("taskset 2 sh -c 'while :; do :; done'") + " i=$((i+1)); done",
			change: func(c *vm.Config) { c.CPUs = 2; addChrt(t, c) }, watch: "2500ms", long: 60 * time.Second, rare: true},
		// The same machine at different speeds.
		{name: "fast", load: all, change: slow(1, 2), watch: "500ms", long: 20 * time.Second, rare: true},
		{name: "slow", load: all, change: slow(1, 6), watch: "2s", long: 30 * time.Second, rare: true},
	} {
		t.Run(p.name, func(t *testing.T) {
			rarely(t, p.rare)
			p.stays(t)
		})
	}
}

// stays checks that nobody is taken for starved.
func (p *patient) stays(t *testing.T) {
	m := boot(t, p.change)
	ok(t, m, p.load)
	name := installs(t, m, "plugsched install --watchdog "+p.watch+" /scheduler.ko")
	long := p.long
	if full {
		long *= 10
	}
	// By the guest's clock, which may be slower than this host's.
	for ; long > 0; long -= 5 * time.Second {
		ok(t, m, "sleep 5")
		if s := status(t, m); s.Name != name {
			t.Fatalf("false alarm: %+v\n%s", s, s.Report)
		}
	}
	if p.goesOn {
		goesOn(t, m)
	}
	alone(t, m, name)
	ok(t, m, "plugsched uninstall")
}
