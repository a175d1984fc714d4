// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/develop/environment"
	"plugsched/internal/develop/fit"
	"plugsched/internal/develop/project"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/operate/live"
	"plugsched/internal/outcome"
)

func newInit() *cobra.Command {
	var o fetch.Options
	var sidecars []string
	var programs string
	var check, asJSON bool
	c := &cobra.Command{
		Use:   "init [--release RELEASE | --tree DIR] WORKDIR | --check",
		Short: "Take the scheduler out of a kernel into a new working directory",
		Long: `Init fetches the kernel's image, debug symbols, headers and source, reads the
shipped binary, derives the boundary, and makes WORKDIR a git repository with the
pristine scheduler source. The pristine source is compiled and compared with the
kernel's code function by function. No kernel is compiled, nothing is installed.

Without --release the kernel that runs now is meant. An interrupted init resumes.

With --tree the kernel is one that was built here, and DIR the directory that it was built in
(with make O=DIR: that one). What it has to be configured with is looked at first.

With --rpm, once for each, the kernel is one in RPM packages: with boot image (kernel-core), headers (kernel-devel),
vmlinux (kernel-debuginfo) and source (kernel-....src.rpm). A vmlinux that is nowhere is asked for at the servers
in DEBUGINFOD_URLS, by build-id.

With --check nothing is made: it says, from the configuration and what else can be had quickly, whether
the kernel will do, and what not. It exits with 3 if something is in the way. What it calls unknown only
init itself can tell.

With --analyze-only only the debug symbols are fetched, of any kernel of which they
can be had, and only the boundary is derived: enough for the boundary commands, not
for build. --suite names a suite of Debian to look in instead of the host's packages.

If this machine's compiler is not the one that built the kernel, or the kernel's own tools do
not run here, programs of the kernel's suite are unpacked into the cache and used; --environment
names another suite to take them from.`,
		Example: `  plugsched init work
  plugsched init --release 6.1.0-56-cloud-amd64 work
  plugsched init --suite trixie --release 6.12.118+deb13-cloud-amd64 work-6.12
  plugsched init --tree ~/linux work
  plugsched init --check --release 6.1.0-57-cloud-amd64
  plugsched init --analyze-only --suite sid --release 7.2.13+deb14-cloud-amd64 work-7.2`,
		Args: cli.Args(0, 1),
		RunE: func(c *cobra.Command, a []string) error {
			o.Debuginfod = fetch.DebuginfodURLs(os.Getenv("DEBUGINFOD_URLS"))
			if check == (len(a) == 1) || asJSON && !check {
				return cli.Usagef("usage: %s", c.UseLine())
			}
			if o.Suite != "" && !suite.MatchString(o.Suite) {
				return cli.Usagef("--suite %s: it must be a suite's name, such as trixie or bookworm-backports", o.Suite)
			}
			if check {
				return checkKernel(c, o, programs, asJSON)
			}
			p, err := project.New(a[0])
			if err != nil {
				return err
			}
			if err := p.CheckDir(); err != nil {
				return err
			}
			if !o.AnalyseOnly {
				if err := project.CheckCache(o.CacheDir); err != nil {
					return err
				}
			}
			if err := thisKernel(&o); err != nil {
				return err
			}
			p.Sidecars = sidecars
			if o.SourceDirs, err = p.SourceDirs(sidecars); err != nil {
				return err
			}
			out := newProgress(c.ErrOrStderr())
			defer out.finish()
			o.Progress = out.fetching
			t, err := fetch.Fetch(c.Context(), o)
			if err != nil {
				return err
			}
			p.Progress = out.stage
			if o.AnalyseOnly {
				if err := p.Analyse(c.Context(), t); err != nil {
					return err
				}
				out.finish()
				fmt.Fprintf(c.OutOrStdout(), "%s is analysed: see `plugsched boundary show --dir %s`\n", t.Release, a[0])
				return nil
			}
			p.Environment, err = environment.For(c.Context(), t, environment.Options{Suite: programs, CacheDir: o.CacheDir,
				Expired: o.Expired, Self: p.Self, Progress: out.fetching})
			if err != nil {
				return err
			}
			if err := p.Init(c.Context(), t); err != nil {
				return err
			}
			out.finish()
			fmt.Fprintf(c.OutOrStdout(), "%s is ready: edit %s, then `plugsched build %s`\n", a[0], "kernel/sched", a[0])
			return nil
		},
	}
	f := c.Flags()
	f.Var(cli.Release{To: &o.Release}, "release", "kernel release, as uname -r shows it")
	f.BoolVar(&check, "check", false, "only say whether the kernel will do")
	f.BoolVar(&asJSON, "json", false, "print JSON, with --check")
	f.BoolVar(&o.AnalyseOnly, "analyze-only", false, "only derive the boundary, from the debug symbols alone")
	f.StringVar(&o.Suite, "suite", "", suiteHelp)
	f.BoolVar(&o.Expired, "expired", false, "take package lists of suites although their time has run out")
	f.StringVar(&programs, "environment", "", "compile with the programs of this suite of Debian (default: if this machine's do not fit)")
	f.StringVar(&o.CacheDir, "cache-dir", "", "where fetched kernels are kept (default ~/.cache/plugsched)")
	f.StringVar(&o.Tree, "tree", "", "use the kernel that was built in this directory")
	f.StringArrayVar(&o.RPMs, "rpm", nil, "use the kernel in this RPM package; once for each of its packages")
	f.StringVar(&o.Manual.Vmlinux, "vmlinux", "", "use this vmlinux with debug information")
	f.StringVar(&o.Manual.Vmlinuz, "vmlinuz", "", "use this boot image")
	f.StringVar(&o.Manual.Headers, "headers", "", "use this linux-headers directory")
	f.StringVar(&o.Manual.Source, "source", "", "use this kernel tree, or .tar.xz of one")
	f.StringArrayVar(&sidecars, "sidecar", nil, sidecarHelp)
	c.MarkFlagsMutuallyExclusive("analyze-only", "environment")
	c.MarkFlagsMutuallyExclusive("analyze-only", "check")
	c.MarkFlagsMutuallyExclusive("sidecar", "check")
	c.MarkFlagsMutuallyExclusive("tree", "rpm")
	return c
}

