// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/command/cli"
	"plugsched/internal/operate/boot"
)

func newGuard(m machine) *cobra.Command {
	var reset, asJSON bool
	var release string
	c := &cobra.Command{
		Use:   "guard [NAME]",
		Short: "Say whether a package's scheduler is kept from being loaded, or allow it again",
		Long: `A package's scheduler that was loaded and not confirmed, because the machine went
down or the scheduler was rolled back, is not loaded again. Guard says so and why;
with --reset it may be loaded again, at the next boot or with systemctl start.

Without NAME the selected scheduler is meant, or the only one that is installed.`,
		Example: "  plugsched guard\n  plugsched guard --reset fast",
		Args:    cli.Args(0, 1),
		RunE: func(c *cobra.Command, a []string) error {
			if release == "" {
				var err error
				if release, err = m.Release(); err != nil {
					return err
				}
			}
			p, err := m.guarded(release, a)
			if err != nil {
				return err
			}
			g, err := boot.ReadGuard(filepath.Join("/", m.Root), p)
			if reset {
				return resetGuard(c, g, err)
			}
			if err != nil {
				return err
			}
			return m.showGuard(c, g, asJSON)
		},
	}
	c.Flags().BoolVar(&reset, "reset", false, "forget what went wrong")
	c.Flags().Var(cli.Release{To: &release}, "release", "the kernel (default: the running one)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// guarded returns the package whose guard is meant. One that was removed may have left it behind.
func (m machine) guarded(release string, args []string) (*installed.Package, error) {
	all, bad := installed.Usable(m.Root, release)
	name := ""
	if len(args) > 0 {
		name = args[0]
	} else if now, err := m.selectedFor(release); err != nil {
		return nil, err
	} else {
		name = now
	}
	p := installed.Find(all, name)
	switch {
	case p != nil:
	case len(args) > 0:
		for _, kernels := range []string{release, installed.AnyKernel} {
			p = &installed.Package{Name: installed.PackageName(name, kernels), Scheduler: name, Release: release}
			if _, err := os.Stat(filepath.Join("/", m.Root, installed.GuardFile(p.Name))); !errors.Is(err, fs.ErrNotExist) {
				return p, nil
			}
		}
		return nil, noScheduler(all, name, release, bad)
	case len(all) == 1:
		p = all[0]
	case len(all) == 0 && bad == nil:
		p = &installed.Package{Release: release} // nothing is kept back
	default:
		return nil, noScheduler(all, "", release, bad)
	}
	return p, nil
}

func resetGuard(c *cobra.Command, g *boot.Guard, err error) error {
	var damaged *boot.GuardError
	if err != nil && !errors.As(err, &damaged) {
		return err
	}
	was, err := g.Reset()
	if err != nil {
		return err
	}
	if was {
		fmt.Fprintln(c.OutOrStdout(), "reset: the scheduler may be loaded again")
	} else {
		fmt.Fprintln(c.OutOrStdout(), "there is nothing to reset")
	}
	return nil
}

func (m machine) showGuard(c *cobra.Command, g *boot.Guard, asJSON bool) error {
	if asJSON {
		return cli.PrintJSON(c.OutOrStdout(), g)
	}
	id, err := boot.ThisBoot(m.Host)
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	if g.Confirmed != nil {
		fmt.Fprintf(out, "confirmed:  %s\n", g.Confirmed)
	}
	switch a := g.Attempt; {
	case a == nil:
		fmt.Fprintln(out, "not tripped: nothing is kept from being loaded")
	default:
		if why := g.Tripped(a.Module, id); why != "" {
			fmt.Fprintf(out, "tripped:    %s\n", why)
		} else {
			fmt.Fprintf(out, "begun:      %s, in this boot\n", a)
		}
	}
	return nil
}
