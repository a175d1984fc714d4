// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"io"
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
tried again; if that does not help, they are named.`,
		Args: args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			m, err := live.Open(a[0])
			if err != nil {
				return err
			}
			if dryRun {
				return live.Check(m)
			}
			o.Progress = say(c.ErrOrStderr())
			s, err := live.Install(c.Context(), m, o)
			if err != nil {
				return err
			}
			return show(c.OutOrStdout(), s, asJSON)
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only find out whether it could be installed now")
	updateFlags(c, &o, &asJSON)
	return c
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
	switch {
	case s.Active:
		scheduler = "installed module"
	case s.Loaded:
		scheduler = "the kernel's own (a module is loaded, but not active)"
	}
	fmt.Fprintf(w, "kernel:     %s (build-id %s)\nscheduler:  %s\n", s.Release, s.BuildID, scheduler)
	if s.Active {
		fmt.Fprintf(w, "functions:  %d redirected\n", len(s.Functions))
	}
	if l := s.Leftovers; l != nil {
		fmt.Fprintf(w, "verified:   no function and no stack leads to the module (%d function heads, stacks of %d tasks)\n", l.Functions, l.Tasks)
		if len(l.Pointers) == 0 {
			fmt.Fprintf(w, "            no pointer to it in %d words of kernel data\n", l.Words)
		} else {
			fmt.Fprintf(w, "warning:    kernel data holds addresses of the module that is gone, stale or a defect (please report): %v\n", l.Pointers)
		}
	}
	if t := s.Timings; t != nil && t.CPUs > 0 {
		ns := func(n int64) time.Duration { return time.Duration(n) }
		fmt.Fprintf(w, "last update: %s, %d CPUs, %d threads\n", t.Direction, t.CPUs, t.Threads)
		fmt.Fprintf(w, "  stop_machine      %v\n  handler           %v\n  stack inspection  %v\n  clear             %v\n  redirection       %v\n  rebuild           %v\n  initialization    %v\n",
			ns(t.StopMachine), ns(t.Handler), ns(t.StackCheck), ns(t.Clear), ns(t.Redirect), ns(t.Rebuild), ns(t.Init))
	}
	return nil
}
