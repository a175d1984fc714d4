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

func newInstall() *cobra.Command {
	var o live.Options
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
				m, err := live.Open(a[0])
				if err != nil {
					return err
				}
				return live.Check(m, o)
			}
			return install(c, a[0], o, asJSON)
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only find out whether it could be installed now")
	installFlags(c, &o)
	updateFlags(c, &o, &asJSON)
	return c
}

func install(c *cobra.Command, path string, o live.Options, asJSON bool) error {
	m, err := live.Open(path)
	if err != nil {
		return err
	}
	if w := c.Flags().Lookup("watchdog"); w.Changed && o.Watchdog == 0 {
		o.Watchdog = -1
	}
	o.Progress = say(c.ErrOrStderr())
	s, err := update(c.Name(), m.Desc.Name, nil, func() (*live.Status, error) { return live.Install(c.Context(), m, o) })
	if err != nil {
		return err
	}
	return show(c.OutOrStdout(), s, asJSON)
}

func installFlags(c *cobra.Command, o *live.Options) {
	c.Flags().BoolVar(&o.Replace, "replace", false, "take over from a module that is installed")
	c.Flags().DurationVar(&o.Watchdog, "watchdog", 30*time.Second, "go back when a task waits for a CPU for so long, from 100ms to 24h; 0 is never")
}

func updateFlags(c *cobra.Command, o *live.Options, asJSON *bool) {
	c.Flags().IntVar(&o.Tries, "tries", 10, "how often a busy update is tried")
	c.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

func say(w io.Writer) func(string) {
	return func(s string) { fmt.Fprintln(w, s) }
}
