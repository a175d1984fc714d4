// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/develop/boundary/report"
)

func newBoundaryReport() *cobra.Command {
	var dir, out string
	c := &cobra.Command{
		Use:   "report [--output FILE] [--dir WORKDIR]",
		Short: "Write the boundary as one HTML page, to search and browse offline",
		Long: `Report writes a page with all functions and variables, their classes and reasons,
and for each a picture of who calls it and what it calls. It needs a browser and
nothing else; boundary.html#f=NAME opens it at a function.`,
		Example: "  plugsched boundary report --dir work --output boundary.html",
		Args:    cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			b, err := openBoundary(dir)
			if err != nil {
				return err
			}
			var page bytes.Buffer
			if err := report.Write(&page, b); err != nil {
				return err
			}
			if out == "-" {
				_, err := page.WriteTo(c.OutOrStdout())
				return err
			}
			if err := cli.WriteFile("output", out, page.Bytes()); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: %d functions\n", out, len(b.Functions))
			return nil
		},
	}
	dirFlag(c, &dir)
	c.Flags().StringVarP(&out, "output", "o", "boundary.html", "the file to write; - is standard output")
	return c
}
