// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/operate/live"
	"plugsched/internal/operate/view"
	"plugsched/scx"
)

func newTry(m machine) *cobra.Command {
	var o live.InstallOptions
	var bpf Loading
	var asJSON bool
	c := &cobra.Command{
		Use:   "try NAME|OBJECT|MODULE",
		Short: "Run a scheduler that goes again unless it is confirmed",
		Long: `Try runs a scheduler for a time, whichever way it comes: a module's file, a compiled object of
BPF, or by its name one of an installed package, or one in BPF that is in this program (` + strings.Join(scx.Own(), ", ") + `).
If ` + "`plugsched confirm`" + ` does not come within that time, the kernel rolls back by itself: that does not
depend on this program, on the terminal or on the connection. After a module the scheduler before runs again,
after one in BPF the kernel's own.`,
		Example: `  plugsched try --for 5m scheduler.ko && ./benchmark && plugsched confirm
  plugsched try --for 5m simple && ./benchmark && plugsched confirm`,
		Args: cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			meant, err := m.meaningOf(a[0])
			if err != nil {
				return err
			}
			if err := forWay(c, meant.way); err != nil {
				return err
			}
			if meant.way == view.Module {
				return m.installFile(c, meant.path, o, asJSON)
			}
			bpf.Trial = o.Trial
			return m.tryBPF(c, meant.path, &bpf, asJSON)
		},
	}
	c.Flags().Var(cli.Duration(&o.Trial, time.Minute, time.Second, scx.MaxTrial), "for", "how long, from 1s to 24h")
	installFlags(c, &o)
	updateFlags(c, &o.Tries, &asJSON)
	bpf.Flags(c)
	return c
}

// ways of flags that are for schedulers of one way only, and why.
var waysOfFlags = map[string]struct {
	way view.Way
	why string
}{
	"replace":  {view.Module, "the trial of one in BPF ends with the kernel's own scheduler"},
	"watchdog": {view.Module, "one in BPF has --timeout"},
	"tries":    {view.Module, "one in BPF finds no task in its way"},
	"partial":  {view.BPF, "a module has all tasks"},
	"timeout":  {view.BPF, "a module has --watchdog"},
	"set":      {view.BPF, "a module has no constants to set"},
}

// forWay refuses flags that mean nothing for a scheduler.
func forWay(c *cobra.Command, way view.Way) error {
	for _, name := range []string{"replace", "watchdog", "tries", "partial", "timeout", "set"} {
		if f := waysOfFlags[name]; f.way != way && c.Flags().Changed(name) {
			return cli.Usagef("--%s: %s", name, f.why)
		}
	}
	return nil
}

// tryBPF loads a scheduler in BPF on trial, and shows it as a module is shown.
func (m machine) tryBPF(c *cobra.Command, nameOrPath string, o *Loading, asJSON bool) error {
	b, err := m.bpf()
	if err != nil {
		return err
	}
	if b == nil {
		return fmt.Errorf("%s is a scheduler in BPF: %w", nameOrPath, &scx.UnsupportedError{})
	}
	if asJSON {
		if _, err := m.beginBPF(c, c.Name(), nameOrPath, o); err != nil {
			return err
		}
		return m.show(c.OutOrStdout(), asJSON)
	}
	return m.loadBPF(c, c.Name(), nameOrPath, o, o.until())
}

func newConfirm(m machine) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "confirm",
		Short: "Keep the scheduler that is on trial",
		Long: `Confirm ends the trial that ` + "`plugsched try` or `plugsched scx try`" + ` began: the scheduler stays,
and what it would have rolled back to is unloaded. The watchdog goes on watching.`,
		Example: "  plugsched confirm",
		Args:    cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			name, err := m.bpfToConfirm()
			if err != nil {
				return err
			}
			if name != "" {
				if err := m.confirmBPF(c, name); err != nil {
					return err
				}
				return m.show(c.OutOrStdout(), asJSON)
			}
			s, err := update("confirm", "", nil, func() (*live.Status, error) { return m.Confirm(c.Context(), say(c.ErrOrStderr())) })
			if err != nil {
				return err
			}
			return show(c.OutOrStdout(), s, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
