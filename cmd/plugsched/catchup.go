// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/develop/apply"
	"plugsched/internal/kernel/fetch"
)

func newCatchUp() *cobra.Command {
	var f applyFlags
	var o fetch.Options
	c := &cobra.Command{
		Use:   "catch-up [--to RELEASE] [--dry-run] [--dir WORKDIR]",
		Short: "Take over what a later kernel of the same series changed in the scheduler",
		Long: `Catch-up compares the source of WORKDIR's kernel with that of a later one of its series, the newest
unless --to names one, and makes one commit of what changed in the scheduler. It
tells what becomes of each part as apply does. What cannot take effect on the kernel at hand is left out, with
what belongs to it. Headers are only touched where the scheduler's change needs that.

The source is that of Debian's package, or what --source names.`,
		Example: `  plugsched catch-up --dry-run --dir work
  plugsched catch-up --to 6.1.0-57-cloud-amd64
  plugsched catch-up --suite trixie-backports
  plugsched catch-up --source linux-6.1.193.tar.xz`,
		Args: cli.Args(0, 0),
		RunE: func(c *cobra.Command, a []string) error {
			p, err := f.open()
			if err != nil {
				return err
			}
			t, err := p.Target()
			if err != nil {
				return err
			}
			out := newProgress(c.ErrOrStderr())
			defer out.finish()
			o.Progress = out.fetching
			if o.Manual.Source != "" {
				o.Release = t.Release
			} else if o.Release == "" {
				o.Release = t.Release
				if o.Release, err = fetch.Later(c.Context(), o); err != nil {
					return err
				}
			}
			source, err := fetch.Source(c.Context(), o)
			if err != nil {
				return err
			}
			out.finish()
			fmt.Fprintln(c.ErrOrStderr(), "from", t.Source, "to", source)
			return f.run(c, p, func(o apply.Options) (*apply.Application, error) {
				return apply.CatchUp(c.Context(), p, source, o)
			})
		},
	}
	f.add(c)
	c.Flags().Var(cli.Release{To: &o.Release}, "to", "the later kernel's release (default: the newest of the series and flavour)")
	c.Flags().StringVar(&o.Manual.Source, "source", "", "use this kernel tree, or .tar.xz of one, as the later kernel's")
	c.Flags().StringVar(&o.Suite, "suite", "", suiteHelp)
	c.Flags().StringVar(&o.CacheDir, "cache-dir", "", "where fetched kernels are kept (default ~/.cache/plugsched)")
	c.MarkFlagsMutuallyExclusive("to", "source")
	c.MarkFlagsMutuallyExclusive("suite", "source")
	return c
}
