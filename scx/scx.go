// SPDX-License-Identifier: BSD-3-Clause

// Package scx runs schedulers that are BPF programs, on kernels that have sched_ext.
//
// A scheduler that was loaded stays without any process: its link is pinned below [Pins], and
// so is a map into which it writes why it ended. Nothing else is kept. What runs is asked of the kernel
// at each call; it may have ended a scheduler meanwhile, and others may have loaded theirs.
//
// Objects are compiled C: bpf/ has ours, and the header that others take to write one.
package scx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

// Pins is the directory of what is pinned, on a BPF file system. Each scheduler has a directory of
// its name there, with its link, with why it ended, and with its trial.
const Pins = bpffs + "/plugsched"

const (
	bpffs   = "/sys/fs/bpf"
	pinLink = "link"
	pinEnd  = "end"
	// Of one on trial, the map with the timer, and the program that confirms.
	pinnedTrial   = "trial"
	pinnedConfirm = "confirm"
	// A symbolic link that says whose it is, and leads nowhere.
	pinnedOf = "of"
)

// pinnable are the names of schedulers that can be directories. The kernel allows dots, too
// (kernel/bpf/syscall.c, bpf_obj_name_cpy), which a BPF file system does not (kernel/bpf/inode.c, bpf_lookup).
var pinnable = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

// pinned is the path of what a scheduler has pinned.
func pinned(name, what string) string { return filepath.Join(Pins, name, what) }

// lock makes the directory of pins, if need be, and keeps other processes of this package from it
// until unlock, or until this one is gone.
func lock() (unlock func(), err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(bpffs, &st); err != nil || st.Type != unix.BPF_FS_MAGIC {
		return nil, &PreconditionError{fmt.Errorf("there is no BPF file system on %s: mount -t bpf bpf %[1]s", bpffs)}
	}
	if err := os.Mkdir(Pins, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, needsRoot(err)
	}
	f, err := os.Open(Pins)
	if err != nil {
		return nil, needsRoot(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", Pins, err), f.Close())
	}
	return func() { f.Close() }, nil
}

// needsRoot says why something is not permitted.
func needsRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return &PreconditionError{fmt.Errorf("changing the scheduler needs root: %w", err)}
	}
	return err
}
