// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/operate/live"
	"plugsched/internal/operate/view"
	"plugsched/scx"
)

func newStatus(m machine) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say which scheduler the kernel runs",
		Long: `Status says which scheduler runs, a module's or one in BPF, since when, from which package
or whose, how long the last update took, what the watchdog does, what is in conflict with
the scheduler: livepatches, kprobes, and how the last one ended. Root sees more than others: why a scheduler went
back by itself, and what the boot guard and the history know.`,
		Example: `  plugsched status
  plugsched status --json | jq .timings.stop_machine_ns`,
		Args: cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			return m.show(c.OutOrStdout(), asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// show prints what is known about the machine.
func (m machine) show(w io.Writer, asJSON bool) error {
	s, err := m.read()
	if err != nil {
		return err
	}
	return s.show(w, asJSON)
}

// show prints what a command has made of this machine.
func show(w io.Writer, s *live.Status, asJSON bool) error {
	st, err := machine{}.about(s)
	if err != nil {
		// Whatever is wrong with the disk: the update took place.
		st = &state{Status: s, Schedulers: view.Schedulers(s, time.Time{}, nil, view.Now)}
	}
	return st.show(w, asJSON)
}

func (s *state) show(w io.Writer, asJSON bool) error {
	if asJSON {
		return cli.PrintJSON(w, s)
	}
	fmt.Fprintf(w, "kernel:     %s (build-id %s)\n", s.Release, s.BuildID)
	s.showSchedulers(w)
	if text := s.packageText(); text != "" {
		fmt.Fprintf(w, "package:    %s\n", text)
	}
	if text := s.installedText(); text != "" {
		fmt.Fprintf(w, "installed:  %s\n", text)
	}
	if !s.Since.IsZero() {
		fmt.Fprintf(w, "since:      %s (%v)\n", s.Since.Local().Format(time.DateTime), time.Since(s.Since).Round(time.Second))
	}
	s.showHealth(w)
	if s.Guard != "" {
		fmt.Fprintf(w, "boot guard: %s\n", s.Guard)
	}
	if s.Active {
		s.showActive(w)
	}
	for _, m := range s.Modules {
		if m.Name != s.Name {
			fmt.Fprintf(w, "also loaded: %s, %s\n", m.Name, m.State)
		}
	}
	if e := s.LastEnd; e != nil {
		fmt.Fprintf(w, "last end:   %s %s\n", e.Name, e.Time.Local().Format(time.DateTime))
		if e.Way == view.BPF {
			fmt.Fprintf(w, "  %s\n", e.Reason)
		}
	}
	showReport(w, "is to be left", s.RollingBack)
	showReport(w, "was rolled back by the kernel", s.Report)
	showLeftovers(w, s.Leftovers)
	showTimings(w, s.Timings)
	return nil
}

// tasksOf says in words which tasks a BPF scheduler has.
var tasksOf = map[view.Scope]string{
	view.AllTasks: ", for all tasks of the fair class and of SCHED_EXT",
	view.ExtTasks: ", for tasks of SCHED_EXT",
}

func (s *state) showSchedulers(w io.Writer) {
	for _, r := range s.Schedulers {
		name := r.Name
		if r.Way == view.BPF {
			name += ", in BPF" + tasksOf[r.Scope]
		}
		fmt.Fprintf(w, "scheduler:  %s\n", name)
	}
	if len(s.Schedulers) == 0 {
		fmt.Fprintf(w, "scheduler:  the kernel's own\n")
	}
}

// showHealth says what there is to know of those that run. Of a module the rest follows.
func (s *state) showHealth(w io.Writer) {
	for _, r := range s.Schedulers {
		if r.Way == view.BPF {
			fmt.Fprintf(w, "loaded by:  %s\n", owners[r.Owner])
			if len(r.Holders) > 0 {
				fmt.Fprintf(w, "held by:    %s\n", strings.Join(r.Holders, ", "))
			}
			if s.Active && !r.Since.IsZero() {
				fmt.Fprintf(w, "in BPF since: %s\n", r.Since.Local().Format(time.DateTime))
			}
			showWatchdog(w, r.Watchdog)
			showTrial(w, "ends", r.TrialLeft)
		}
		fmt.Fprintf(w, "health:     %s\n", r.Health)
	}
}

// owners says in words who has loaded a BPF scheduler.
var owners = map[scx.Owner]string{scx.Ours: "plugsched", scx.Others: "somebody else", scx.Unknown: "unknown, as far as may be asked"}

func showWatchdog(w io.Writer, timeout time.Duration) {
	watchdog := "off"
	if timeout > 0 {
		watchdog = timeout.String()
	}
	fmt.Fprintf(w, "watchdog:   %s\n", watchdog)
}

func showTrial(w io.Writer, does string, left time.Duration) {
	if left > 0 {
		fmt.Fprintf(w, "on trial:   %s in %v unless `plugsched confirm` comes first\n", does, left.Round(100*time.Millisecond))
	}
}

func (s *state) packageText() string {
	switch p := s.Package; {
	case p == nil && s.Active:
		return "none, it was installed by hand"
	case p == nil:
		return ""
	case s.OfPackage:
		return p.String()
	default:
		return p.String() + " is selected for this kernel, but its scheduler does not run"
	}
}

// installedText lists the packages among which one can switch, "" where there is no choice.
func (s *state) installedText() string {
	var all []string
	for _, l := range s.Installed {
		text := l.Scheduler + " " + l.Version
		if l.Selected {
			if len(s.Installed) == 1 {
				return ""
			}
			text += " (selected)"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func showReport(w io.Writer, title, text string) {
	if text != "" {
		fmt.Fprintf(w, "%s:\n  %s\n", title, strings.ReplaceAll(text, "\n", "\n  "))
	}
}

func (s *state) showActive(w io.Writer) {
	fmt.Fprintf(w, "functions:  %d redirected\n", len(s.Functions))
	showWatchdog(w, s.Watchdog)
	showTrial(w, "rolls back", s.TrialLeft)
	if len(s.TakenOver) > 0 {
		fmt.Fprintf(w, "conflict:   a livepatch has replaced %s since: the module's version does not run\n", strings.Join(s.TakenOver, ", "))
	}
	if len(s.Probes) > 0 {
		fmt.Fprintf(w, "conflict:   kprobes at %s: they do not see the module's functions, and on a jump they forbid to roll back\n",
			strings.Join(s.Probes, ", "))
	}
}

func showLeftovers(w io.Writer, l *live.Leftovers) {
	if l == nil {
		return
	}
	fmt.Fprintf(w, "verified:   no function, no timer and no stack leads to the module (%d function heads, stacks of %d tasks)\n",
		l.Functions, l.Tasks)
	if len(l.Pointers) == 0 {
		fmt.Fprintf(w, "            no pointer to it in %d words of kernel data\n", l.Words)
	} else {
		fmt.Fprintf(w, "warning:    kernel data holds addresses of the module that is gone, stale or a defect (please report): %v\n", l.Pointers)
	}
}

func showTimings(w io.Writer, t *live.Timings) {
	if t == nil || t.CPUs == 0 {
		return
	}
	ns := func(n int64) time.Duration { return time.Duration(n) }
	fmt.Fprintf(w, "last update: %s, downtime %v, %d CPUs, %d threads, %d of them inspected in the stop\n", t.Direction,
		ns(t.StopMachine), t.CPUs, t.Threads, t.Stopped)
	for _, part := range []struct {
		name string
		ns   int64
	}{
		{"inspection before", t.Scan}, {"stop_machine", t.StopMachine}, {"gathering", t.Gather}, {"entering", t.Enter},
		{"handler", t.Handler}, {"stack inspection", t.StackCheck}, {"clear", t.Clear}, {"redirection", t.Redirect},
		{"rebuild", t.Rebuild}, {"leaving", t.Leave},
	} {
		fmt.Fprintf(w, "  %-17s %v\n", part.name, ns(part.ns))
	}
}
