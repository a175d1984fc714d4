// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"github.com/spf13/cobra"

	"plugsched/internal/cli"
	"plugsched/internal/live"
)

func newUninstall() *cobra.Command {
	var o live.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Give the kernel its own scheduler back",
		Args:  cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			o.Progress = say(c.ErrOrStderr())
			s, err := update("uninstall", "", nil, func() (*live.Status, error) { return live.Uninstall(c.Context(), o) })
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
