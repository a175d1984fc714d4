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

// busybox gives the guest a shell and the usual tools.
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
		return writeInitramfs(a, append(files, c.Files...), c.Busybox)
	}
	more, err := diskFiles(c)
	if err != nil {
		return nil, err
	}
	return writeInitramfs(a, append(files, more...), "")
}

// Initramfs is for emulators that this package does not know: the root file system of a guest
// of the kernel, with the tools of busybox and files, one of which has to be /init.
func Initramfs(kernel string, files []File) (*os.File, error) {
	a, err := archOf(kernel)
	if err != nil {
		return nil, err
	}
	return writeInitramfs(a, files, hostBusybox(a))
}

// hostBusybox is the machine's, or "" if it has none that the guest can run.
func hostBusybox(a *arch.Arch) string {
	if runsIn(a, busybox) != nil {
		return ""
	}
	return busybox
}

// writeInitramfs puts the tools of a busybox among the files, unless its path is empty.
func writeInitramfs(a *arch.Arch, files []File, tools string) (_ *os.File, err error) {
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
	if tools != "" {
		bb, host, err := File{GuestPath: busybox, HostPath: tools, Mode: 0o755}.entry()
		if err != nil {
			return nil, err
		}
		open = append(open, host)
		entries = addApplets(append(entries, bb), tools)
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

// addApplets adds a link to busybox for each of its tools that is not there. One of another
// architecture cannot be asked: it is taken to have those of the machine's own.
func addApplets(entries []entry, tools string) []entry {
	list := []byte("bin/sh\n") // at least a shell
	for _, from := range []string{tools, busybox} {
		if out, err := exec.Command(from, "--list-full").Output(); err == nil {
			list = out
			break
		}
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
