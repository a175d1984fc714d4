// SPDX-License-Identifier: BSD-3-Clause

// Package drive is what the programs have in common that take a scheduler through a
// guest: their flags, and the guest.
package drive

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"plugsched/internal/command/cli"
	"plugsched/internal/guest/vm"
	"plugsched/internal/kernel/fetch"
	"plugsched/test/kernels"
)

// Options are the flags of such a program.
type Options struct {
	Release string // kernel release; Resolve puts the newest here
	Flavour string // of the newest release
	Suite   string // of Debian that has the release; empty: the machine's own
	Tool    string // plugsched
	Load    string // test/load's program
	Patch   string // the change
	Dir     string // where working directories go
	Work    string // that of the release, set by Resolve
	Cycles  int    // installs and removals
	CPUs    int    // virtual ones
}

// Flags declares the flags. Working directories go below dir by default.
func (o *Options) Flags(dir string, cycles int) {
	flag.StringVar(&o.Release, "release", "", "kernel release (default: the newest with debug symbols)")
	flag.StringVar(&o.Suite, "suite", "", "suite of Debian with the release (default: by test/kernels, or the machine's)")
	flag.StringVar(&o.Flavour, "flavour", "cloud-amd64", "flavour of the newest release")
	flag.StringVar(&o.Tool, "plugsched", "bin/plugsched", "the tool")
	flag.StringVar(&o.Load, "load", "test/load/schedload", "the load generator")
	flag.StringVar(&o.Patch, "patch", "examples/hello.patch", "the change")
	flag.StringVar(&o.Dir, "dir", dir, "where working directories go")
	flag.Var(cli.Int(&o.Cycles, cycles, 1, 1e6), "cycles", "installs and removals under load")
	flag.Var(cli.Int(&o.CPUs, 4, 1, 255), "cpus", "virtual CPUs")
}

// stable is what Debian calls its release of the day.
const stable = "stable"

// Resolve makes the paths absolute and finds the newest release when none is given.
func (o *Options) Resolve(ctx context.Context) error {
	var err error
	for _, p := range []*string{&o.Tool, &o.Load, &o.Patch, &o.Dir} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	switch {
	case o.Release != "":
	case o.Suite == "":
		o.Release, err = fetch.Newest(ctx, o.Flavour)
	default:
		o.Release, err = fetch.NewestOf(ctx, o.Suite, o.Flavour)
	}
	if err != nil {
		return err
	}
	o.Work = filepath.Join(o.Dir, o.Release)
	// Where the suite is known by its name, its files are in the cache by that, and not once more as "stable".
	if suite, err := kernels.Suite(o.Release); err != nil {
		return err
	} else if o.Suite == "" || o.Suite == stable && suite != "" {
		o.Suite = suite
	}
	return nil
}

// Init is the command line that takes the scheduler out of the kernel.
func (o *Options) Init() []string {
	args := []string{o.Tool, "init", "--release", o.Release}
	if o.Suite != "" {
		args = append(args, "--suite", o.Suite)
	}
	return append(args, o.Work)
}

// Main runs a program until it ends or is interrupted, and exits with 1 if it
// fails.
func Main(name string, run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "%s: FAILED: %v\n", name, err)
	var fault *vm.KernelFault
	if errors.As(err, &fault) {
		for _, f := range fault.Faults {
			fmt.Fprintln(os.Stderr, f.Excerpt)
		}
	}
	os.Exit(1)
}
