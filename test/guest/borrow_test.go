// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// budget is how many guests may be booted for all tests of this package: a boot is what a
// small test mostly consists of. Whoever adds a test borrows a guest, or has a reason to
// boot one (other CPUs, words of the command line, complaints, a module that stays), and
// then raises this by the number of them.
//
// All tests boot 56 guests of their own, the demo's among them; the others borrow, with
// two tests at a time some six guests, and some that failed to be as before are replaced.
const budget = 72

// booted are the guests that were booted, by test.
var booted = struct {
	sync.Mutex
	by map[string]int
}{by: map[string]int{}}

func countBoot(t *testing.T) {
	name, _, _ := strings.Cut(t.Name(), "/")
	booted.Lock()
	booted.by[name]++
	booted.Unlock()
}

// withinBudget says how many guests were booted, and whether they were too many. Its
// first words are known to test/times.
func withinBudget() bool {
	booted.Lock()
	defer booted.Unlock()
	n, list := 0, []string{}
	for name, count := range booted.by {
		n += count
		if count > 1 {
			list = append(list, fmt.Sprintf("%s %d", name, count))
		}
	}
	slices.Sort(list)
	fmt.Printf("guests booted: %d of %d that are allowed for all tests; more than one: %s\n", n, budget, strings.Join(list, ", "))
	return n <= budget
}

// A lent guest goes from test to test, as long as each leaves it as it was.
type lent struct {
	*vm.Machine
	kind   string        // its configuration, without files
	state  string        // before the first test
	faults int           // that belong to tests before
	cpu    time.Duration // that was used for tests before
	files  string        // of the test that has it
}

var idle struct {
	sync.Mutex
	guests []*lent
	booted int
}

// state is what a test may change in a guest and has to put back, if the guest is to serve
// another: modules, programs that run, cgroups, CPUs, tracing, settings.
const state = `
ls -d /sys/module/*
for p in /proc/[0-9]*; do e=$(readlink $p/exe) && echo runs $e; done
find /sys/fs/cgroup -type d
cat /sys/devices/system/cpu/online
cd /sys/kernel/tracing && cat current_tracer set_ftrace_filter kprobe_events tracing_on && ls instances
cat ` + features + `
cd /proc/sys/kernel && for f in $(ls); do
	case $f in tainted|ns_last_pid|perf_event_max_sample_rate) continue;; esac
	[ -f $f ] && [ -r $f ] && echo $f $(cat $f 2> /dev/null)
done
true`

func (g *lent) look(ctx context.Context) (string, error) {
	r, err := g.Run(ctx, vm.Cmd{Argv: []string{"/bin/sh", "-c", state}, Timeout: 10 * time.Minute})
	if err != nil {
		return "", err
	}
	lines := strings.Split(string(r.Stdout)+string(r.Stderr), "\n")
	slices.Sort(lines) // processes come in any order
	return strings.Join(lines, "\n"), nil
}

// borrow is boot for tests that leave a guest as it was: where they do, the next one gets
// it. Its log is empty, and complaints of its kernel are the test's.
func borrow(t *testing.T, change func(*vm.Config)) *vm.Machine {
	t.Helper()
	var cfg vm.Config
	if change != nil {
		change(&cfg)
	}
	files := cfg.Files
	cfg.Files = nil
	kind := fmt.Sprintf("%+v", cfg)
	g := lend(kind)
	if g == nil {
		g = &lent{kind: kind}
		idle.Lock()
		idle.booted++
		log := fmt.Sprintf("borrowed-%d.log", idle.booted)
		idle.Unlock()
		own := func(c *vm.Config) {
			if change != nil {
				change(c)
				c.Files = c.Files[:len(c.Files)-len(files)]
			}
			c.ConsoleLog = filepath.Join(filepath.Dir(c.ConsoleLog), log)
		}
		g.Machine = start(t, context.Background(), own)
		var err error
		if g.state, err = g.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("in the guest of %s", g.ConsolePath())
	t.Cleanup(func() { g.takeBack(t) })
	for _, f := range files {
		content, mode := f.Content, f.Mode
		if f.HostPath != "" {
			info, err := os.Stat(f.HostPath)
			if err != nil {
				t.Fatal(err)
			}
			if content, err = os.ReadFile(f.HostPath); err != nil {
				t.Fatal(err)
			}
			if mode == 0 {
				mode = info.Mode().Perm()
			}
		}
		if mode == 0 {
			mode = 0o644
		}
		ok(t, g.Machine, "mkdir -p "+filepath.Dir(f.GuestPath))
		if err := g.WriteFile(t.Context(), f.GuestPath, content, mode); err != nil {
			t.Fatal(err)
		}
		g.files += " " + f.GuestPath
	}
	ok(t, g.Machine, "dmesg -c > /dev/null")
	return g.Machine
}

// lend takes an idle guest, if there is one.
func lend(kind string) *lent {
	idle.Lock()
	defer idle.Unlock()
	i := slices.IndexFunc(idle.guests, func(g *lent) bool { return g.kind == kind })
	if i < 0 {
		return nil
	}
	g := idle.guests[i]
	idle.guests = slices.Delete(idle.guests, i, i+1)
	return g
}

// takeBack judges a test's guest, and keeps it for the next if it is as it was.
func (g *lent) takeBack(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	defer func() {
		now := g.CPUTime()
		spent(t, now-g.cpu)
		g.cpu = now
	}()
	judgeGuest(t, ctx, g.Machine, g.faults, nil)
	if !t.Failed() && g.Err() == nil {
		what := g.changed(ctx)
		if what == "" {
			g.files, g.faults = "", len(g.Faults())
			idle.Lock()
			idle.guests = append(idle.guests, g)
			idle.Unlock()
			return
		}
		t.Logf("the guest is not as it was, no other test gets it:\n%s", what)
	}
	g.Close()
}

// changed removes the test's files and says what is not as it was, after some time for
// what was told to end.
func (g *lent) changed(ctx context.Context) (what string) {
	if _, err := g.Run(ctx, vm.Cmd{Argv: []string{"/bin/sh", "-c", "cd /; rm -rf /run/*" + g.files}, Timeout: time.Minute}); err != nil {
		return err.Error()
	}
	for range 10 {
		now, err := g.look(ctx)
		if err != nil {
			return err.Error()
		}
		if now == g.state {
			return ""
		}
		what = ""
		was, is := strings.Split(g.state, "\n"), strings.Split(now, "\n")
		for _, line := range is {
			if !slices.Contains(was, line) {
				what += "+ " + line + "\n"
			}
		}
		for _, line := range was {
			if !slices.Contains(is, line) {
				what += "- " + line + "\n"
			}
		}
		if what == "" {
			what = "something is there more often, or less\n"
		}
		time.Sleep(500 * time.Millisecond)
	}
	return what
}

// closeIdle ends the guests that nobody needs any more.
func closeIdle() {
	idle.Lock()
	defer idle.Unlock()
	for _, g := range idle.guests {
		g.Close()
	}
	idle.guests = nil
}
