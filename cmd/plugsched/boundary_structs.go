// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/develop/project"
	"plugsched/internal/kernel/image"
)

func newBoundaryStructs() *cobra.Command {
	var dir string
	var asJSON, all bool
	c := &cobra.Command{
		Use:   "structs [NAME] [--dir WORKDIR]",
		Short: "Say which structures, and which members, only the scheduler uses",
		Long: `Structs lists the structures that the scheduler uses, or the members of one, with
who else uses them. The first time it reads the kernel's debug information.

  scheduler   no instruction outside of the scheduler can be one that uses it
  others      functions outside use it, by way of a pointer of that type
  perhaps     functions that know the structure use memory at that distance from
              some register; at what that points, debug information does not say
  nobody      no instruction at all can be one that uses it

Not seen are modules, BPF programs, assembly, copies of whole structures and
computed addresses: "scheduler" is a finding about the kernel's image, no proof.
What may be changed, build decides.`,
		Example: `  plugsched boundary structs --dir work
  plugsched boundary structs --dir work task_struct`,
		Args: cli.Args(0, 1),
		RunE: func(c *cobra.Command, a []string) error {
			p, err := project.OpenAnalysed(dir)
			if err != nil {
				return err
			}
			out := newProgress(c.ErrOrStderr())
			p.Progress = func(e project.Event) {
				if !e.Skipped {
					out.stage(e)
				}
			}
			list, err := p.Structs(c.Context())
			out.finish()
			if err != nil {
				return err
			}
			if len(a) == 1 {
				if list = named(list, a[0]); len(list) == 0 {
					return project.Errorf("%s: the scheduler uses no structure of that name", a[0])
				}
			}
			switch {
			case asJSON:
				return cli.PrintJSON(c.OutOrStdout(), structures{list})
			case len(a) == 1:
				showMembers(c.OutOrStdout(), list[0], all)
			default:
				showStructs(c.OutOrStdout(), list)
			}
			return nil
		},
	}
	dirFlag(c, &dir)
	c.Flags().BoolVar(&all, "all", false, "do not shorten lists")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// structures is what structs prints for programs.
type structures struct {
	Structures []*image.Structure `json:"structures"`
}

func named(list []*image.Structure, name string) []*image.Structure {
	for _, s := range list {
		if s.Name == name || s.Name == "struct "+name {
			return []*image.Structure{s}
		}
	}
	return nil
}

func showStructs(w io.Writer, list []*image.Structure) {
	fmt.Fprintf(w, "%-32s %6s %8s %10s %7s %7s %7s  %s\n", "", "bytes", "members", "scheduler", "others", "perhaps", "nobody",
		"other units that know it")
	for _, s := range list {
		n := map[string]int{}
		members := 0
		for i, u := range s.Uses {
			if s.Members[i].Name != "" {
				members++
				n[u.By()]++
			}
		}
		fmt.Fprintf(w, "%-32s %6d %8d %10d %7d %7d %7d  %d\n", s.Name, s.Size, members, n[image.ByScheduler], n[image.ByOthers],
			n[image.ByPerhaps], n[image.ByNobody], len(s.Units))
	}
}

func showMembers(w io.Writer, s *image.Structure, all bool) {
	fmt.Fprintf(w, "%s (%s:%d), %d bytes, ", s.Name, s.DeclFile, s.DeclLine, s.Size)
	if len(s.Units) == 0 {
		fmt.Fprintln(w, "the complete type known to the scheduler only")
	} else {
		fmt.Fprintf(w, "the complete type known to %d other units: %s\n", len(s.Units), shortened(s.Units, all))
	}
	for i, m := range s.Members {
		if m.Name == "" {
			continue
		}
		u := s.Uses[i]
		fmt.Fprintf(w, "%6d %-34s %-24s %-10s", m.Offset, m.Name, m.Type, u.By())
		switch u.By() {
		case image.ByOthers:
			fmt.Fprintf(w, " %s", shortened(u.Outside, all))
			if len(u.Writers) > 0 {
				fmt.Fprintf(w, "; written by %s", shortened(u.Writers, all))
			}
		case image.ByPerhaps:
			fmt.Fprintf(w, " in %d units: %s", u.PerhapsUnits, shortened(u.Perhaps, all))
		}
		fmt.Fprintln(w)
	}
}

// shortened joins names.
func shortened(names []string, all bool) string {
	const most = 3
	if n := len(names) - most; n > 0 && !all {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n)
	}
	return strings.Join(names, ", ")
}
