// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"plugsched/internal/command/progress"
	"plugsched/internal/guest/vm"
	"plugsched/internal/operate/live"
	"plugsched/test/drive"
)

const (
	features = drive.Features
	message  = "I am the new scheduler: __schedule"
)

// session is a guest and what is compared across the update.
type session struct {
	*demo
	*drive.Guest
	before map[string]string
	step   *progress.Step // that goes on
}

// guest boots the stock kernel, puts it under load, and takes its scheduler
// there and back.
func (d *demo) guest(ctx context.Context) error {
	step("boot %s with %d CPUs", d.Release, d.CPUs)
	files, err := d.files()
	if err != nil {
		return err
	}
	board := progress.New(os.Stdout)
	defer board.Close()
	boot := board.Begin("boot")
	g, err := d.Boot(ctx, vm.Config{ConsoleLog: filepath.Join(d.Work, ".plugsched", "console.log")}, files...)
	if err != nil {
		return err
	}
	defer g.Close()
	boot.Drop()
	s := &session{demo: d, Guest: g}
	checks := []struct {
		what string
		run  func(context.Context) (string, error)
	}{
		{"the load runs", s.startLoad},
		{"the administrator's settings", s.configure},
		{"installed", s.install},
		{"the feature list gained NO_PLUGSCHED_TEST and kept the rest", s.newFeature},
		{"the new __schedule speaks", s.speak},
		{"every worker progresses", s.progress},
		{"the quotas hold", s.quota},
		{"chrt, taskset, cgroups, schedstat, debugfs", s.tools},
		{"removed", s.remove},
		{"settings, files and features as before", s.asBefore},
		{"every worker progresses", s.progress},
		{fmt.Sprintf("installed and removed %d times more", d.Cycles), s.cycle},
		{"every worker progresses", s.progress},
		{"the quotas hold", s.quota},
		{"the load ends", s.stopLoad},
		{"the guest's log is clean", s.clean},
	}
	for i, c := range checks {
		s.step = board.Begin("  %d of %d: %s", i+1, len(checks), c.what)
		text, err := c.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w (console: %s)", c.what, err, g.ConsolePath())
		}
		s.step.End("  ok  %-60s %6.1f s  %s", c.what, s.step.Took().Seconds(), text)
	}
	return nil
}

func (s *session) startLoad(ctx context.Context) (string, error) {
	if _, err := s.Sh(ctx, "schedload start"); err != nil {
		return "", err
	}
	n, err := s.Sh(ctx, "schedload threads")
	if err != nil {
		return "", err
	}
	// The command may say more than the number: take the last field.
	f := strings.Fields(n)
	if len(f) == 0 {
		return "", errors.New("schedload threads says nothing")
	}
	threads, err := strconv.Atoi(f[len(f)-1])
	if err != nil || threads < 700 {
		return "", fmt.Errorf("%q threads, expected 700 or more", n)
	}
	return fmt.Sprintf("%d threads", threads), nil
}

// configure changes settings as an administrator would, and notes how everything
// is before the update.
func (s *session) configure(ctx context.Context) (string, error) {
	if _, err := s.Sh(ctx, "echo NO_WA_WEIGHT > "+features+"; echo LB_MIN > "+features); err != nil {
		return "", err
	}
	var err error
	s.before, err = s.state(ctx)
	return "NO_WA_WEIGHT LB_MIN", err
}

// state reads what must be the same before and after.
func (s *session) state(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for name, command := range map[string]string{
		"features": "cat " + features,
		// One process reads all files of a kind: under the load, a hundred take a minute.
		"sysctls": "cd /proc/sys/kernel && find . -maxdepth 1 -name 'sched_*' -type f | sort | xargs grep -H ''",
		"debugfs": "cd /sys/kernel/debug && find . -path './sched*' | sort && { cd sched 2> /dev/null || exit 0; } && " +
			"find . -maxdepth 1 -name '*_ns' -o -name tunable_scaling -o -name nr_migrate -o -name verbose | sort | xargs grep -H ''",
		"domains": "cd /sys/kernel/debug/sched 2> /dev/null || cd /proc/sys/kernel && " +
			// 6.12 has them if it is verbose.
			"find . -path '*domain*/*' -type f ! -name 'max_newidle*' | sort | xargs -r grep -H ''",
		"modules": "lsmod | awk 'NR > 1 { print $1 }'",
	} {
		text, err := s.Sh(ctx, command)
		if err != nil {
			return nil, err
		}
		out[name] = text
	}
	return out, nil
}

func (s *session) install(ctx context.Context) (string, error) {
	st, err := s.Change(ctx, "install /scheduler.ko")
	if err != nil {
		return "", err
	}
	if !st.Active || len(st.Functions) == 0 {
		return "", fmt.Errorf("not active: %+v", st)
	}
	s.timings("downtime of install", st.Timings)
	return fmt.Sprintf("%d functions redirected", len(st.Functions)), nil
}

func (s *session) timings(group string, t *live.Timings) {
	add := func(name string, ns int64) {
		s.table.add(group, name, time.Duration(ns).Round(time.Microsecond).String())
	}
	s.table.add(group, "CPUs", fmt.Sprint(t.CPUs))
	s.table.add(group, "threads", fmt.Sprint(t.Threads))
	s.table.add(group, "threads inspected in the stop", fmt.Sprint(t.Stopped))
	add("inspection before the stop", t.Scan)
	add("stop_machine", t.StopMachine)
	add("handler", t.Handler)
	add("stack inspection", t.StackCheck)
	add("clear", t.Clear)
	add("redirection", t.Redirect)
	add("rebuild", t.Rebuild)
	add("total", t.Scan+t.StopMachine)
}

