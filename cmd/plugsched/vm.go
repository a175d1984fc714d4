// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/develop/moddiff"
	"plugsched/internal/develop/project"
	"plugsched/internal/guest/vm"
	"plugsched/internal/kernel/fetch"
)

func newVM() *cobra.Command {
	var dir, release, cacheDir, install string
	var files, shares []string
	cfg := vm.Config{}
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
			extra, err := vmFiles(files)
			if err != nil {
				return err
			}
			if cfg.Shares, err = vmShares(shares); err != nil {
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
			t, module, err := vmTarget(c, dir, release, cacheDir)
			if err != nil {
				return err
			}
			module = cmp.Or(install, module)
			if t.Vmlinuz == "" {
				return noImage(t.Release)
			}
			cfg.Kernel = t.Vmlinuz
			if cfg.Modules, err = vmModules(c, t, cacheDir, len(shares) > 0); err != nil {
				return err
			}
			if cfg.Files, err = ownFiles(module); err != nil {
				return err
			}
			cfg.Files = append(cfg.Files, extra...)
			v := &guestVM{Config: cfg, target: t, module: module, install: install != ""}
			v.NoKASLR = v.GDB != 0
			return v.run(c, a)
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", ".", "the working directory")
	f.Var(cli.Release{To: &release}, "release", "boot this kernel instead, without a working directory")
	f.StringVar(&cacheDir, "cache-dir", "", "where fetched kernels are kept")
	f.Var(cli.Int(&cfg.CPUs, 4, 1, 255), "cpus", "virtual CPUs, from 1 to 255")
	f.Var(cli.Int(&cfg.MemoryMiB, 1024, 128, 1<<20), "memory", "memory in MiB, from 128 to 1048576")
	f.StringArrayVar(&cfg.Append, "append", nil, "another word for the kernel command line")
	f.StringArrayVar(&files, "file", nil, "put a file into the guest, as HOST:GUEST")
	f.StringArrayVar(&shares, "share", nil,
		"share a directory with the guest, as DIR[:GUESTDIR][:ro]; GUESTDIR is /mnt/ and DIR's name otherwise")
	f.StringVar(&cfg.ConsoleLog, "console", "", "keep the console log here")
	f.StringVar(&install, "install", "", "install this module first")
	f.Var(cli.Int(&cfg.GDB, 0, 1, 65535), "gdb", "listen for a debugger on this port of 127.0.0.1")
	f.Lookup("gdb").NoOptDefVal, f.Lookup("gdb").DefValue = "1234", ""
	c.MarkFlagsMutuallyExclusive("dir", "release")
	return c
}

func noImage(release string) error {
	return &project.Error{Text: release + ": no boot image is known: name it with `plugsched init --vmlinuz`"}
}

// vmTarget finds the kernel, and the module when there is one.
func vmTarget(c *cobra.Command, dir, release, cacheDir string) (*fetch.Target, string, error) {
	if release != "" {
		out := newProgress(c.ErrOrStderr())
		defer out.finish()
		t, err := fetch.Fetch(c.Context(), fetch.Options{Release: release, CacheDir: cacheDir, Progress: out.fetching})
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

// ownFiles are those that are in every guest.
func ownFiles(module string) ([]vm.File, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	list := []vm.File{{GuestPath: "/bin/plugsched", HostPath: self, Mode: 0o755}}
	if module != "" {
		list = append(list, vm.File{GuestPath: "/scheduler.ko", HostPath: module})
	}
	return list, nil
}

// vmFiles are those that the user names.
func vmFiles(files []string) ([]vm.File, error) {
	var list []vm.File
	for _, f := range files {
		host, guest, ok := strings.Cut(f, ":")
		if !ok || host == "" || !path.IsAbs(guest) || path.Clean(guest) != guest || guest == "/" {
			return nil, cli.Usagef("--file %s: write HOST:GUEST, the file's path here and its path there from the root", f)
		}
		st, err := os.Stat(host)
		if err != nil {
			return nil, cli.Usagef("--file %s: %w", f, err)
		}
		if !st.Mode().IsRegular() {
			return nil, cli.Usagef("--file %s: %s is no file; a directory goes in as an archive", f, host)
		}
		list = append(list, vm.File{GuestPath: guest, HostPath: host})
	}
	return list, nil
}

// vmShares are the directories that the user names.
func vmShares(shares []string) ([]vm.Share, error) {
	var list []vm.Share
	for _, text := range shares {
		s := vm.Share{}
		s.HostPath, s.ReadOnly = strings.CutSuffix(text, ":ro")
		if i := strings.LastIndex(s.HostPath, ":/"); i >= 0 {
			s.HostPath, s.GuestPath = s.HostPath[:i], s.HostPath[i+1:]
		}
		st, err := os.Stat(s.HostPath)
		switch {
		case s.HostPath == "":
			return nil, cli.Usagef("--share %s: write DIR[:GUESTDIR][:ro]", text)
		case err != nil:
			return nil, cli.Usagef("--share %s: %w", text, err)
		case !st.IsDir():
			return nil, cli.Usagef("--share %s: %s is no directory; --file puts a file into the guest", text, s.HostPath)
		}
		if s.HostPath, err = filepath.Abs(s.HostPath); err != nil {
			return nil, err
		}
		if s.GuestPath == "" {
			s.GuestPath = path.Join("/mnt", filepath.Base(s.HostPath))
		}
		if path.Clean(s.GuestPath) != s.GuestPath || s.GuestPath == "/" || strings.Contains(s.GuestPath, ":") {
			return nil, cli.Usagef("--share %s: %s is no place for it in the guest: write DIR:GUESTDIR, the path there from the root",
				text, s.GuestPath)
		}
		if slices.ContainsFunc(list, func(other vm.Share) bool { return other.GuestPath == s.GuestPath }) {
			return nil, cli.Usagef("--share %s: %s is shared already: write DIR:GUESTDIR with another place", text, s.GuestPath)
		}
		list = append(list, s)
	}
	return list, nil
}

// vmModules returns the directory of the kernel's modules, which have the drivers of shared directories.
func vmModules(c *cobra.Command, t *fetch.Target, cacheDir string, wanted bool) (string, error) {
	if !wanted {
		return "", nil
	}
	out := newProgress(c.ErrOrStderr())
	defer out.finish()
	dir, err := fetch.Modules(c.Context(), fetch.Options{Release: t.Release, Version: t.Version, Suite: t.Suite, CacheDir: cacheDir,
		Progress: out.fetching})
	if err != nil {
		return "", fmt.Errorf("--share needs the kernel's modules: %w", err)
	}
	return dir, nil
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
