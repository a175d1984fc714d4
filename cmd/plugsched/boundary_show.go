// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

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
			if err := checkClass(class); err != nil {
				return err
			}
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
			showClass(c.OutOrStdout(), b, class)
			return nil
		},
	}
	dirFlag(c, &dir)
	c.Flags().StringVar(&class, "class", "", "list one class: of functions interface, callback, internal, external, init, absent or sidecar; "+
		"of variables shared, private or table")
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

// checkClass refuses what is no class; "" is all of them.
func checkClass(class string) error {
	functions, objects := []string{}, []string{}
	for _, c := range boundary.Classes {
		functions = append(functions, string(c))
	}
	functions = append(functions, absent, sidecar)
	for _, c := range boundary.ObjectClasses {
		objects = append(objects, string(c))
	}
	if class == "" || slices.Contains(functions, class) || slices.Contains(objects, class) {
		return nil
	}
	return cli.Usagef("--class %s: there is no such class: functions are %s; variables are %s",
		class, strings.Join(functions, ", "), strings.Join(objects, ", "))
}

func showClass(w io.Writer, b *boundary.Boundary, class string) {
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
}
