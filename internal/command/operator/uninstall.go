// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/operate/live"
)

func newUninstall(m machine) *cobra.Command {
	var o live.UninstallOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Give the kernel its own scheduler back",
		Long: `Uninstall switches the kernel back to its own scheduler and unloads the module. Either
all of it happens or nothing does. Then the kernel is searched for whatever could
still lead to the module: function heads, data, armed timers, stacks.`,
		Example: "  plugsched uninstall\n  plugsched uninstall --verify=false",
		Args:    cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			o.Progress = say(c.ErrOrStderr())
			s, err := update("uninstall", "", nil, func() (*live.Status, error) { return m.Uninstall(c.Context(), o) })
			if err != nil {
				return err
			}
			return show(c.OutOrStdout(), s, asJSON)
		},
	}
	c.Flags().BoolVar(&o.Force, "force", false, "also end what uses the scheduler, as agents of its own class")
	c.Flags().BoolVar(&o.Verify, "verify", true, "look through the kernel for references to the module once it is gone")
	updateFlags(c, &o.Tries, &asJSON)
	return c
}