func (s *session) newFeature(ctx context.Context) (string, error) {
	now, err := s.Sh(ctx, "cat "+features)
	if err != nil {
		return "", err
	}
	const gained = "NO_PLUGSCHED_TEST "
	if was := s.before["features"]; !strings.Contains(now, gained) || strings.Replace(now, gained, "", 1) != was {
		return "", fmt.Errorf("features are\n%s\nexpected %sand\n%s", now, gained, was)
	}
	return "", nil
}

func (s *session) speak(ctx context.Context) (string, error) {
	if text, err := s.Sh(ctx, "dmesg"); err != nil || strings.Contains(text, message) {
		return "", fmt.Errorf("the message is there before the feature is on (%v)", err)
	}
	if _, err := s.Sh(ctx, "echo PLUGSCHED_TEST > "+features+" && sleep 1"); err != nil {
		return "", err
	}
	text, err := s.Sh(ctx, "dmesg | grep -m1 '"+message+"'")
	return text, err
}

func (s *session) progress(ctx context.Context) (string, error) {
	return s.Progress(ctx)
}

func (s *session) quota(ctx context.Context) (string, error) {
	const unclear, tries = 4, 10 // too little CPU to judge, test/load/load.h
	for try := 1; ; try++ {
		text, err := s.Sh(ctx, fmt.Sprintf("schedload quota --seconds 10 || { c=$?; [ $c = %d ] || exit $c; }", unclear))
		text = strings.ReplaceAll(text, "\n", "; ")
		if err != nil || !strings.Contains(text, "too little CPU to judge") || try == tries {
			return text, err
		}
	}
}

// tools uses the scheduler's interfaces as people do.
func (s *session) tools(ctx context.Context) (string, error) {
	for _, c := range []struct{ command, want string }{
		{"chrt -f 10 sleep 1000 & sleep 1; chrt -p $!; kill $!", "SCHED_FIFO"},
		{"chrt -b 0 chrt -p 0 $$ | head -1; chrt -i 0 sleep 1000 & sleep 1; chrt -p $!; kill $!", "SCHED_IDLE"},
		{"taskset -c 2 sh -c 'taskset -cp $$'", "2"},
		{"taskset -c 1 sleep 1000 & sleep 1; taskset -cp 3 $! >/dev/null; taskset -cp $!; kill $!", "3"},
		{"g=/sys/fs/cgroup/demo; mkdir $g && sh -c \"echo \\$\\$ > $g/cgroup.procs; cat /proc/self/cgroup\"; rmdir $g", "/demo"},
		{"echo 1 > /proc/sys/kernel/sched_schedstats; a=$(grep ^cpu0 /proc/schedstat); sleep 1; b=$(grep ^cpu0 /proc/schedstat); echo 0 > /proc/sys/kernel/sched_schedstats; [ \"$a\" != \"$b\" ] && echo counts", "counts"},
		{"cat /sys/kernel/debug/sched/debug /proc/sched_debug 2> /dev/null | grep -c ^cpu#", fmt.Sprint(s.CPUs)},
		{"renice -n 5 $$ >/dev/null; cut -d' ' -f19 /proc/$$/stat", "5"},
	} {
		text, err := s.Sh(ctx, c.command)
		if err != nil {
			return "", err
		}
		if !strings.Contains(text, c.want) {
			return "", fmt.Errorf("`%s` prints %q, expected %q in it", c.command, text, c.want)
		}
	}
	return "", nil
}

func (s *session) remove(ctx context.Context) (string, error) {
	st, err := s.Change(ctx, "uninstall")
	if err != nil {
		return "", err
	}
	l := st.Leftovers
	if len(st.Modules) > 0 || l == nil || l.Deadly() || len(l.Pointers) > 0 || l.Functions == 0 || l.Tasks < 700 {
		return "", fmt.Errorf("not gone without a trace: %+v, %+v", st, l)
	}
	s.timings("downtime of removal", st.Timings)
	return fmt.Sprintf("nothing refers to it: %d function heads, %d words of data, %d stacks", l.Functions, l.Words, l.Tasks), nil
}

func (s *session) asBefore(ctx context.Context) (string, error) {
	now, err := s.state(ctx)
	if err != nil {
		return "", err
	}
	for name, was := range s.before {
		if now[name] != was {
			return "", fmt.Errorf("%s were\n%s\nand are now\n%s", name, was, now[name])
		}
	}
	return "", nil
}

func (s *session) cycle(ctx context.Context) (string, error) {
	var down []time.Duration
	for i := range s.Cycles {
		s.step.Count(int64(i), int64(s.Cycles), "")
		for _, c := range []string{"install /scheduler.ko", "uninstall --verify=false"} {
			st, err := s.Change(ctx, c)
			if err != nil {
				return "", err
			}
			down = append(down, time.Duration(st.Timings.StopMachine))
		}
	}
	slices.Sort(down)
	s.table.add("downtime of all cycles", "median", down[len(down)/2].Round(time.Microsecond).String())
	s.table.add("downtime of all cycles", "maximum", down[len(down)-1].Round(time.Microsecond).String())
	return fmt.Sprintf("downtime median %v", down[len(down)/2].Round(time.Microsecond)), nil
}

func (s *session) stopLoad(ctx context.Context) (string, error) {
	text, err := s.Sh(ctx, "schedload stop")
	return lastLine(text), err
}

func (s *session) clean(ctx context.Context) (string, error) {
	return fmt.Sprintf("%d bytes of console", len(s.Console())), s.Healthy(ctx)
}

func lastLine(s string) string {
	l := strings.Split(strings.TrimSpace(s), "\n")
	return l[len(l)-1]
}
