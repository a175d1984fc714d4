// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"plugsched/internal/version"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "plugsched",
		Short:         "Live-update the scheduler of a running, stock Linux kernel",
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, a []string) error {
			if len(a) > 0 {
				return &usageError{fmt.Errorf("unknown command %q; see `plugsched --help`", a[0])}
			}
			return c.Help()
		},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
	})
	root.AddCommand(newInit(), newBoundary(), newBuild(), newInstall(), newTry(), newConfirm(), newUninstall(), newStatus(), newVM())
	return root
}

// args checks the number of arguments and names them in the complaint.
func args(min, max int) cobra.PositionalArgs {
	return func(c *cobra.Command, a []string) error {
		if len(a) < min || max >= 0 && len(a) > max {
			return &usageError{fmt.Errorf("usage: %s", c.UseLine())}
		}
		return nil
	}
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
