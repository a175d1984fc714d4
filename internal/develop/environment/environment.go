// SPDX-License-Identifier: BSD-3-Clause

// Package environment knows where the programs run that make something for a kernel: on this
// machine, if its compiler is the one that built the kernel, and the kernel's own tools run here,
// or in a tree of programs of the kernel's own suite. The compiler of a kernel of another architecture
// is in a tree of its own, and is emulated. Such a tree is unpacked from packages
// once. A program in it sees the tree's /usr and /etc, and all else as it is on the machine, at
// the same paths.
package environment

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"plugsched/internal/kernel/fetch"
)

// Environment is where programs run that are for one kernel. The zero value, and nil, are this machine,
// without a compiler.
type Environment struct {
	// Suite and Root are the tree of programs; empty for this machine.
	Suite string `json:"suite,omitempty"`
	Root  string `json:"root,omitempty"`
	// Programs tells trees at one path apart: a hash of their files' names and sizes.
	Programs string `json:"programs,omitempty"`
	// Arch and Cross are the kernel's name of its architecture, and what the names of programs that work
	// on its code begin with; empty if it is this machine's.
	Arch  string `json:"arch,omitempty"`
	Cross string `json:"cross,omitempty"`
	// CC is the command of the compiler that built the kernel.
	CC string `json:"cc"`
	// Quick is that of another one of the same series, if CC is emulated, for code that is not compared with
	// the kernel's.
	Quick string `json:"quick,omitempty"`
	// Visible are paths that programs see although they are below a directory of the tree's.
	Visible []string `json:"visible,omitempty"`

	// Self is the plugsched binary, which enters the tree.
	Self string `json:"-"`
}

// Command is exec.CommandContext for a program of the environment. Its children end with it.
func (e *Environment) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if e != nil && e.Root != "" {
		attr.Cloneflags = syscall.CLONE_NEWNS
		if !mayMount() {
			attr.Cloneflags |= syscall.CLONE_NEWUSER
			attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
			attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
		}
		enter := append([]string{EnterCommand, e.Root}, e.hidden()...)
		name, args = e.Self, append(append(enter, "--", name), args...)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = attr
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// mayMount reports that this process can make a view of the file system for another one.
func mayMount() bool {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&h, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// AnyCC is the command of the compiler that is quickest.
func (e *Environment) AnyCC() string { return cmp.Or(e.Quick, e.CC) }

// Tool is the command of a program that works on the kernel's code, by its plain name.
func (e *Environment) Tool(name string) string {
	if e == nil {
		return name
	}
	return e.Cross + name
}

// Make are the arguments that tell the kernel's build system for which architecture it works.
func (e *Environment) Make() []string {
	if e == nil || e.Arch == "" {
		return nil
	}
	return []string{"ARCH=" + e.Arch, "CROSS_COMPILE=" + e.Cross}
}

// hidden are the paths that the tree would hide, and that programs are to see.
func (e *Environment) hidden() []string {
	var out []string
	add := func(path string) {
		// What a link leads to is what has to be there.
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return
		}
		top, _, _ := strings.Cut(strings.TrimPrefix(real, "/"), "/")
		if fetch.RootDir(top) && !strings.HasPrefix(real, e.Root+"/") {
			out = append(out, real)
		}
	}
	for _, path := range append([]string{e.Self}, e.Visible...) {
		add(path)
	}
	return out
}

// Key changes with whatever makes programs other ones.
func (e *Environment) Key() string { return strings.Join([]string{e.CC, e.Root, e.Programs}, " ") }

// Showing is the environment with more paths that programs see. Where one starts is none of them:
// the tree's programs would be the machine's to who stands in /usr.
func (e *Environment) Showing(paths ...string) *Environment {
	if e == nil {
		return nil
	}
	more := *e
	more.Visible = slices.Concat(e.Visible, paths)
	return &more
}

// String names it for people.
func (e *Environment) String() string {
	if e.Root == "" {
		return "this machine"
	}
	return e.Suite
}
