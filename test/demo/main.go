// SPDX-License-Identifier: BSD-3-Clause

// Command demo does the main job once, from a kernel's packages to a changed
// scheduler live in a guest under load and back, and ends with a table. It
// exits with 0 only if it saw everything that it is to show.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"plugsched/internal/target"
)

func main() {
	var d demo
	flag.StringVar(&d.release, "release", "", "kernel release (default: the newest with debug symbols)")
	flag.StringVar(&d.flavour, "flavour", "cloud-amd64", "flavour of the newest release")
	flag.StringVar(&d.tool, "plugsched", "bin/plugsched", "the tool")
	flag.StringVar(&d.load, "load", "test/load/schedload", "the load generator")
	flag.StringVar(&d.patch, "patch", "examples/hello.patch", "the change")
	flag.StringVar(&d.dir, "dir", "build/demo", "where working directories go")
	flag.IntVar(&d.cycles, "cycles", 20, "further installs and removals under load")
	flag.IntVar(&d.cpus, "cpus", 4, "virtual CPUs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := d.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo: FAILED:", err)
		os.Exit(1)
	}
}

// demo is one run.
type demo struct {
	release, flavour, tool, load, patch, dir string
	cycles, cpus                             int

	work  string
	table table
}

func (d *demo) run(ctx context.Context) error {
	for _, p := range []*string{&d.tool, &d.load, &d.patch, &d.dir} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	if d.release == "" {
		r, err := target.Newest(ctx, d.flavour)
		if err != nil {
			return err
		}
		d.release = r
	}
	d.work = filepath.Join(d.dir, d.release)
	step("plugsched init --release %s %s", d.release, d.work)
	if err := d.timed(ctx, "init", d.tool, "init", "--release", d.release, d.work); err != nil {
		return err
	}
	step("git am %s", d.patch)
	if err := d.apply(ctx); err != nil {
		return err
	}
	step("plugsched build %s", d.work)
	if err := d.timed(ctx, "build", d.tool, "build", d.work); err != nil {
		return err
	}
	if err := d.facts(); err != nil {
		return err
	}
	start := time.Now()
	if err := d.guest(ctx); err != nil {
		return err
	}
	d.table.add("times", "guest, all of it", time.Since(start).Round(100*time.Millisecond).String())
	d.table.print(os.Stdout)
	fmt.Println("\ndemo: everything above was observed")
	return nil
}

func step(format string, a ...any) { fmt.Printf("\n==> "+format+"\n", a...) }

// timed runs a command with its output on ours.
func (d *demo) timed(ctx context.Context, name string, argv ...string) error {
	start := time.Now()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	d.table.add("times", name, time.Since(start).Round(100*time.Millisecond).String())
	return nil
}

// apply puts the change on top of the pristine source, whatever an earlier run
// left behind.
func (d *demo) apply(ctx context.Context) error {
	exec.CommandContext(ctx, "git", "-C", d.work, "am", "--abort").Run()
	for _, args := range [][]string{
		{"checkout", "-q", "-f", "-B", "demo", "pristine"},
		{"-c", "user.name=demo", "-c", "user.email=demo@localhost", "am", d.patch},
	} {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", d.work}, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
		}
		fmt.Print(string(out))
	}
	return nil
}
