// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/scx"
)

func newSCXBalance() *cobra.Command {
	var every time.Duration
	c := &cobra.Command{
		Use:   "balance",
		Short: "Spread tasks of the BPF scheduler hybrid over domains of CPUs",
		Long: `Balance is the half of the scheduler hybrid that is a process: it looks at what each task wanted,
and moves tasks between domains, CPUs that share a cache, so that each has as much to do as it
has CPUs for. It prints a line whenever it does, until it is interrupted, or the scheduler ends,
which is an error. Without it tasks stay where they are, and all goes on.`,
		Example: "  plugsched scx load hybrid\n  plugsched scx balance --interval 500ms",
		Args:    cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			b, err := scx.OpenBalancer(c.Context())
			if err != nil {
				return err
			}
			defer b.Close()
			return interrupted(c.Context(), balance(c.Context(), c.OutOrStdout(), every, b.Name(), b.Balance))
		},
	}
	c.Flags().Var(cli.Duration(&every, time.Second, 10*time.Millisecond, time.Minute), "interval",
		"how long it looks before it moves, from 10ms to 1m")
	return c
}

// balance says what was done, at first and when something was.
func balance(ctx context.Context, w io.Writer, every time.Duration, name string, once func() (*scx.Round, error)) error {
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
		r, err := once()
		if err != nil {
			return err
		}
		if !first && r.Wished == 0 {
			continue
		}
		var list []string
		for i, d := range r.Domains {
			list = append(list, fmt.Sprintf("domain %d (%d CPUs): %d tasks want %.1f CPUs", i, d.CPUs, d.Tasks, d.Wants))
		}
		_, err = fmt.Fprintf(w, "%s: %s; %d are to move; since the last look %d were, and %d taken by idle CPUs\n",
			name, strings.Join(list, ", "), r.Wished, r.Moved, r.Stolen)
		if err != nil {
			return err
		}
	}
}
