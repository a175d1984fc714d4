// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/develop/boundary"
)

func newBoundaryDiff() *cobra.Command {
	var asJSON, all bool
	c := &cobra.Command{
		Use:   "diff WORKDIR WORKDIR",
		Short: "Compare the boundaries of two kernels, or of two configurations of one",
		Long: `Diff compares two working directories: how many functions are in each class, and
which functions and variables are in another one. Directories of init --analyze-only
will do.`,
		Example: "  plugsched boundary diff work-6.1 work-6.12",
		Args:    cli.Args(2, 2),
		RunE: func(c *cobra.Command, a []string) error {
			from, err := openBoundary(a[0])
			if err != nil {
				return err
			}
			to, err := openBoundary(a[1])
			if err != nil {
				return err
			}
			d := boundary.Compare(from, to)
			if asJSON {
				return cli.PrintJSON(c.OutOrStdout(), d)
			}
			printDiff(c.OutOrStdout(), from, to, d, all)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&all, "all", false, "list what only one of them has, too")
	return c
}

func printDiff(w io.Writer, from, to *boundary.Boundary, d *boundary.Diff, all bool) {
	fmt.Fprintf(w, "%-10s %25s %25s\n", "", from.Release, to.Release)
	a, b := from.Counts(), to.Counts()
	for _, k := range boundary.Classes {
		fmt.Fprintf(w, "%-10s %25d %25d\n", k, a[k], b[k])
	}
	section := func(title string, list []boundary.Change) {
		if len(list) == 0 {
			return
		}
		fmt.Fprintf(w, "\n%s: %d\n", title, len(list))
		for _, c := range list {
			switch {
			case !all && (c.From == absent || c.To == absent):
			case c.From != "" && c.To != "":
				fmt.Fprintf(w, "  %-40s %s -> %s: %s\n", c.Name, c.From, c.To, c.Why)
			case all:
				fmt.Fprintf(w, "  %-40s %s%s\n", c.Name, c.From, c.To)
			}
		}
	}
	section("functions of another class", d.Functions)
	section("functions that are inlined everywhere, or replaced, in one of them", d.Inlined)
	section("functions of "+from.Release+" only", d.Removed)
	section("functions of "+to.Release+" only", d.Added)
	section("variables of another class or type", d.Objects)
	section("variables of "+from.Release+" only", d.RemovedObjects)
	section("variables of "+to.Release+" only", d.AddedObjects)
}
