// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/live"
)

func newInstall() *cobra.Command {
	var o live.Options
	var asJSON, dryRun bool
	c := &cobra.Command{
		Use:   "install MODULE",
		Short: "Make a module's scheduler the running one",
		Long: `Install loads the module and switches the running kernel to its scheduler.
Either the whole update happens or nothing does. While tasks are in the way it is
tried again; if that does not help, they are named.

With --replace it takes over from a module that is installed already, in one step:
the kernel's own scheduler does not run in between.`,
		Args: args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			m, err := live.Open(a[0])
			if err != nil {
				return err
			}
			if dryRun {
				return live.Check(m, o)
			}
			return install(c, m, o, asJSON)
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only find out whether it could be installed now")
	installFlags(c, &o)
	updateFlags(c, &o, &asJSON)
	return c
}

func newTry() *cobra.Command {
	var o live.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "try MODULE",
		Short: "Install a scheduler that goes back unless it is confirmed",
		Long: `Try installs a module's scheduler for a time. If ` + "`plugsched confirm`" + ` does not come
within it, the kernel goes back to the scheduler before, by itself: that does not
depend on this program, on the terminal or on the connection.`,
		Args: args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			if o.Trial < time.Second || o.Trial > 24*time.Hour {
				return &usageError{fmt.Errorf("--for %v: a trial takes from 1s to 24h", o.Trial)}
			}
			m, err := live.Open(a[0])
			if err != nil {
				return err
			}
			return install(c, m, o, asJSON)
		},
	}
	c.Flags().DurationVar(&o.Trial, "for", time.Minute, "how long, from 1s to 24h")
	installFlags(c, &o)
	updateFlags(c, &o, &asJSON)
	return c
}

func newConfirm() *cobra.Command {
	var o live.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "confirm",
		Short: "Keep the scheduler that is on trial",
		Args:  args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			o.Progress = say(c.ErrOrStderr())
			s, err := live.Confirm(c.Context(), o)
			if err != nil {
				return err
			}
			return show(c.OutOrStdout(), s, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func install(c *cobra.Command, m *live.Module, o live.Options, asJSON bool) error {
	if w := c.Flags().Lookup("watchdog"); w.Changed && o.Watchdog == 0 {
		o.Watchdog = -1
	}
	o.Progress = say(c.ErrOrStderr())
	s, err := live.Install(c.Context(), m, o)
	if err != nil {
		return err
	}
	return show(c.OutOrStdout(), s, asJSON)
}

func installFlags(c *cobra.Command, o *live.Options) {
	c.Flags().BoolVar(&o.Replace, "replace", false, "take over from a module that is installed")
	c.Flags().DurationVar(&o.Watchdog, "watchdog", 30*time.Second, "go back when a task waits for a CPU for so long, from 100ms to 24h; 0 is never")
}

func newUninstall() *cobra.Command {
	var o live.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Give the kernel its own scheduler back",
		Args:  args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			o.Progress = say(c.ErrOrStderr())
			s, err := live.Uninstall(c.Context(), o)
			if err != nil {
				return err
			}
			return show(c.OutOrStdout(), s, asJSON)
		},
	}
	c.Flags().BoolVar(&o.Verify, "verify", true, "look through the kernel for references to the module once it is gone")
	updateFlags(c, &o, &asJSON)
	return c
}

func newStatus() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say which scheduler the kernel runs",
		Args:  args(0, 0),
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

func updateFlags(c *cobra.Command, o *live.Options, asJSON *bool) {
	c.Flags().IntVar(&o.Tries, "tries", 10, "how often a busy update is tried")
	c.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

func say(w io.Writer) func(string) {
	return func(s string) { fmt.Fprintln(w, s) }
}

func show(w io.Writer, s *live.Status, asJSON bool) error {
	if asJSON {
		return printJSON(w, s)
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
