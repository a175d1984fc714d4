// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"plugsched/internal/command/cli"
	"plugsched/internal/operate/top"
	"plugsched/scx"
)

func newTop(m machine) *cobra.Command {
	var every time.Duration
	var once, asJSON bool
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch what the scheduler does",
		Long: `Top shows, again and again, which scheduler runs, whichever way it came, how many tasks want a
CPU, how long they were runnable until they ran, how long queues are, and what has been counted
since: of a module, of one in BPF, of agents. On a terminal q or Ctrl-C ends it; elsewhere it
prints one report after the other, until it is interrupted. With --once it prints one report,
and with --json that one for programs. Only root sees queues and all agents.`,
		Example: `  plugsched top
  plugsched top --interval 10s --once
  plugsched top --json | jq .all.wait_ns`,
		Args: cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			w, end := m.watched()
			defer end()
			if once = once || asJSON; once || !screenful() {
				return written(c, w, every, once, asJSON)
			}
			s, err := tcell.NewScreen()
			if err != nil {
				fmt.Fprintf(c.ErrOrStderr(), "warning: this terminal is not known, and gets plain text: %v\n", err)
				return written(c, w, every, once, asJSON)
			}
			return interrupted(c.Context(), w.Watch(c.Context(), s, every))
		},
	}
	c.Flags().Var(cli.Duration(&every, 2*time.Second, 100*time.Millisecond, time.Hour), "interval",
		"how long each report is about, from 100ms to 1h")
	c.Flags().BoolVar(&once, "once", false, "print one report")
	c.Flags().BoolVar(&asJSON, "json", false, "print one as JSON")
	return c
}

// screenful says whether what is printed goes to a terminal that can do more than print lines.
func screenful() bool {
	_, err := unix.IoctlGetTermios(int(os.Stdout.Fd()), unix.TCGETS)
	term := os.Getenv("TERM")
	return err == nil && term != "" && term != "dumb"
}

// written prints reports where there is no terminal.
func written(c *cobra.Command, w *top.Machine, every time.Duration, once, asJSON bool) error {
	out := c.OutOrStdout()
	n := 0
	err := w.Frames(c.Context(), every, func(f *top.Frame) (bool, error) {
		if n++; n > 1 {
			if _, err := fmt.Fprintln(out); err != nil {
				return false, err
			}
		}
		if asJSON {
			return false, cli.PrintJSON(out, f)
		}
		return !once, f.Write(out)
	})
	if once {
		return err // without a report, that it was interrupted is an error
	}
	return interrupted(c.Context(), err)
}

// interrupted is no error for what goes on until it is.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// watched is the machine as top asks it, until end.
func (m machine) watched() (w *top.Machine, end func()) {
	var queues *scx.Queues
	w = &top.Machine{Root: m.Root, Ask: m.schedulers}
	if m.Root == "" && os.Geteuid() == 0 {
		w.Lengths = func() ([]scx.Queue, error) {
			if queues == nil { // where no scheduler in BPF ever runs, no program is loaded for that
				q, err := scx.OpenQueues()
				if err != nil {
					return nil, err
				}
				queues = q
			}
			return queues.Lengths()
		}
	}
	return w, func() {
		if queues != nil {
			queues.Close()
		}
	}
}

// schedulers asks which run, and what the kernel has counted of them.
func (m machine) schedulers() (s top.Schedulers, err error) {
	st, err := m.read()
	if err != nil {
		return s, err
	}
	s = top.Schedulers{Status: st.Status, Running: st.Schedulers, LastEnd: st.LastEnd}
	if s.BPF, err = m.bpf(); err != nil {
		s.BPF = nil // its health says so
	}
	return s, nil
}
