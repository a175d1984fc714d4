// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/bench"
	"plugsched/internal/command/cli"
	"plugsched/internal/command/version"
	"plugsched/internal/develop/project"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/operate/live"
)

func newBench() *cobra.Command {
	var out, against, qemu, host string
	var series, from, also, analyses []string
	var repetitions, most, cpus int
	c := &cobra.Command{
		Use:   "bench [--output DIR] WORKDIR | --host MODULE | --from bench.json",
		Short: "Measure updates, and how their downtime grows",
		Long: `Bench builds WORKDIR's scheduler with what only measuring needs, boots its stock kernel in
virtual machines whose time is a count of instructions, installs and removes the scheduler
there, and tells what each part of the stop took: for sleeping and running tasks, CPUs, task
groups and limits of them, each varied alone, and beside two other ways to do it.

The series overhead is another: what some operations take while the unmodified scheduler is loaded as a module,
in instructions, beside the kernel's own.

In DIR it leaves bench.json, and made of that bench.html, to look at, and bench.md. With --from it
only makes these two anew. With --against the figures are held against those of a run before.

With --host nothing is booted: a module that build has made is installed on this machine and
removed, as often as --repetitions says, and the figures are by its clock, under its load. The
kernel's own scheduler must run, and does afterwards.

The guests see nothing of this machine, one runs at a time, and each has the memory that it
needs: 6 GiB for 30000 processes.`,
		Example: `  plugsched bench --output figures work
  plugsched bench --series threads --repetitions 3 --at-most 1000 --output quick work
  plugsched bench --host work/scheduler.ko --repetitions 20
  plugsched bench --from figures/bench.json --against other/bench.json --output figures`,
		Args: cli.Args(0, 1),
		RunE: func(c *cobra.Command, a []string) error {
			ways := 0
			for _, given := range []bool{len(a) > 0, len(from) > 0, host != ""} {
				if given {
					ways++
				}
			}
			if ways != 1 {
				return cli.Usagef("name a WORKDIR to measure, or a module with --host, or what was measured with --from")
			}
			chosen, overhead, err := bench.Choose(series)
			if err != nil {
				return cli.Usagef("--series: %w", err)
			}
			for i := range chosen {
				if chosen[i].CPUs != 0 {
					chosen[i].CPUs = cpus
				}
				if chosen[i] = chosen[i].AtMost(most); len(chosen[i].Values) == 0 {
					return cli.Usagef("--at-most %d leaves nothing of the series %s", most, chosen[i].Name)
				}
			}
			var before *bench.Result
			if against != "" {
				if before, err = readResult(against); err != nil {
					return err
				}
			}
			var r *bench.Result
			switch {
			case len(from) > 0:
				r, err = readResults(from)
			case host != "":
				r, err = benchHost(c, host, repetitions, out)
			default:
				r, err = runBench(c, a[0], also,
					&bench.Options{Series: chosen, Overhead: overhead, Repetitions: repetitions, QEMU: qemu}, out)
			}
			if err != nil {
				return err
			}
			if err := analyseAll(c, analyses, r); err != nil {
				return err
			}
			if before != nil {
				if err := r.Compare(before); err != nil {
					return &project.Error{Text: against + ": " + err.Error()}
				}
			}
			if err := writeBench(out, r); err != nil {
				return err
			}
			return r.Table(c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVarP(&out, "output", "o", "bench", "the directory for what it makes")
	f.StringArrayVar(&from, "from", nil, "measure nothing: take this bench.json; of several the series are put together")
	f.StringArrayVar(&also, "also", nil, "measure this WORKDIR's scheduler too, for what the size of an update makes of it")
	f.StringArrayVar(&analyses, "analyse", nil, "measure how this kernel is analysed, RELEASE or RELEASE:SUITE")
	f.StringVar(&against, "against", "", "compare with this bench.json")
	f.StringSliceVar(&series, "series", nil, "only these, of "+strings.Join(bench.Names(), ", "))
	f.Var(cli.Int(&repetitions, 9, 1, 1000), "repetitions", "installs and removals for each figure, from 1 to 1000")
	f.Var(cli.Int(&cpus, 4, 1, 255), "cpus", "virtual CPUs, where these are not what is varied, from 1 to 255")
	f.StringVar(&host, "host", "", "measure this machine, with this module")
	f.StringVar(&qemu, "qemu", "", "the emulator, instead of the usual one: with several CPUs it must be 8.1 or newer")
	f.Var(cli.Int(&most, 1<<20, 0, 1<<20), "at-most", "leave out what is above this in each series")
	return c
}

func readResult(path string) (*bench.Result, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &project.Error{Text: err.Error()}
	}
	r, err := bench.Parse(text)
	if err != nil {
		return nil, &project.Error{Text: path + ": " + err.Error()}
	}
	return r, nil
}

// readResults puts runs of the same together.
func readResults(paths []string) (*bench.Result, error) {
	r, err := readResult(paths[0])
	if err != nil {
		return nil, err
	}
	for _, path := range paths[1:] {
		other, err := readResult(path)
		if err != nil {
			return nil, err
		}
		if err := r.Merge(other); err != nil {
			return nil, &project.Error{Text: path + ": " + err.Error()}
		}
	}
	return r, nil
}

// runBench measures. Its guests' console is kept beside what it makes.
func runBench(c *cobra.Command, dir string, also []string, o *bench.Options, out string) (*bench.Result, error) {
	if err := makeOutput(out); err != nil {
		return nil, err
	}
	shown := newProgress(c.ErrOrStderr())
	defer shown.finish()
	t, module, err := buildBench(c.Context(), dir, shown)
	if err != nil {
		return nil, err
	}
	for _, d := range also {
		other, module, err := buildBench(c.Context(), d, shown)
		if err != nil {
			return nil, err
		}
		if other.BuildID != t.BuildID {
			return nil, &project.Error{Text: d + " is for another kernel than " + dir}
		}
		o.Others = append(o.Others, bench.Other{Name: filepath.Base(d), Module: module})
	}
	if len(also) > 0 {
		o.Others = slices.Insert(o.Others, 0, bench.Other{Name: filepath.Base(dir), Module: module})
	}
	if o.Tool, err = os.Executable(); err != nil {
		return nil, err
	}
	o.Kernel, o.Module, o.ConsoleLog = t.Vmlinuz, module, filepath.Join(out, "console.log")
	return measured(func() (*bench.Result, error) {
		r, err := runShown(c.Context(), o, shown)
		if err == nil {
			r.BuildID = t.BuildID
		}
		return r, err
	})
}

// buildBench builds the module of a directory that only benchmarks load.
func buildBench(ctx context.Context, dir string, shown *steps) (*fetch.Target, string, error) {
	p, err := project.Open(dir)
	if err != nil {
		return nil, "", err
	}
	t, err := p.Target()
	if err != nil {
		return nil, "", err
	}
	if t.Vmlinuz == "" {
		return nil, "", noImage(t.Release)
	}
	p.Tool = version.String()
	p.Progress = shown.stage
	return t, p.BenchModule(), p.BuildBench(ctx)
}

// analyseAll measures the analysis of kernels, each given as RELEASE or RELEASE:SUITE.
func analyseAll(c *cobra.Command, kernels []string, r *bench.Result) error {
	shown := newProgress(c.ErrOrStderr())
	defer shown.finish()
	for _, k := range kernels {
		release, suite, _ := strings.Cut(k, ":")
		step := shown.board.Begin("analysing")
		step.Text("analysing  %s", release)
		a, err := analyse(c.Context(), release, suite)
		step.Drop()
		if err != nil {
			return err
		}
		r.Analyses = append(r.Analyses, *a)
	}
	// What was read from files says how that came about, and not how this did.
	if own := "plugsched " + strings.Join(os.Args[1:], " "); len(kernels) > 0 && r.Command != own {
		r.Command += "; " + own
	}
	return nil
}

// analyseTimes is how often a kernel is analysed.
const analyseTimes = 2

func analyse(ctx context.Context, release, suite string) (*bench.Analysis, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "plugsched-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	n := 0
	command := func(ctx context.Context) *exec.Cmd {
		n++
		args := []string{"init", "--analyze-only", "--release", release}
		if suite != "" {
			args = append(args, "--suite", suite)
		}
		return exec.CommandContext(ctx, self, append(args, filepath.Join(dir, strconv.Itoa(n)))...)
	}
	// The first fetches what is missing, and tells where it is.
	if text, err := command(ctx).CombinedOutput(); err != nil {
		return nil, &project.Error{Text: fmt.Sprintf("--analyse %s: %v: %s", release, err, text)}
	}
	p, err := project.OpenAnalysed(filepath.Join(dir, "1"))
	if err != nil {
		return nil, err
	}
	t, err := p.Target()
	if err != nil {
		return nil, err
	}
	return bench.Analyse(ctx, release, t.Vmlinux, analyseTimes, command)
}

// benchHost measures this machine.
func benchHost(c *cobra.Command, path string, repetitions int, out string) (*bench.Result, error) {
	m, err := live.Open(path)
	if err != nil {
		return nil, err
	}
	if err := makeOutput(out); err != nil {
		return nil, err
	}
	shown := newProgress(c.ErrOrStderr())
	defer shown.finish()
	step := shown.board.Begin("measuring")
	defer step.Drop()
	return measured(func() (*bench.Result, error) {
		return bench.OnHost(c.Context(), live.Host{}, m, repetitions, func(done int) {
			step.Text("measuring  %d of %d installs and removals", done, repetitions)
		})
	})
}

// measured adds to a result how it came about.
func measured(run func() (*bench.Result, error)) (*bench.Result, error) {
	began := time.Now()
	r, err := run()
	if err != nil {
		return nil, err
	}
	r.Command, r.Tool = "plugsched "+strings.Join(os.Args[1:], " "), version.String()
	r.Date, r.Took = began.UTC().Format(time.DateOnly), time.Since(began).Round(time.Second).String()
	r.HostCPUs, r.HostLoad = runtime.NumCPU(), hostLoad()
	return r, nil
}

// hostLoad is how many tasks wanted to run on this machine in the last 1, 5 and 15 minutes.
func hostLoad() string {
	text, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(text))[:min(3, len(strings.Fields(string(text))))], " ")
}

// runShown shows what is measured.
func runShown(ctx context.Context, o *bench.Options, shown *steps) (*bench.Result, error) {
	step := shown.board.Begin("measuring")
	defer step.Drop()
	o.Say = func(series string, value, done, total int) {
		step.Text("%-10s %d: %d of %d updates", series, value, done, total)
	}
	o.Done = func(series string, p bench.Point) {
		shown.board.Print("%-10s %6d: %s", series, p.Value, p.Brief())
	}
	return bench.Run(ctx, o)
}

func makeOutput(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return &project.Error{Text: "--output " + err.Error()}
	}
	return nil
}

// writeBench writes a result and what is made of it.
func writeBench(dir string, r *bench.Result) error {
	if err := makeOutput(dir); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	for name, write := range map[string]func(io.Writer) error{
		"bench.json": func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s\n", text)
			return err
		},
		"bench.html": r.Page,
		"bench.md":   r.Markdown,
	} {
		var b strings.Builder
		if err := write(&b); err != nil {
			return err
		}
		if err := cli.WriteFile("output", filepath.Join(dir, name), []byte(b.String())); err != nil {
			return err
		}
	}
	return nil
}
