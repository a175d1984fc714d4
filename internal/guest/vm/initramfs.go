// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"plugsched/internal/kernel/arch"
)

// busybox gives the guest a shell and the usual tools. It is left out if the
// host has none that the guest can run.
const busybox = "/bin/busybox"

// buildInitramfs returns the guest's root file system as an open file that has
// no name and so cannot be left behind.
//
// It is not compressed: the emulator maps the file, while decompressing would
// be done by the emulated CPU during boot.
func buildInitramfs(c *Config, a *arch.Arch) (*os.File, error) {
	files := []File{{GuestPath: "/init", HostPath: c.Init, Mode: 0o755}}
	if c.sharing != nil {
		files = append(files, c.sharing.files(c.Modules)...)
	}
	if c.Disk == "" {
		return writeInitramfs(a, append(files, c.Files...), true)
	}
	more, err := diskFiles(c)
	if err != nil {
		return nil, err
	}
	return writeInitramfs(a, append(files, more...), false)
}

// Initramfs is for emulators that this package does not know: the root file system of a guest
// of the kernel, with the tools of busybox and files, one of which has to be /init.
func Initramfs(kernel string, files []File) (*os.File, error) {
	a, err := archOf(kernel)
	if err != nil {
		return nil, err
	}
	return writeInitramfs(a, files, true)
}

func writeInitramfs(a *arch.Arch, files []File, tools bool) (_ *os.File, err error) {
	entries := []entry{
		{name: "dev/console", mode: unix.S_IFCHR | 0o600, major: 5, minor: 1},
		{name: "dev/null", mode: unix.S_IFCHR | 0o666, major: 1, minor: 3},
		{name: "root", mode: unix.S_IFDIR | 0o700},
		// sh and others look a user's name up.
		content("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
		content("etc/group", "root:x:0:\n"),
	}
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	for _, f := range files {
		e, host, err := f.entry()
		if err != nil {
			return nil, err
		}
		if host != nil {
			open = append(open, host)
		}
		entries = append(entries, e)
	}
	if tools && runsIn(a, busybox) == nil {
		bb, host, err := File{GuestPath: busybox, HostPath: busybox, Mode: 0o755}.entry()
		if err != nil {
			return nil, err
		}
		open = append(open, host)
		entries = addApplets(append(entries, bb))
	}

	out, err := unnamedFile("initramfs")
	if err != nil {
		return nil, &InfraError{"create initramfs", err}
	}
	defer func() {
		if err != nil {
			out.Close()
		}
	}()
	w := bufio.NewWriterSize(out, 1<<20)
	if err := writeCPIO(w, entries); err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, &InfraError{"write initramfs", err}
	}
	return out, nil
}

func content(name, s string) entry {
	return entry{name: name, mode: unix.S_IFREG | 0o644, size: int64(len(s)), content: strings.NewReader(s)}
}

func (f File) entry() (entry, *os.File, error) {
	mode := f.Mode.Perm()
	if f.HostPath == "" {
		if mode == 0 {
			mode = 0o644
		}
		return entry{name: f.GuestPath, mode: unix.S_IFREG | uint32(mode), size: int64(len(f.Content)),
			content: bytes.NewReader(f.Content)}, nil, nil
	}
	host, err := os.Open(f.HostPath)
	if err != nil {
		return entry{}, nil, fmt.Errorf("file for the guest: %w", err)
	}
	fi, err := host.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("file for the guest: %s is not a regular file", f.HostPath)
	}
	if err != nil {
		host.Close()
		return entry{}, nil, err
	}
	if mode == 0 {
		mode = fi.Mode().Perm()
	}
	return entry{name: f.GuestPath, mode: unix.S_IFREG | uint32(mode), size: fi.Size(), content: host}, host, nil
}

// addApplets adds a link to busybox for each of its tools that is not there.
func addApplets(entries []entry) []entry {
	list, err := exec.Command(busybox, "--list-full").Output()
	if err != nil {
		// A busybox of another architecture, or without the list: at least a shell.
		list = []byte("bin/sh\n")
	}
	have := map[string]bool{}
	for _, e := range entries {
		have[strings.TrimPrefix(e.name, "/")] = true
	}
	for _, name := range strings.Fields(string(list)) {
		if !have[name] {
			have[name] = true
			e := content(name, busybox)
			e.mode = unix.S_IFLNK | 0o777
			entries = append(entries, e)
		}
	}
	return entries
}

func unnamedFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
