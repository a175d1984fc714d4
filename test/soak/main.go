// SPDX-License-Identifier: BSD-3-Clause

// Command soak changes schedulers a thousand times in one guest under load, and
// writes what it saw into docs/reliability.md. It fails at the first complaint of
// the kernel, lost task, worker without progress, or memory that grows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"plugsched/internal/target"
	"plugsched/internal/vm"
)

func main() {
	s := soak{}
	flag.StringVar(&s.release, "release", "", "kernel release (default: the newest with debug symbols)")
	flag.StringVar(&s.tool, "plugsched", "bin/plugsched", "the tool")
	flag.StringVar(&s.load, "load", "test/load/schedload", "the load generator")
	flag.StringVar(&s.patch, "patch", "examples/hello.patch", "the change")
	flag.StringVar(&s.dir, "dir", "build/soak", "where working directories go")
	flag.StringVar(&s.spec, "spec", "light,hotplug=1,rthog=1", "the load, see test/load/README.md")
	flag.StringVar(&s.report, "report", "docs/reliability.md", "the page that gets the figures, none if empty")
	flag.IntVar(&s.cycles, "cycles", 1000, "installs and removals")
	flag.IntVar(&s.cpus, "cpus", 4, "virtual CPUs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	enough := make(chan os.Signal, 1)
	signal.Notify(enough, syscall.SIGUSR1)
	s.enough = enough
	if err := s.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "soak: FAILED:", err)
		var fault *vm.KernelFault
		if errors.As(err, &fault) {
			for _, f := range fault.Faults {
				fmt.Fprintln(os.Stderr, f.Excerpt)
			}
		}
		os.Exit(1)
	}
}

// soak is one run.
type soak struct {
	release, tool, load, patch, dir, spec, report string
	cycles, cpus                                  int

	enough <-chan os.Signal // SIGUSR1: end after this cycle, and report

	work string
	// The changed scheduler, and the kernel's own as a module.
	a, b string
	figures
}

func (s *soak) run(ctx context.Context) error {
	for _, p := range []*string{&s.tool, &s.load, &s.patch, &s.dir} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	if s.release == "" {
		r, err := target.Newest(ctx, "cloud-amd64")
		if err != nil {
			return err
		}
		s.release = r
	}
	s.work = filepath.Join(s.dir, s.release)
	if err := s.modules(ctx); err != nil {
		return err
	}
	start := time.Now()
	if err := s.cycle(ctx); err != nil {
		return err
	}
	s.took = time.Since(start)
	if err := s.scale(ctx); err != nil {
		return err
	}
	text := s.markdown()
	fmt.Print(text)
	if s.report == "" {
		return nil
	}
	return replaceSection(s.report, text)
}

// modules builds the kernel's own scheduler as a module, and the changed one.
func (s *soak) modules(ctx context.Context) error {
	s.a, s.b = filepath.Join(s.dir, "a.ko"), filepath.Join(s.dir, "b.ko")
	ko := filepath.Join(s.work, "scheduler.ko")
	git := func(args ...string) []string {
		return append([]string{"git", "-C", s.work, "-c", "user.name=soak", "-c", "user.email=soak@localhost"}, args...)
	}
	for _, c := range [][]string{
		{s.tool, "init", "--release", s.release, s.work},
		git("checkout", "-q", "-f", "-B", "soak", "pristine"),
		{s.tool, "build", s.work},
		{"cp", ko, s.b},
		git("am", "-q", s.patch),
		{s.tool, "build", s.work},
		{"cp", ko, s.a},
	} {
		cmd := exec.CommandContext(ctx, c[0], c[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%v: %w", c, err)
		}
	}
	return nil
}
