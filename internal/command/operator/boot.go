// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/command/cli"
	"plugsched/internal/operate/boot"
	"plugsched/internal/operate/live"
)

// trial is how long a package's scheduler is on trial, and how long it is watched before
// it is confirmed.
type trial struct{ length, settle time.Duration }

var (
	trialAtBoot    = trial{2 * time.Minute, 20 * time.Second} // much else begins at the same time
	trialAtInstall = trial{time.Minute, 5 * time.Second}
)

// flags lets an administrator choose.
func (t *trial) flags(c *cobra.Command) {
	c.Flags().Var(cli.Duration(&t.length, t.length, time.Second, 24*time.Hour), "trial",
		"after how long the kernel rolls back unless the scheduler was confirmed, from 1s to 24h")
	c.Flags().Var(cli.Duration(&t.settle, t.settle, 0, 24*time.Hour), "settle",
		"for how long the machine is watched before the scheduler is confirmed")
}

func (t *trial) check() error {
	if t.settle >= t.length {
		return cli.Usagef("--trial %v --settle %v: a trial takes longer than the machine is watched", t.length, t.settle)
	}
	return nil
}

func newBoot(m machine) *cobra.Command {
	var stop bool
	times := trialAtBoot
	c := &cobra.Command{
		Use:    "boot DIR",
		Short:  "Make an installed package's scheduler the running one, as at boot",
		Hidden: true, // for the package's systemd unit
		Args:   cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			r, err := m.newRunner(c, a[0], times)
			if err != nil {
				return err
			}
			if stop {
				return leave(c, r)
			}
			words, err := m.loadAtBoot(c.Context(), r)
			if err != nil {
				boot.Notify("not loaded: " + err.Error())
				return fmt.Errorf("%s is not loaded: %w", r.Package, err)
			}
			boot.Notify(words)
			fmt.Fprintln(c.OutOrStdout(), words)
			return nil
		},
	}
	times.flags(c)
	c.Flags().BoolVar(&stop, "stop", false, "roll back to the kernel's own scheduler")
	return c
}

func (m machine) newRunner(c *cobra.Command, dir string, t trial) (*boot.Runner, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	dir, err := filepath.EvalSymlinks(dir) // the selection is one
	if err != nil {
		return nil, err
	}
	p, err := installed.Read(dir)
	if err != nil {
		return nil, err
	}
	var kernel boot.Kernel = m.Host
	if p.BPF != nil {
		kernel = boot.Sched{Host: m.Host, Package: p}
	}
	return &boot.Runner{Package: p, Kernel: kernel, Root: "/", Trial: t.length, Settle: t.settle, Say: say(c.ErrOrStderr())}, nil
}

// loadAtBoot makes the scheduler the running one at boot, and says in words what was done.
func (m machine) loadAtBoot(ctx context.Context, r *boot.Runner) (string, error) {
	if boot.Disabled(m.Host) {
		return fmt.Sprintf("%s is not loaded: %s is on the kernel command line", r.Package, boot.Disable), nil
	}
	why, err := boot.Elsewhere(m.Host, r.Package)
	if err != nil {
		return "", err
	}
	switch {
	case why != "" && r.Package.BPF != nil:
		return fmt.Sprintf("%s is not loaded: %s", r.Package, why), nil // its unit is every kernel's
	case why != "":
		return "", &live.PreconditionError{Err: errors.New(why)}
	}
	return m.adopt("boot", ctx, r)
}

// adopt makes the scheduler the running one, and says in words what runs now.
func (m machine) adopt(action string, ctx context.Context, r *boot.Runner) (string, error) {
	var err error
	if r.BootID, err = boot.ThisBoot(m.Host); err != nil {
		return "", err
	}
	s, err := update(action, r.Package.Module, r.Package, func() (*live.Status, error) { return r.Adopt(ctx) })
	if err != nil {
		return "", err
	}
	words := fmt.Sprintf("%s is the running scheduler (%s)", r.Package, s.Name)
	if t := s.Timings; t != nil {
		words += fmt.Sprintf("; all CPUs stood still for %v", time.Duration(t.StopMachine).Round(time.Microsecond))
	}
	return words, nil
}

// leave rolls back to the kernel's own scheduler, if a package's runs.
func leave(c *cobra.Command, r *boot.Runner) error {
	s, err := update("stop", r.Package.Module, r.Package, func() (*live.Status, error) { return r.Stop(c.Context()) })
	if err == nil && s != nil {
		fmt.Fprintln(c.OutOrStdout(), "the kernel's own scheduler runs")
	}
	return err
}
