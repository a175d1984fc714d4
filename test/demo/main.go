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
	"strings"
	"time"

	"plugsched/test/drive"
)

func main() {
	var d demo
	d.Flags("build/demo", 20)
	flag.Parse()
	drive.Main("demo", d.run)
}

// demo is one run.
type demo struct {
	drive.Options
	table table
}

func (d *demo) run(ctx context.Context) error {
	if err := d.Resolve(ctx); err != nil {
		return err
	}
	step("plugsched %s", strings.Join(d.Init()[1:], " "))
	if err := d.timed(ctx, "init", d.Init()...); err != nil {
		return err
	}
	step("git am %s", d.Patch)
	if err := d.apply(ctx); err != nil {
		return err
	}
	step("plugsched build %s", d.Work)
	if err := d.timed(ctx, "build", d.Tool, "build", d.Work); err != nil {
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
	exec.CommandContext(ctx, "git", "-C", d.Work, "am", "--abort").Run()
	for _, args := range [][]string{
		{"checkout", "-q", "-f", "-B", "demo", "pristine"},
		{"-c", "user.name=demo", "-c", "user.email=demo@localhost", "am", d.Patch},
	} {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", d.Work}, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
		}
		fmt.Print(string(out))
	}
	return nil
}
