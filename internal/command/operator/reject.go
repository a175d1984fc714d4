// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"errors"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/operate/live"
)

func newReject(m machine) *cobra.Command {
	var reason string
	var asJSON bool
	c := &cobra.Command{
		Use:   "reject",
		Short: "Roll back from the scheduler that is on trial, now",
		Long: `Reject ends a trial as its time would: the scheduler before runs again, which after
` + "`try --replace`" + ` is the module before, and the rejected module is unloaded. After
` + "`scx try`" + ` the kernel's own runs again.`,
		Example: "  plugsched reject --reason 'latency doubled'",
		Args:    cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			name, err := m.bpfOnTrial()
			if err != nil {
				return err
			}
			if name != "" {
				if err := m.rejectBPF(c, name, reason); err != nil {
					return err
				}
				return m.show(c.OutOrStdout(), asJSON)
			}
			before, err := m.Read()
			if err != nil {
				return err
			}
			if !before.Active || before.TrialLeft == 0 {
				return &live.PreconditionError{Err: errors.New("there is nothing to reject: no scheduler is on trial")}
			}
			s, err := update("reject", before.Name, nil, func() (*live.Status, error) {
				return m.Rollback(c.Context(), before.Name, reason, say(c.ErrOrStderr()))
			})
			if err != nil {
				return err
			}
			return show(c.OutOrStdout(), s, asJSON)
		},
	}
	c.Flags().StringVar(&reason, "reason", "rejected", "what the kernel's log says about it")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
