// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"github.com/spf13/cobra"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/project"
)

func newBoundary() *cobra.Command {
	c := &cobra.Command{
		Use:   "boundary",
		Short: "Show, explain and compare what moves into the module",
		Long: `The boundary divides the scheduler's functions and variables into what moves into
the module and what stays in the kernel. It is derived from the kernel's image, and
overridden in WORKDIR/plugsched.yaml.`,
		Example: "  plugsched boundary show\n  plugsched boundary why __schedule",
	}
	c.AddCommand(newBoundaryShow(), newBoundaryWhy(), newBoundaryDiff(), newBoundaryStructs(), newBoundaryReport())
	return c
}

// openBoundary reads the boundary of a working directory.
func openBoundary(dir string) (*boundary.Boundary, error) {
	p, err := project.OpenAnalysed(dir)
	if err != nil {
		return nil, err
	}
	return p.Boundary()
}

func dirFlag(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "dir", ".", "the working directory")
}
