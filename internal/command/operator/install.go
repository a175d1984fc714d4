// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/operate/live"
)

func newInstall(m machine) *cobra.Command {
	var o live.InstallOptions
	var asJSON, dryRun bool
	c := &cobra.Command{
		Use:   "install MODULE",
		Short: "Make a module's scheduler the running one",
		Long: `Install loads the module and switches the running kernel to its scheduler.
Either the whole update happens or nothing does. While tasks are in the way it is
tried again; if that does not help, they are named.

With --replace it takes over from a module that is installed already, in one step:
the kernel's own scheduler does not run in between.`,
		Example: `  plugsched install --dry-run scheduler.ko
  plugsched install scheduler.ko
  plugsched install --replace --watchdog 10s next.ko`,
		Args: cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			if dryRun {
				module, err := live.Open(a[0])
				if err != nil {
					return err
				}
				if err := m.Check(module, o); err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "%s can be installed: nothing is in the way\n", a[0])
				return nil
			}
			return m.installFile(c, a[0], o, asJSON)
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only find out whether it could be installed now")
	installFlags(c, &o)
	updateFlags(c, &o.Tries, &asJSON)
	return c
}

func (m machine) installFile(c *cobra.Command, path string, o live.InstallOptions, asJSON bool) error {
	module, err := live.Open(path)
	if err != nil {
		return err
	}
	if w := c.Flags().Lookup("watchdog"); w.Changed && o.Watchdog == 0 {
		o.Watchdog = -1
	}
	o.Progress = say(c.ErrOrStderr())
	m.warnOfRivals(c.ErrOrStderr())
	s, err := update(c.Name(), module.Desc.Name, nil, func() (*live.Status, error) { return m.Install(c.Context(), module, o) })
	if err != nil {
		return err
	}
	return show(c.OutOrStdout(), s, asJSON)
}

func installFlags(c *cobra.Command, o *live.InstallOptions) {
	c.Flags().BoolVar(&o.Replace, "replace", false, "take over from a module that is installed")
	c.Flags().Var(cli.Duration(&o.Watchdog, 30*time.Second, 100*time.Millisecond, 24*time.Hour).OrZero(), "watchdog",
		"roll back when a task waits for a CPU for so long, from 100ms to 24h; 0 is never")
}

func updateFlags(c *cobra.Command, tries *int, asJSON *bool) {
	c.Flags().Var(cli.Int(tries, 10, 1, 1000), "tries", "how often a busy update is tried, from 1 to 1000")
	c.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

func say(w io.Writer) func(string) {
	return func(s string) { fmt.Fprintln(w, s) }
}
