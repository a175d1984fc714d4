// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/command/cli"
	"plugsched/internal/operate/boot"
	"plugsched/internal/operate/live"
	"plugsched/internal/operate/view"
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
	Packages   []listed         `json:"packages"`
	Schedulers []view.Candidate `json:"schedulers"`
}

func newList(m machine) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the schedulers that this machine has, whichever way they come",
		Long: `List shows the schedulers that this machine can run, or runs: modules and schedulers in BPF
of packages, those in BPF that are in this program, agents, and what runs and is of no package. Of each: the kernel that it
is for, its way (module, bpf, agent), its package, and whether it runs; of a package's
whether it is the one that is selected, whether it is loaded at boot (the systemd unit is
enabled), and what the boot guard has against it. Switch selects another.`,
		Example: "  plugsched list\n  plugsched list --json | jq -r '.schedulers[] | select(.runs) | .name'",
		Args:    cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			list, err := m.list()
			if err != nil {
				fmt.Fprintln(c.ErrOrStderr(), "warning:", err)
			}
			all, err := m.candidates(list)
			if err != nil {
				return err
			}
			if asJSON {
				return cli.PrintJSON(c.OutOrStdout(), packages{list, all})
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "KERNEL\tNAME\tWAY\tPACKAGE\tVERSION\tMODULE\tRUNS\tAT BOOT")
			for _, p := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", anyKernel(p.Release), p.Scheduler, wayOf(p.Package), p.Name, p.Version, p.Module,
					p.runs(), p.atBoot())
			}
			for _, s := range all {
				if s.From != view.FromPackage {
					fmt.Fprintf(w, "%s\t%s\t%s\t(%s)\t-\t-\t%s\tno\n", anyKernel(s.Kernel), s.Name, s.Way, s.From, m.running(&s))
				}
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// wayOf is how a package's scheduler comes into the kernel.
func wayOf(p *installed.Package) view.Way {
	if p.BPF != nil {
		return view.BPF
	}
	return view.Module
}

// anyKernel is the release of a kernel, or what those in BPF are for.
func anyKernel(release string) string {
	if release == "" {
		return "any"
	}
	return release
}

// running says whether a scheduler that is of no package runs, or why it could not.
func (m machine) running(s *view.Candidate) string {
	switch b, err := m.bpf(); {
	case s.Runs:
		return "yes"
	case s.Way == view.BPF && b == nil && err == nil:
		return "no, the kernel has no sched_ext"
	}
	return "no"
}

// candidates are the schedulers of packages, and all others that are here.
func (m machine) candidates(list []listed) ([]view.Candidate, error) {
	s, err := m.Read()
	if err != nil {
		return nil, err
	}
	st := &state{Status: s}
	if err := m.ways(st, nil); err != nil {
		return nil, err
	}
	all := []view.Candidate{}
	for _, p := range list {
		all = append(all, view.Candidate{Way: wayOf(p.Package), Name: p.Scheduler, From: view.FromPackage, Package: p.Name,
			Kernel: p.Release, Runs: p.Runs})
	}
	return append(all, view.Others(st.Schedulers, all, s.Release, m.Agents())...), nil
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
	b, _ := m.bpf() // what cannot be asked is not said to run
	for _, p := range packages {
		now, _ := installed.Selected(m.Root, p.Kernels()) // a link that leads elsewhere selects nothing
		l := listed{Package: p, Kernel: p.Release == s.Release, Selected: now == p.Scheduler, Guard: m.guard(p)}
		l.Runs = l.Kernel && s.Active && s.Name == p.Module
		if p.BPF != nil {
			l.Kernel, l.Runs = b != nil, boot.BPFRuns(b) == p.Module
		}
		l.Enabled = l.Selected && m.enabled(installed.Unit(p.Kernels()))
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
	case l.BPF != nil:
		return "no, the kernel has no sched_ext"
	}
	return "another kernel runs"
}

func (l *listed) atBoot() string {
	switch {
	case !l.Selected:
		return "no"
	case !l.Enabled:
		return "selected, but " + installed.Unit(l.Kernels()) + " is not enabled"
	case l.Guard != "":
		return "kept back: " + l.Guard
	}
	return "yes"
}
