// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/command/cli"
	"plugsched/internal/develop/moddiff"
	"plugsched/internal/develop/module"
)

func newDiff() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "diff [--json] OLD NEW",
		Short: "Say what differs between two scheduler modules",
		Long: `Diff compares two modules: functions by their code, in which addresses are names, so
that nothing differs because it lies elsewhere; variables by size and initial contents;
which functions are redirected, features, what is set on taking over, and warnings.
Structures are compared when each module has its debug information beside it, as build
leaves it. OLD and NEW are modules, or directories with one: a working directory, or
/usr/lib/plugsched/RELEASE/NAME of a package. It exits with 0 whether they differ or not.`,
		Example: `  plugsched diff released.ko work
  plugsched diff --json old.ko new.ko | jq -e .same`,
		Args: cli.Args(2, 2),
		RunE: func(c *cobra.Command, a []string) error {
			var sides [2]*moddiff.Module
			for i, path := range a {
				if st, err := os.Stat(path); err == nil && st.IsDir() {
					path = filepath.Join(path, installed.Module)
				}
				m, err := moddiff.Open(path)
				if err != nil {
					return err
				}
				sides[i] = m
			}
			d, err := moddiff.Compare(sides[0], sides[1])
			if err != nil {
				return err
			}
			if asJSON {
				return cli.PrintJSON(c.OutOrStdout(), d)
			}
			printComparison(c.OutOrStdout(), d)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printComparison(w io.Writer, c *moddiff.Comparison) {
	for _, side := range []struct {
		name string
		of   moddiff.Compared
	}{{"old", c.Old}, {"new", c.New}} {
		fmt.Fprintf(w, "%s: %s: %s for %s, commit %s, by plugsched %s\n", side.name, side.of.Path, side.of.Name, side.of.Release,
			cmp.Or(side.of.Commit, "unknown"), side.of.Tool)
	}
	if c.Same {
		fmt.Fprintln(w, "nothing differs")
	}
	for _, part := range []struct {
		title string
		delta *moddiff.Delta
	}{
		{"functions", &c.Functions}, {"variables", &c.Variables}, {"structures", &c.Structures}, {"redirected", &c.Redirected},
		{"sidecars", &c.Sidecars}, {"features", &c.Features}, {"set on taking over", &c.Settings}, {"warnings", &c.Warnings},
		{"plugsched's own", &c.Runtime},
	} {
		d := part.delta
		if d.Empty() {
			continue
		}
		fmt.Fprintf(w, "\n%s: %d changed, %d added, %d removed\n", part.title, len(d.Changed), len(d.Added), len(d.Removed))
		for _, group := range []struct {
			mark  string
			names []string
		}{{"~", d.Changed}, {"+", d.Added}, {"-", d.Removed}} {
			for _, name := range group.names {
				fmt.Fprintf(w, "  %s %s\n", group.mark, name)
			}
		}
	}
	if !c.Layouts {
		fmt.Fprintf(w, "\nstructures were not compared: not both have MODULE%s beside them\n", module.DebugSuffix)
	}
}
