// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/command/cli"
	"plugsched/internal/operate/boot"
	"plugsched/internal/operate/live"
)

func newSwitch(m machine) *cobra.Command {
	var none bool
	var release string
	times := trialAtInstall
	c := &cobra.Command{
		Use:   "switch NAME",
		Short: "Select one of the installed packages' schedulers, now and for each boot",
		Long: `Switch makes the scheduler of an installed package the running one, in one step from
whichever package's runs, and the one that is loaded at boot. It is on trial first, as when
a package is installed. If that fails, the scheduler before runs and stays selected.

With --none the kernel gets its own scheduler back, and nothing is loaded at boot;
uninstall does that until the next boot only. With --release of a kernel that does
not run, only what is loaded when it is booted changes.`,
		Example: "  plugsched list\n  plugsched switch fast\n  plugsched switch --none",
		Args: func(c *cobra.Command, a []string) error {
			switch {
			case none && len(a) > 0:
				return cli.Usagef("--none and NAME exclude each other; usage: %s", c.UseLine())
			case none:
				return nil
			}
			return cli.Args(1, 1)(c, a)
		},
		RunE: func(c *cobra.Command, a []string) (err error) {
			if err := times.check(); err != nil {
				return err
			}
			if release == "" {
				if release, err = m.Release(); err != nil {
					return err
				}
			}
			if none {
				return m.switchOff(c, release, times)
			}
			all, bad := installed.Usable(m.Root, release)
			p := installed.Find(all, a[0])
			if p == nil {
				return noScheduler(all, a[0], release, bad)
			}
			return m.switchTo(c, p, times)
		},
	}
	times.flags(c)
	c.Flags().BoolVar(&none, "none", false, "select none: the kernel's own scheduler, now and at boot")
	c.Flags().Var(cli.Release{To: &release}, "release", "the kernel (default: the running one)")
	return c
}

// noScheduler says that there is no package of a name, "" is one that was not named, and which there are.
func noScheduler(all []*installed.Package, name, release string, bad error) error {
	var names []string
	for _, p := range all {
		names = append(names, p.Scheduler)
	}
	text := "no scheduler is installed as a package for the kernel " + release
	switch there := strings.Join(names, ", "); {
	case len(names) == 0:
	case name == "":
		text = fmt.Sprintf("no scheduler is selected for the kernel %s: name one, there are %s", release, there)
	default:
		text = fmt.Sprintf("no scheduler %s is installed as a package for the kernel %s: there are %s", name, release, there)
	}
	return &live.PreconditionError{Err: errors.Join(errors.New(text), bad)}
}

func (m machine) switchTo(c *cobra.Command, p *installed.Package, times trial) error {
	r, err := m.newRunner(c, p.Dir, times)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return &live.PreconditionError{Err: errors.New("switching schedulers needs root")}
	}
	before, _ := installed.Selected(m.Root, p.Kernels()) // a link that leads elsewhere is replaced
	why, err := m.elsewhere(r)
	if err != nil {
		return err
	}
	words := fmt.Sprintf("%s is selected for later: %s", p, why)
	if why != "" {
		err = r.SelectLater(c.Context())
	} else {
		r.Select = true
		words, err = m.adopt("switch", c.Context(), r)
	}
	if err != nil {
		if before != "" {
			err = fmt.Errorf("%w\n%s stays selected", err, before)
		}
		return fmt.Errorf("not switched to %s: %w", p, err)
	}
	fmt.Fprintln(c.OutOrStdout(), words)
	if err := writeUnit(p); err != nil {
		return err
	}
	if err := enable(p, before == "", why == ""); err != nil {
		return err
	}
	if hasSystemctl() && !m.enabled(installed.Unit(p.Kernels())) {
		fmt.Fprintf(c.OutOrStdout(), "nothing is loaded at boot: %s is not enabled\n", installed.Unit(p.Kernels()))
	}
	return nil
}

// switchOff selects no scheduler: no module for a kernel, and none in BPF.
func (m machine) switchOff(c *cobra.Command, release string, times trial) error {
	all, bad := installed.Usable(m.Root, release)
	done := false
	for _, kernels := range []string{release, installed.AnyKernel} {
		name, err := m.selected(kernels)
		if err != nil {
			return err
		}
		here, _ := installed.ForKernel(m.Root, kernels)
		p := installed.Find(here, name)
		if p == nil && len(here) > 0 {
			p = here[0] // none is selected, but one may run
		}
		if p == nil {
			continue
		}
		done = true
		if err := m.unselect(c, p, name, times); err != nil {
			return err
		}
	}
	if !done {
		return noScheduler(all, "", release, bad)
	}
	return nil
}

// unselect has the kernel's own scheduler run instead of packages of p's sort, and none of them loaded at boot. Name is the selected one.
func (m machine) unselect(c *cobra.Command, p *installed.Package, name string, times trial) error {
	r, err := m.newRunner(c, p.Dir, times)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return &live.PreconditionError{Err: errors.New("switching schedulers needs root")}
	}
	why, err := boot.Elsewhere(m.Host, p)
	if err != nil {
		return err
	}
	if why == "" {
		if err := leave(c, r); err != nil {
			return fmt.Errorf("%s stays selected: %w", p, err)
		}
	}
	kernels := "the kernel " + p.Release
	if p.BPF != nil {
		kernels = "BPF"
	}
	if name == "" {
		fmt.Fprintf(c.OutOrStdout(), "no scheduler was selected for %s\n", kernels)
		return nil
	}
	if err := disable(installed.Unit(p.Kernels())); err != nil {
		return err
	}
	if err := r.Unselect(c.Context()); err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "no scheduler is selected for %s any more: none is loaded at boot\n", kernels)
	return nil
}
