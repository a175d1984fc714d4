// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/operate/boot"
)

func newGuard(m machine) *cobra.Command {
	var reset, asJSON bool
	var release string
	c := &cobra.Command{
		Use:   "guard",
		Short: "Say whether a package's scheduler is kept from being loaded, or allow it again",
		Long: `A package's scheduler that was loaded and not confirmed, because the machine went
down or the scheduler was rolled back, is not loaded again. Guard says so and why;
with --reset it may be loaded again, at the next boot or with systemctl start.`,
		Example: "  plugsched guard\n  plugsched guard --reset",
		Args:    cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			if release == "" {
				var err error
				if release, err = m.Release(); err != nil {
					return err
				}
			}
			g, err := boot.ReadGuard("/", release)
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
