// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"plugsched/internal/project"
)

func newBuild() *cobra.Command {
	return &cobra.Command{
		Use:   "build WORKDIR",
		Short: "Build the changed scheduler into a module",
		Long: `Build compiles the scheduler in WORKDIR, applies the boundary, and makes
WORKDIR/scheduler.ko with its description scheduler.yaml. A change that could not
take effect is refused: the message names it, says why, and what to do.`,
		Args: args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			p, err := project.Open(a[0])
			if err != nil {
				return err
			}
			out := newProgress(c.ErrOrStderr())
			defer out.finish()
			p.Progress = out.stage
			d, err := p.Build(c.Context())
			out.finish()
			if err != nil {
				return err
			}
			for _, w := range d.Warnings {
				fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
			}
			fmt.Fprintln(c.OutOrStdout(), p.Module())
			return nil
		},
	}
}
