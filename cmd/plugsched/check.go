// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/command/version"
	"plugsched/internal/develop/project"
	"plugsched/internal/outcome"
)

func newCheck() *cobra.Command {
	var patches []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check [--patch FILE]... [--json] WORKDIR",
		Short: "Say what build would refuse, and make nothing",
		Long: `Check compiles what an edit reaches and looks for what build would refuse, but links
no module and makes no package. Errors and warnings are printed as compilers print theirs,
with file, line and column, or with --json for programs that show them in an editor. It
exits with 6 when there is an error, as build does.`,
		Example: `  plugsched check work
  plugsched check --json work | jq -r '.diagnostics[] | "\(.file):\(.line): \(.message)"'`,
		Args: cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			if slices.Contains(patches, "") {
				return cli.Usagef("--patch is empty; see `%s --help`", c.CommandPath())
			}
			p, err := project.Open(a[0])
			if err != nil {
				return err
			}
			p.Tool = version.String()
			out := newProgress(c.ErrOrStderr())
			defer out.finish()
			p.Progress = out.stage
			var v *project.Checked
			if len(patches) > 0 {
				v, err = p.CheckPatched(c.Context(), patches)
			} else {
				v, err = p.Check(c.Context())
			}
			out.finish()
			if err != nil {
				return err
			}
			return answer(c, asJSON, v, printVerdict, v.OK, outcome.Refused)
		},
	}
	c.Flags().StringArrayVar(&patches, "patch", nil, "apply this patch first, to a copy of the tree")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// answer prints what a command has found, as JSON or for people. If it is a no, the exit code says
// so, and nothing else does.
func answer[T any](c *cobra.Command, asJSON bool, found T, printText func(io.Writer, T), yes bool, no outcome.Outcome) (err error) {
	if asJSON {
		err = cli.PrintJSON(c.OutOrStdout(), found)
	} else {
		printText(c.OutOrStdout(), found)
	}
	if err == nil && !yes {
		err = &cli.QuietError{Means: no}
	}
	return err
}

func printVerdict(w io.Writer, v *project.Checked) {
	for _, d := range v.Diagnostics {
		fmt.Fprintln(w, d)
	}
	if v.OK {
		fmt.Fprintf(w, "%s: can be built: %d changed, %d added, %d removed\n", v.Directory, len(v.Changed), len(v.Added), len(v.Removed))
	}
}
