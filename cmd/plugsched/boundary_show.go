// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/develop/boundary"
)

func newBoundaryShow() *cobra.Command {
	var dir, class string
	var asJSON bool
	c := &cobra.Command{
		Use:   "show [--class CLASS] [--dir WORKDIR]",
		Short: "Count the classes, or list the functions or variables of one",
		Long: `Show counts the functions of each class, or lists those of one: which are
redirected, which move along, and which stay in the kernel. Absent ones have no code
of their own: the compiler inlined them, or another definition replaced them.`,
		Example: `  plugsched boundary show --dir work
  plugsched boundary show --class interface --json`,
		Args: cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			b, err := openBoundary(dir)
			if err != nil {
				return err
			}
			if asJSON {
				return cli.PrintJSON(c.OutOrStdout(), b)
			}
			if class == "" {
				showCounts(c.OutOrStdout(), b)
				return nil
			}
			return showClass(c.OutOrStdout(), b, class)
		},
	}
	dirFlag(c, &dir)
	c.Flags().StringVar(&class, "class", "", "list one class: of functions interface, callback, internal, external, init, absent or sidecar; of variables shared, private or table")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func showCounts(w io.Writer, b *boundary.Boundary) {
	n := b.Counts()
	for _, k := range boundary.Classes {
		fmt.Fprintf(w, "%-10s %5d\n", k, n[k])
	}
	fmt.Fprintf(w, "%-10s %5d\n", absent, len(b.Absent))
	if n := len(b.Sidecar()); n > 0 {
		fmt.Fprintf(w, "%-10s %5d (of those that move)\n", sidecar, n)
	}
	if b.Obstacle != "" {
		fmt.Fprintf(w, "no module can be built for this kernel: %s\n", b.Obstacle)
	}
}

// Lists of functions like those of a class: without a symbol; and those that the
// project names under sidecar, which have a class too.
const absent, sidecar = "absent", "sidecar"

func showClass(w io.Writer, b *boundary.Boundary, class string) error {
	if !slices.Contains(boundary.Classes, boundary.Class(class)) && !slices.Contains(boundary.ObjectClasses, boundary.ObjectClass(class)) && class != absent && class != sidecar {
		return cli.Usagef("no class is called %q; classes: %v %v %v", class, boundary.Classes, []string{absent, sidecar}, boundary.ObjectClasses)
	}
	line := func(name, file string, line int) { fmt.Fprintf(w, "%-44s %s:%d\n", name, file, line) }
	for _, f := range b.Functions {
		if string(f.Class) == class || f.Sidecar && class == sidecar {
			line(f.Name, f.DeclFile, f.DeclLine)
		}
	}
	for _, o := range b.Objects {
		if string(o.Class) == class {
			line(o.Name, o.DeclFile, o.DeclLine)
		}
	}
	if class == absent {
		for _, x := range b.Absent {
			line(x.Name, x.DeclFile, x.DeclLine)
		}
	}
	return nil
}
