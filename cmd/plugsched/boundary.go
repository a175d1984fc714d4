// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"plugsched/internal/boundary"
	"plugsched/internal/cli"
	"plugsched/internal/project"
)

func newBoundary() *cobra.Command {
	c := &cobra.Command{
		Use:   "boundary",
		Short: "Show and explain what moves into the module",
		Long: `The boundary divides the scheduler's functions and variables into what moves into
the module and what stays in the kernel. It is derived from the kernel's image, and
overridden in WORKDIR/plugsched.yaml.`,
		Example: "  plugsched boundary show\n  plugsched boundary why __schedule",
	}
	c.AddCommand(newBoundaryShow(), newBoundaryWhy())
	return c
}

// openBoundary reads the boundary of the working directory in --dir.
func openBoundary(dir string) (*boundary.Boundary, error) {
	p, err := project.OpenAnalysed(dir)
	if err != nil {
		return nil, err
	}
	return p.Boundary()
}

var classes = []boundary.Class{boundary.Interface, boundary.Callback, boundary.Internal, boundary.External, boundary.Init}

func newBoundaryShow() *cobra.Command {
	var dir, class string
	var asJSON bool
	c := &cobra.Command{
		Use:   "show [--class CLASS] [--dir WORKDIR]",
		Short: "List the classes and the functions in them",
		Long: `Show counts the functions of each class, or lists those of one: which are
redirected, which move along, and which stay in the kernel.`,
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
			return showBoundary(c.OutOrStdout(), b, boundary.Class(class))
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "the working directory")
	c.Flags().StringVar(&class, "class", "", "list the functions of one class: interface, callback, internal, external or init")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func showBoundary(w io.Writer, b *boundary.Boundary, class boundary.Class) error {
	if class == "" {
		n := b.Counts()
		for _, k := range classes {
			fmt.Fprintf(w, "%-10s %5d\n", k, n[k])
		}
		if b.Obstacle != "" {
			fmt.Fprintf(w, "no module can be built for this kernel: %s\n", b.Obstacle)
		}
		return nil
	}
	found := false
	for _, f := range b.Functions {
		if f.Class == class {
			found = true
			fmt.Fprintf(w, "%-44s %s:%d\n", f.Name, f.DeclFile, f.DeclLine)
		}
	}
	if !found {
		return cli.Usagef("no function is of class %q; classes: %v", class, classes)
	}
	return nil
}

func newBoundaryWhy() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "why NAME [--dir WORKDIR]",
		Short: "Say where a function or variable belongs, and the facts that put it there",
		Long: `Why names the class of a function or variable, and each fact from which that
follows: who calls it, what it calls, how the kernel's compiler treated it.`,
		Example: "  plugsched boundary why --dir work try_to_wake_up",
		Args:    cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			b, err := openBoundary(dir)
			if err != nil {
				return err
			}
			return explain(c.OutOrStdout(), b, a[0])
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "the working directory")
	return c
}

func explain(w io.Writer, b *boundary.Boundary, name string) error {
	functions, objects := b.Find(name), b.FindObject(name)
	for _, f := range functions {
		fmt.Fprintf(w, "%s (%s:%d) is %s\n", f.Name, f.DeclFile, f.DeclLine, describeClass(f.Class))
		for _, fact := range f.Facts {
			fmt.Fprintf(w, "  - %s\n", fact.Text)
		}
		if len(f.Inlines) > 0 {
			fmt.Fprintf(w, "  - scheduler functions inlined into it, which cannot be changed either: %v\n", f.Inlines)
		}
	}
	for _, o := range objects {
		fmt.Fprintf(w, "%s (%s:%d, %s, %d bytes) is %s\n  - %s\n", o.Name, o.DeclFile, o.DeclLine, o.Type, o.Size, o.Class, o.Why)
	}
	if len(functions)+len(objects) == 0 {
		return &project.Error{Text: fmt.Sprintf("%s: the kernel has no scheduler function or variable of that name; if the source does, the compiler inlined it everywhere: ask for its callers", name)}
	}
	return nil
}

func describeClass(c boundary.Class) string {
	switch c {
	case boundary.Interface, boundary.Callback:
		return string(c) + ": the kernel's is redirected to the module's"
	case boundary.Internal:
		return "internal: it moves, and is only reached from the module"
	case boundary.Init:
		return "init: it ran at boot"
	}
	return "external: it stays in the kernel and cannot be changed"
}
