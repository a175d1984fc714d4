// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"plugsched/internal/command/cli"
	"plugsched/internal/operate/history"
	"plugsched/scx"
)

// updateBPF runs whatever changes schedulers in BPF: nobody else changes the machine's scheduler meanwhile, and the history has
// it. Name is that of the scheduler that is asked for, "" the one that runs.
func (m machine) updateBPF(action, name string, do func() (history.BPFUpdate, error)) error {
	warn := func(s string) { fmt.Fprintln(os.Stderr, s) }
	return m.log().RecordBPF(action, name, nil, warn, func() (done history.BPFUpdate, err error) {
		end, err := m.Alone()
		if err != nil {
			return done, err
		}
		defer end()
		return do()
	})
}

func newSCX(m machine) *cobra.Command {
	c := &cobra.Command{
		Use:   "scx",
		Short: "Run schedulers that are BPF programs, on kernels that have sched_ext",
		Long: `Scx is for schedulers in BPF. One that was loaded stays without any process, until it is
stopped, the kernel ends it, or the machine is booted. Why it ended is kept.`,
		Example: "  plugsched scx load simple\n  plugsched scx status\n  plugsched scx stop",
	}
	c.AddCommand(newSCXLoad(m), newSCXTry(m), newSCXReplace(m), newSCXStatus(), newSCXStop(m), newSCXBalance())
	return c
}

func newSCXLoad(m machine) *cobra.Command {
	var o Loading
	c := &cobra.Command{
		Use:   "load NAME|OBJECT",
		Short: "Make a BPF scheduler the running one",
		Long: `Load makes a scheduler in BPF the running one: one that is in this program, by its name
(` + strings.Join(scx.Own(), ", ") + `), or that of a compiled object. Nothing of it stays if that fails.
With --partial it has the tasks of SCHED_EXT only, which ask for it, instead of all of the
fair class. A task that waits longer than --timeout makes the kernel end it. While a module's
scheduler runs none is loaded.`,
		Example: `  plugsched scx load simple
  plugsched scx load --set fifo=1 --timeout 5s simple
  plugsched scx load --partial ./mine.bpf.o`,
		Args: cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			return m.loadBPF(c, "scx load", a[0], &o, "it stays until `plugsched scx stop`")
		},
	}
	o.Flags(c)
	return c
}

func newSCXTry(m machine) *cobra.Command {
	var o Loading
	c := &cobra.Command{
		Use:   "try NAME|OBJECT",
		Short: "Load a BPF scheduler that ends unless it is confirmed",
		Long: `Try loads a scheduler in BPF for a time. If ` + "`plugsched confirm`" + ` does not come within it,
the kernel ends the scheduler, and its own has all tasks again: that is a timer inside of the
scheduler, and does not depend on this program, on the terminal or on the connection.
` + "`plugsched reject`" + ` ends it at once.`,
		Example: "  plugsched scx try --for 5m simple && ./benchmark && plugsched confirm",
		Args:    cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			return m.loadBPF(c, "scx try", a[0], &o, o.until())
		},
	}
	c.Flags().Var(cli.Duration(&o.Trial, time.Minute, time.Second, scx.MaxTrial), "for", "how long, from 1s to 24h")
	o.Flags(c)
	return c
}

func newSCXReplace(m machine) *cobra.Command {
	var o Loading
	c := &cobra.Command{
		Use:   "replace NAME|OBJECT",
		Short: "Let a BPF scheduler take over from the one that runs",
		Long: `Replace ends the scheduler in BPF that runs and lets another begin, or the same with other
options. The kernel cannot swap two: in between its own has all tasks, and how long that was is
said. What the verifier refuses, and what it takes, is known before the one that runs ends; if
the next does not begin all the same, the one before begins again.`,
		Example: "  plugsched scx replace --set fifo=1 simple",
		Args:    cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			object, err := o.Open(a[0])
			if err != nil {
				return err
			}
			m.warnOfRivals(c.ErrOrStderr())
			var r *scx.Replaced
			err = m.updateBPF("scx replace", object.Name(), func() (done history.BPFUpdate, err error) {
				if r, err = object.Replace(c.Context(), o.Options); err != nil {
					return done, err
				}
				return history.BPFUpdate{Direction: "replace", Gap: r.Gap}, nil
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s runs, for %s; %s has ended, and in between the kernel's own scheduler ran for at most %v\n",
				object.Name(), o.whose(), r.Name, r.Gap)
			return nil
		},
	}
	o.Flags(c)
	return c
}

