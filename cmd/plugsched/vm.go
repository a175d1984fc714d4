// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/develop/moddiff"
	"plugsched/internal/develop/project"
	"plugsched/internal/guest/vm"
	"plugsched/internal/kernel/fetch"
)

func newVM() *cobra.Command {
	var dir, release, suite, install string
	var g guestFlags
	c := &cobra.Command{
		Use:   "vm [--dir WORKDIR | --release RELEASE] [--install MODULE] [--gdb[=PORT]] [-- COMMAND [ARG...]]",
		Short: "Try a scheduler in a virtual machine of its kernel",
		Long: `Vm boots the stock kernel of WORKDIR (or of --release) under QEMU and runs COMMAND
in it, or a shell. The module that build made is /scheduler.ko there, and
plugsched is in the path. The guest sees nothing of this machine but what --file copies and
--share shares, and nothing is kept but the console log and what the guest writes to a
shared directory. The exit status is COMMAND's, or 5 when the guest's kernel complained.

With --install MODULE, which need not be of WORKDIR, that module is /scheduler.ko and is
installed first; without a working directory the kernel is the module's. With --gdb QEMU
listens for a debugger, the kernel is at its link address, and a script is written that
loads the symbols of the kernel and of the installed module.`,
		Example: `  plugsched vm --dir work
  plugsched vm --dir work --install work/scheduler.ko --gdb
  plugsched vm --dir work -- /bin/sh -c 'plugsched install /scheduler.ko && plugsched status'`,
		RunE: func(c *cobra.Command, a []string) error {
			if err := g.read(); err != nil {
				return err
			}
			if install != "" {
				m, err := moddiff.Open(install)
				if err != nil {
					return err
				}
				if _, err := project.Open(dir); err != nil && release == "" && !c.Flags().Changed("dir") {
					release = m.Desc.Release
				}
			}
			if suite != "" && release == "" {
				return cli.Usagef("--suite is about the packages of --release")
			}
			t, module, err := vmTarget(c, dir, fetch.Options{Release: release, Suite: suite, CacheDir: g.cacheDir})
			if err != nil {
				return err
			}
			module = cmp.Or(install, module)
			cfg, err := g.config(c, t, module)
			if err != nil {
				return err
			}
			v := &guestVM{Config: *cfg, target: t, module: module, install: install != ""}
			v.NoKASLR = v.GDB != 0
			return v.run(c, a)
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", ".", "the working directory")
	f.Var(cli.Release{To: &release}, "release", "boot this kernel instead, without a working directory")
	f.StringVar(&suite, "suite", "", suiteHelp)
	g.add(f)
	f.StringVar(&install, "install", "", "install this module first")
	f.Var(cli.Int(&g.cfg.GDB, 0, 1, 65535), "gdb", "listen for a debugger on this port of 127.0.0.1")
	f.Lookup("gdb").NoOptDefVal, f.Lookup("gdb").DefValue = "1234", ""
	c.MarkFlagsMutuallyExclusive("dir", "release")
	c.MarkFlagsMutuallyExclusive("dir", "suite")
	return c
}

// vmTarget finds the kernel, and the module when there is one.
func vmTarget(c *cobra.Command, dir string, o fetch.Options) (*fetch.Target, string, error) {
	if o.Release != "" {
		out := newProgress(c.ErrOrStderr())
		defer out.finish()
		o.Progress = out.fetching
		t, err := fetch.Fetch(c.Context(), o)
		return t, "", err
	}
	p, err := project.Open(dir)
	if err != nil {
		return nil, "", err
	}
	t, err := p.Target()
	if err != nil {
		return nil, "", err
	}
	if _, err := os.Stat(p.Module()); err != nil {
		return t, "", nil
	}
	return t, p.Module(), nil
}

// guestVM is a guest to be run, and what it is run with.
type guestVM struct {
	vm.Config
	target  *fetch.Target
	module  string // path, "" if there is none
	install bool
}

func (v *guestVM) run(c *cobra.Command, argv []string) error {
	fmt.Fprintln(c.ErrOrStderr(), "booting", v.Kernel)
	m, err := vm.Boot(c.Context(), v.Config)
	if err != nil {
		return err
	}
	defer m.Close()
	code := 0
	if v.install {
		code, err = v.command(c, m, []string{"plugsched", "install", "/scheduler.ko"})
	}
	if err == nil && code == 0 && v.GDB != 0 {
		err = v.writeScript(c, m)
	}
	switch {
	case err != nil || code != 0:
	case len(argv) == 0:
		code, err = m.Shell(c.Context(), os.Stdin, c.OutOrStdout())
	default:
		code, err = v.command(c, m, argv)
	}
	if err != nil {
		return err
	}
	if err := m.Settle(c.Context()); err != nil {
		return err
	}
	if f := m.Faults(); len(f) > 0 {
		return &vm.KernelFault{Faults: f, ConsolePath: m.ConsolePath()}
	}
	if code != 0 {
		return &cli.ExitError{Code: code}
	}
	return nil
}

// command runs a command in the guest, and returns its exit code.
func (v *guestVM) command(c *cobra.Command, m *vm.Machine, argv []string) (code int, err error) {
	r, err := m.Run(c.Context(), vm.Cmd{Argv: argv, Timeout: 24 * time.Hour})
	if r != nil {
		c.OutOrStdout().Write(r.Stdout)
		c.ErrOrStderr().Write(r.Stderr)
		code = r.ExitCode
	}
	return code, err
}
