// SPDX-License-Identifier: BSD-3-Clause

// Command soak changes schedulers a thousand times in one guest under load, and
// writes what it saw into docs/operate/reliability.md. It fails at the first complaint of
// the kernel, lost task, worker without progress, or memory that grows.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"plugsched/internal/command/progress"
	"plugsched/internal/guest/vm"
	"plugsched/test/drive"
)

func main() {
	s := soak{}
	s.Flags("build/soak", 1000)
	flag.StringVar(&s.spec, "spec", "light,hotplug=1,rthog=1", "the load, see test/load/README.md")
	flag.StringVar(&s.report, "report", "docs/operate/reliability.md", "the page that gets the figures, none if empty")
	flag.Parse()
	enough := make(chan os.Signal, 1)
	signal.Notify(enough, syscall.SIGUSR1)
	s.enough = enough
	drive.Main("soak", s.run)
}

// soak is one run.
type soak struct {
	drive.Options
	spec, report string
	board        *progress.Board

	enough <-chan os.Signal // SIGUSR1: end after this cycle, and report

	// The changed scheduler, and the kernel's own as a module.
	a, b string
	figures
}

func (s *soak) run(ctx context.Context) error {
	if err := s.Resolve(ctx); err != nil {
		return err
	}
	if err := s.modules(ctx); err != nil {
		return err
	}
	s.board = progress.New(os.Stdout)
	defer s.board.Close()
	start := time.Now()
	if err := s.cycle(ctx); err != nil {
		return err
	}
	s.took = time.Since(start)
	if err := s.scale(ctx); err != nil {
		return err
	}
	s.board.Close()
	text := s.markdown()
	fmt.Print(text)
	if s.report == "" {
		return nil
	}
	return drive.ReplaceSection(s.report, "soak", text)
}

// modules builds the kernel's own scheduler as a module, and the changed one.
func (s *soak) modules(ctx context.Context) error {
	s.a, s.b = filepath.Join(s.Dir, "a.ko"), filepath.Join(s.Dir, "b.ko")
	ko := filepath.Join(s.Work, "scheduler.ko")
	git := func(args ...string) []string {
		return append([]string{"git", "-C", s.Work, "-c", "user.name=soak", "-c", "user.email=soak@localhost"}, args...)
	}
	for _, c := range [][]string{
		s.Init(),
		git("checkout", "-q", "-f", "-B", "soak", "pristine"),
		{s.Tool, "build", s.Work},
		{"cp", ko, s.b},
		git("am", "-q", s.Patch),
		{s.Tool, "build", s.Work},
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

func (s *soak) boot(ctx context.Context, name string, mib int) (*drive.Guest, error) {
	return s.Boot(ctx, vm.Config{MemoryMiB: mib, ConsoleLog: filepath.Join(s.Dir, name+".console")},
		vm.File{GuestPath: "/a.ko", HostPath: s.a}, vm.File{GuestPath: "/b.ko", HostPath: s.b})
}