// Loading is what commands that load a scheduler in BPF, or pack one, have in common.
type Loading struct {
	scx.Options
	texts map[string]string // of constants
}

// Flags are those that choose.
func (o *Loading) Flags(c *cobra.Command) {
	c.Flags().BoolVar(&o.Partial, "partial", false, "only for tasks of SCHED_EXT")
	c.Flags().Var(cli.Duration(&o.Timeout, 0, time.Millisecond, scx.MaxTimeout).OrZero(), "timeout",
		"how long a task may wait for a CPU (0: as it was compiled)")
	c.Flags().StringToStringVar(&o.texts, "set", nil, "a constant of the scheduler's, `NAME=NUMBER`")
}

// Open reads the scheduler, one of this program or an object; the options are complete then.
func (o *Loading) Open(nameOrPath string) (object *scx.Object, err error) {
	if o.Constants, err = numbers(o.texts); err != nil {
		return nil, err
	}
	return scx.Open(nameOrPath)
}

// whose says which tasks are the scheduler's.
func (o *Loading) whose() string {
	if o.Partial {
		return "tasks of SCHED_EXT"
	}
	return "all tasks of the fair class and of SCHED_EXT"
}

// until says how long one on trial stays.
func (o *Loading) until() string {
	return "it ends in " + o.Trial.String() + " unless `plugsched confirm` comes first"
}

// loadBPF loads a scheduler where none runs, and says so. Until says how long it stays.
func (m machine) loadBPF(c *cobra.Command, action, nameOrPath string, o *Loading, until string) error {
	name, err := m.beginBPF(c, action, nameOrPath, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%s runs, for %s; %s\n", name, o.whose(), until)
	return nil
}

// beginBPF loads a scheduler where none runs, and returns its name.
func (m machine) beginBPF(c *cobra.Command, action, nameOrPath string, o *Loading) (string, error) {
	object, err := o.Open(nameOrPath)
	if err != nil {
		return "", err
	}
	m.warnOfRivals(c.ErrOrStderr())
	return object.Name(), m.updateBPF(action, object.Name(), func() (done history.BPFUpdate, err error) {
		if err := m.CheckNoModule(); err != nil {
			return done, err
		}
		done.Direction = "install"
		return done, object.Load(c.Context(), o.Options)
	})
}

// warnOfRivals names services that may load another scheduler.
func (m machine) warnOfRivals(w io.Writer) {
	for _, r := range m.Rivals() {
		fmt.Fprintf(w, "warning: %s: %s\n", r.Problem(), r.Fix())
	}
}

// meant is what there is of schedulers in BPF, if confirm and reject are about them: nil while a module's runs.
func (m machine) meant() (*scx.Snapshot, error) {
	running, err := m.Running()
	if err != nil || running != "" {
		return nil, err
	}
	return m.bpf()
}

// bpfOnTrial is the scheduler in BPF that is on trial, "" if there is none.
func (m machine) bpfOnTrial() (string, error) {
	s, err := m.meant()
	if err != nil || s == nil || s.TrialLeft == 0 {
		return "", err
	}
	return s.Name, nil
}

// bpfToConfirm is likewise, or the one that ended last because its trial lapsed: it is too late to confirm it.
func (m machine) bpfToConfirm() (string, error) {
	s, err := m.meant()
	switch {
	case err != nil || s == nil:
		return "", err
	case s.TrialLeft != 0:
		return s.Name, nil
	case s.State == "enabled":
		return "", &scx.NoTrialError{Name: s.Name}
	case s.State == "disabled" && len(s.Ends) > 0 && s.Ends[len(s.Ends)-1].Lapsed():
		return s.Ends[len(s.Ends)-1].Name, nil
	}
	return "", nil
}

// confirmBPF ends the trial of a scheduler in BPF: it stays.
func (m machine) confirmBPF(c *cobra.Command, name string) error {
	return m.updateBPF("confirm", name, func() (done history.BPFUpdate, err error) {
		done.Name, err = scx.Confirm(c.Context())
		return done, err
	})
}

// rejectBPF ends a scheduler in BPF that is on trial.
func (m machine) rejectBPF(c *cobra.Command, name, reason string) error {
	return m.updateBPF("reject", name, func() (done history.BPFUpdate, err error) {
		s, err := scx.Stop(c.Context(), false)
		if err == nil && !s.Before {
			done = history.BPFUpdate{Name: s.Name, Direction: "remove", Reason: reason}
		}
		return done, err
	})
}

// numbers are the values of --set.
func numbers(texts map[string]string) (map[string]uint64, error) {
	out := map[string]uint64{}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		n, err := strconv.ParseUint(texts[name], 0, 64)
		if err != nil {
			return nil, cli.Usagef("--set %s=%s: it must be a whole number that is not negative", name, texts[name])
		}
		out[name] = n
	}
	return out, nil
}

