// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/cli"
	"plugsched/internal/live"
)

func newStatus() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say which scheduler the kernel runs",
		Args:  cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			s, err := live.Read()
			if err != nil {
				return err
			}
			return show(c.OutOrStdout(), s, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func show(w io.Writer, s *live.Status, asJSON bool) error {
	if asJSON {
		return cli.PrintJSON(w, s)
	}
	scheduler := "the kernel's own"
	if s.Active {
		scheduler = s.Name
	}
	fmt.Fprintf(w, "kernel:     %s (build-id %s)\nscheduler:  %s\n", s.Release, s.BuildID, scheduler)
	if s.Active {
		showActive(w, s)
	}
	for _, m := range s.Modules {
		if m.Name != s.Name {
			fmt.Fprintf(w, "also loaded: %s, %s\n", m.Name, m.State)
		}
	}
	showReport(w, "is to be left", s.GoingBack)
	showReport(w, "went back by itself", s.Report)
	if l := s.Leftovers; l != nil {
		fmt.Fprintf(w, "verified:   no function, no timer and no stack leads to the module (%d function heads, stacks of %d tasks)\n", l.Functions, l.Tasks)
		if len(l.Pointers) == 0 {
			fmt.Fprintf(w, "            no pointer to it in %d words of kernel data\n", l.Words)
		} else {
			fmt.Fprintf(w, "warning:    kernel data holds addresses of the module that is gone, stale or a defect (please report): %v\n", l.Pointers)
		}
	}
	showTimings(w, s.Timings)
	return nil
}

func showReport(w io.Writer, title, text string) {
	if text != "" {
		fmt.Fprintf(w, "%s:\n  %s\n", title, strings.ReplaceAll(text, "\n", "\n  "))
	}
}

func showActive(w io.Writer, s *live.Status) {
	fmt.Fprintf(w, "functions:  %d redirected\n", len(s.Functions))
	watchdog := "off"
	if s.Watchdog > 0 {
		watchdog = s.Watchdog.String()
	}
	fmt.Fprintf(w, "watchdog:   %s\n", watchdog)
	if s.TrialLeft > 0 {
		fmt.Fprintf(w, "on trial:   goes back in %v unless `plugsched confirm` comes first\n", s.TrialLeft.Round(100*time.Millisecond))
	}
	if len(s.TakenOver) > 0 {
		fmt.Fprintf(w, "warning:    a livepatch has replaced %s since: the module's version does not run\n", strings.Join(s.TakenOver, ", "))
	}
}

func showTimings(w io.Writer, t *live.Timings) {
	if t == nil || t.CPUs == 0 {
		return
	}
	ns := func(n int64) time.Duration { return time.Duration(n) }
	fmt.Fprintf(w, "last update: %s, %d CPUs, %d threads, %d of them inspected in the stop\n", t.Direction, t.CPUs, t.Threads, t.Stopped)
	fmt.Fprintf(w, "  inspection before %v\n  stop_machine      %v\n  handler           %v\n  stack inspection  %v\n  clear             %v\n  redirection       %v\n  rebuild           %v\n",
		ns(t.Scan), ns(t.StopMachine), ns(t.Handler), ns(t.StackCheck), ns(t.Clear), ns(t.Redirect), ns(t.Rebuild))
}
