// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/command/cli"
	"plugsched/internal/operate/live"
)

// listed is an installed package and what becomes of its scheduler.
type listed struct {
	*installed.Package
	Kernel   bool   `json:"kernel_runs"` // that it is for
	Runs     bool   `json:"runs"`
	Selected bool   `json:"selected"` // among those for its kernel
	Enabled  bool   `json:"enabled"`  // it is selected, and so is loaded at boot, by the kernel's unit
	Guard    string `json:"guard,omitempty"`
}

// packages is what list prints for programs.
type packages struct {
	Packages []listed `json:"packages"`
}

func newList(m machine) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the schedulers that are installed as packages, by kernel",
		Long: `List shows the scheduler packages of this machine, and of each: whether its
scheduler runs, whether it is the one that is selected for its kernel, whether it is
loaded at boot (the kernel's systemd unit is enabled), and what the boot guard has
against it. Switch selects another.`,
		Example: "  plugsched list\n  plugsched list --json | jq -r '.packages[] | select(.runs) | .name'",
		Args:    cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			list, err := m.list()
			if err != nil {
				fmt.Fprintln(c.ErrOrStderr(), "warning:", err)
			}
			if asJSON {
				return cli.PrintJSON(c.OutOrStdout(), packages{list})
			}
			if len(list) == 0 {
				fmt.Fprintln(c.OutOrStdout(), "no scheduler package is installed")
				return nil
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "KERNEL\tNAME\tPACKAGE\tVERSION\tMODULE\tRUNS\tAT BOOT")
			for _, p := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Release, p.Scheduler, p.Name, p.Version, p.Module, p.runs(), p.atBoot())
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// list returns the packages that can be read; the error is about the others.
func (m machine) list() ([]listed, error) {
	packages, bad := installed.List(m.Root)
	s, err := m.Read()
	if err != nil {
		return nil, err
	}
	return m.listed(packages, s), bad
}

// listed says what becomes of packages' schedulers.
func (m machine) listed(packages []*installed.Package, s *live.Status) []listed {
	out := []listed{}
	for _, p := range packages {
		now, _ := installed.Selected(m.Root, p.Release) // a link that leads elsewhere selects nothing
		l := listed{Package: p, Kernel: p.Release == s.Release, Selected: now == p.Scheduler, Guard: m.guard(p)}
		l.Runs = l.Kernel && s.Active && s.Name == p.Module
		l.Enabled = l.Selected && m.enabled(installed.Unit(p.Release))
		out = append(out, l)
	}
	return out
}

// enabled reports whether something wants a systemd unit (systemctl enable makes links).
func (m machine) enabled(unit string) bool {
	links, _ := filepath.Glob(filepath.Join(m.Root, "/etc/systemd/system/*.wants", unit))
	return len(links) > 0
}

func (l *listed) runs() string {
	switch {
	case l.Runs:
		return "yes"
	case l.Kernel:
		return "no"
	}
	return "another kernel runs"
}

func (l *listed) atBoot() string {
	switch {
	case !l.Selected:
		return "no"
	case !l.Enabled:
		return "selected, but " + installed.Unit(l.Release) + " is not enabled"
	case l.Guard != "":
		return "kept back: " + l.Guard
	}
	return "yes"
}
