// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/operate/live"
)

func newTry(m machine) *cobra.Command {
	var o live.InstallOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "try MODULE",
		Short: "Install a scheduler that rolls back unless it is confirmed",
		Long: `Try installs a module's scheduler for a time. If ` + "`plugsched confirm`" + ` does not come
within it, the kernel rolls back to the scheduler before, by itself: that does not
depend on this program, on the terminal or on the connection.`,
		Example: "  plugsched try --for 5m scheduler.ko && ./benchmark && plugsched confirm",
		Args:    cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			return m.installFile(c, a[0], o, asJSON)
		},
	}
	c.Flags().Var(cli.Duration(&o.Trial, time.Minute, time.Second, 24*time.Hour), "for", "how long, from 1s to 24h")
	installFlags(c, &o)
	updateFlags(c, &o.Tries, &asJSON)
	return c
}

func newConfirm(m machine) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "confirm",
		Short: "Keep the scheduler that is on trial",
		Long: `Confirm ends the trial that ` + "`plugsched try` or `plugsched scx try`" + ` began: the scheduler stays,
and what it would have rolled back to is unloaded. The watchdog goes on watching.`,
		Example: "  plugsched confirm",
		Args:    cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			name, err := m.bpfToConfirm()
			if err != nil {
				return err
			}
			if name != "" {
				if err := m.confirmBPF(c, name); err != nil {
					return err
				}
				return m.show(c.OutOrStdout(), asJSON)
			}
			s, err := update("confirm", "", nil, func() (*live.Status, error) { return m.Confirm(c.Context(), say(c.ErrOrStderr())) })
			if err != nil {
				return err
			}
			return show(c.OutOrStdout(), s, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
