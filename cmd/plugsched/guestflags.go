// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"plugsched/internal/command/cli"
	"plugsched/internal/develop/project"
	"plugsched/internal/guest/vm"
	"plugsched/internal/kernel/fetch"
)

// guestFlags are the flags of commands that boot a guest, and what they come to.
type guestFlags struct {
	cfg           vm.Config
	cacheDir      string
	files, shares []string
}

func (g *guestFlags) add(f *pflag.FlagSet) {
	f.StringVar(&g.cacheDir, "cache-dir", "", "where fetched kernels are kept")
	f.Var(cli.Int(&g.cfg.CPUs, 4, 1, 255), "cpus", "virtual CPUs, from 1 to 255")
	f.Var(cli.Int(&g.cfg.MemoryMiB, 1024, 128, 1<<20), "memory", "memory in MiB, from 128 to 1048576")
	f.StringArrayVar(&g.cfg.Append, "append", nil, "another word for the kernel command line")
	f.StringArrayVar(&g.files, "file", nil, "put a file into the guest, as HOST:GUEST")
	f.StringArrayVar(&g.shares, "share", nil,
		"share a directory with the guest, as DIR[:GUESTDIR][:ro]; GUESTDIR is /mnt/ and DIR's name otherwise")
	f.StringVar(&g.cfg.ConsoleLog, "console", "", "keep the console log here")
}

// read makes of the flags what needs no kernel, or says what is wrong with them.
func (g *guestFlags) read() (err error) {
	if g.cfg.Files, err = vmFiles(g.files); err != nil {
		return err
	}
	g.cfg.Shares, err = vmShares(g.shares)
	return err
}

// config is that of a guest with this kernel, and with a module if it is not "".
func (g *guestFlags) config(c *cobra.Command, t *fetch.Target, module string) (*vm.Config, error) {
	cfg := g.cfg
	if t.Vmlinuz == "" {
		return nil, noImage(t.Release)
	}
	cfg.Kernel = t.Vmlinuz
	var err error
	if cfg.Modules, err = vmModules(c, t, g.cacheDir, len(g.shares) > 0); err != nil {
		return nil, err
	}
	own, err := ownFiles(module)
	cfg.Files = append(own, cfg.Files...)
	return &cfg, err
}

func noImage(release string) error {
	return &project.Error{Text: release + ": no boot image is known: name it with `plugsched init --vmlinuz`"}
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
