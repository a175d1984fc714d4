// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/develop/apply"
	"plugsched/internal/develop/project"
)

func newApply() *cobra.Command {
	var f applyFlags
	c := &cobra.Command{
		Use:   "apply [--dry-run] [--partial] [--dir WORKDIR] PATCH...",
		Short: "Apply patches as others publish them, and say what becomes of each part",
		Long: `Apply makes commits in WORKDIR of patches for a whole kernel. PATCH is a file, a mailbox with
a series, the directory of a quilt series, or - for standard input.

Parts that are nothing to the scheduler of this kernel, as documentation or code that it does not
compile, are left out. Of each other part it says whether it applies, is there already, is another text
here, or needs something: a sidecar, a hook, an option. The result is compiled, and what build would refuse is
told here. Only patches that can be applied whole are, all or none of them; --partial leaves out what
cannot be, and what belongs to it.

With --sidecar a function outside of the scheduler moves with it, and its file's parts apply. With --option
an option that a patch brings is defined.`,
		Example: `  plugsched apply --dry-run 0001-sched-fair-something.patch
  plugsched apply --sidecar kernel/fork.c:copy_process --option CONFIG_SCHED_MINE series.mbox
  curl -s https://example.org/raw.patch | plugsched apply --partial -`,
		Args: cli.Args(1, -1),
		RunE: func(c *cobra.Command, a []string) error {
			if n := len(slices.DeleteFunc(slices.Clone(a), func(s string) bool { return s != "-" })); n > 1 {
				return cli.Usagef("standard input can be read once")
			}
			p, err := f.open()
			if err != nil {
				return err
			}
			patches, err := apply.Read(c.Context(), p, a)
			if err != nil {
				return err
			}
			return f.run(c, p, func(o apply.Options) (*apply.Application, error) {
				o.Partial = f.partial
				return apply.Patches(c.Context(), p, patches, o)
			})
		},
	}
	f.add(c)
	c.Flags().BoolVar(&f.partial, "partial", false, "leave out what cannot be applied, and what belongs to it")
	c.Flags().StringArrayVar(&f.options, "option", nil, "define an option for all files, as CONFIG_NAME or CONFIG_NAME=VALUE")
	c.Flags().StringArrayVar(&f.sidecars, "sidecar", nil, sidecarHelp)
	return c
}

// applyFlags are those of the commands that apply something.
type applyFlags struct {
	dir                     string
	partial, dryRun, asJSON bool
	options, sidecars       []string
}

func (f *applyFlags) add(c *cobra.Command) {
	dirFlag(c, &f.dir)
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "only say what would become of each part")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
}

func (f *applyFlags) open() (*project.Project, error) {
	p, err := project.Open(f.dir)
	if err == nil {
		p.Sidecars = f.sidecars
	}
	return p, err
}

// run applies, and prints what became of it, also when nothing could be done.
func (f *applyFlags) run(c *cobra.Command, p *project.Project, work func(apply.Options) (*apply.Application, error)) error {
	out := newProgress(c.ErrOrStderr())
	defer out.finish()
	p.Progress = out.stage
	a, err := work(apply.Options{DryRun: f.dryRun, Options: f.options})
	out.finish()
	if a == nil {
		return err
	}
	if !f.asJSON {
		printApplication(c.OutOrStdout(), a)
		return err
	}
	return errors.Join(cli.PrintJSON(c.OutOrStdout(), a), err)
}

// printApplication has a line for each part.
func printApplication(w io.Writer, a *apply.Application) {
	for _, p := range a.Patches {
		fmt.Fprintf(w, "%s\n", p.Subject)
		for _, part := range p.Parts {
			fmt.Fprintf(w, "  %-10s  %s\n", part.Verdict, part.String())
			if part.Do != "" {
				fmt.Fprintf(w, "  %-10s  - %s\n", "", part.Do)
			}
		}
		if p.Commit != "" {
			fmt.Fprintf(w, "  %-10s  %.12s\n", "commit", p.Commit)
		}
	}
	for _, n := range a.Notes {
		fmt.Fprintf(w, "%s\n", n)
	}
}