func newSCXStatus() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say which BPF scheduler runs, who has loaded it, and why others ended",
		Long: `Status asks the kernel which scheduler in BPF runs, for which tasks, and what it has counted,
whoever has loaded it. Root sees more than others: whose it is, and why those of plugsched ended.`,
		Example: "  plugsched scx status\n  plugsched scx status --json | jq '.ends[-1].reason'",
		Args:    cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			s, err := scx.Look()
			if err != nil {
				return err
			}
			if asJSON {
				return cli.PrintJSON(c.OutOrStdout(), s)
			}
			showSCX(c.OutOrStdout(), s)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func showSCX(w io.Writer, s *scx.Snapshot) {
	field := func(name, format string, a ...any) {
		fmt.Fprintf(w, "%-12s"+format+"\n", append([]any{name + ":"}, a...)...)
	}
	switch {
	case s.State == "disabled":
		field("scheduler", "none in BPF (%s)", s.State)
	case s.All:
		field("scheduler", "%s, for all tasks of the fair class and of SCHED_EXT (%s)", s.Name, s.State)
	default:
		field("scheduler", "%s, for tasks of SCHED_EXT (%s)", s.Name, s.State)
	}
	switch s.Owner {
	case scx.Ours:
		field("loaded by", "plugsched, pinned below %s/%s", scx.Pins, s.Name)
	case scx.Others:
		field("loaded by", "somebody else")
	case scx.Unknown:
		field("loaded by", "unknown, as far as may be asked")
	}
	if s.TrialLeft > 0 {
		field("on trial", "ends in %v unless `plugsched confirm` comes first", s.TrialLeft.Round(100*time.Millisecond))
	}
	if s.Link != 0 {
		text := "no process"
		for i, h := range s.Holders {
			text = strings.TrimPrefix(text, "no process") + []string{"", ", "}[min(i, 1)] + h.String()
		}
		field("held by", "%s (link %d)", text, s.Link)
	}
	for _, p := range s.Programs {
		field("program", "%s, %d instructions verified", p.Operation, p.Verified)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Events)) {
		if n := s.Events[name]; n != 0 {
			field("event", "%s %d", name, n)
		}
	}
	for _, e := range s.Ends {
		field("ended", "%s %s", e.Name, sinceEnd(&e))
		fmt.Fprintf(w, "  %s\n", e.String())
	}
}

// sinceEnd says when a scheduler ended, by the wall clock.
func sinceEnd(e *scx.End) string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return "since boot"
	}
	ago := time.Duration(now.Nano() - e.At)
	return fmt.Sprintf("%s (%v ago)", time.Now().Add(-ago).Format(time.DateTime), ago.Round(time.Second))
}

func newSCXStop(m machine) *cobra.Command {
	var foreign bool
	c := &cobra.Command{
		Use:   "stop",
		Short: "End the BPF scheduler that runs",
		Long: `Stop ends the scheduler in BPF that runs, waits until the kernel's own has all tasks again,
and says what the kernel gives as the reason. One that plugsched has not loaded is left alone
without --foreign.`,
		Example: "  plugsched scx stop\n  plugsched scx stop --foreign",
		Args:    cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			var s *scx.Stopped
			err := m.updateBPF("scx stop", "", func() (done history.BPFUpdate, err error) {
				if s, err = scx.Stop(c.Context(), foreign); err != nil {
					return done, err
				}
				if done.Name = s.Name; !s.Before {
					done.Direction = "remove"
				}
				if s.End != nil {
					done.Reason = s.End.String()
				}
				return done, nil
			})
			if err != nil {
				return err
			}
			text := s.Name + " has ended"
			if s.Before {
				text = "the kernel had ended " + s.Name + " before"
			}
			if s.End != nil {
				text += ": " + s.End.String()
			}
			fmt.Fprintln(c.OutOrStdout(), text)
			return nil
		},
	}
	c.Flags().BoolVar(&foreign, "foreign", false, "also one that somebody else has loaded")
	return c
}