// thisKernel means the one that runs, if no other is named.
func thisKernel(o *fetch.Options) (err error) {
	if o.Release == "" && o.Manual.Vmlinux == "" && o.Tree == "" && len(o.RPMs) == 0 {
		o.Release, err = (live.Host{}).Release()
	}
	return err
}

// checkKernel is init --check.
func checkKernel(c *cobra.Command, o fetch.Options, programs string, asJSON bool) error {
	if err := project.CheckCache(o.CacheDir); err != nil {
		return err
	}
	if err := thisKernel(&o); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out := newProgress(c.ErrOrStderr())
	defer out.finish()
	o.Progress = out.fetching
	v, err := fit.Check(c.Context(), o, environment.Options{Suite: programs, CacheDir: o.CacheDir, Expired: o.Expired,
		Self: self, Progress: out.fetching})
	out.finish()
	if err != nil {
		return err
	}
	return answer(c, asJSON, v, printFitness, v.OK, outcome.Precondition)
}

func printFitness(w io.Writer, v *fit.Fitness) {
	for _, p := range v.Points {
		fmt.Fprintf(w, "%-8s %-22s %s\n", p.Result, p.Check, p.Text)
		if p.Fix != "" {
			fmt.Fprintf(w, "%-31s %s\n", "", p.Fix)
		}
	}
	verdict := "nothing is in the way of `plugsched init`"
	if !v.OK {
		verdict = "cannot be worked with"
	}
	fmt.Fprintf(w, "%s: %s\n", cmp.Or(v.Release, "the kernel"), verdict)
}

// suite is what Debian's are called.
var suite = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

const suiteHelp = "look for packages in this suite of Debian, such as trixie or sid"

const sidecarHelp = "a function outside of the scheduler that moves with it, as FILE:FUNCTION; written into plugsched.yaml"
