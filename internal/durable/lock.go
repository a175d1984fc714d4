// SPDX-License-Identifier: BSD-3-Clause

package durable

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/outcome"
)

// HeldError says that another process has a lock.
type HeldError struct {
	Path string
	By   string // "process 12 (name)", or anonymous
}

func (e *HeldError) Error() string { return e.Path + " is locked by " + e.By }

// Outcome implements outcome.Error.
func (*HeldError) Outcome() outcome.Outcome { return outcome.Precondition }

// TryLock takes the lock that a file is, or says who has it (*HeldError). The file is made
// if need be, with perm, and is never removed: whoever has it open would have another lock
// than those who come later. It is not opened through a symbolic link, is not inherited by
// programs that are run, and its lock ends with the process.
func TryLock(path string, perm fs.FileMode) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, perm)
	if err != nil {
		return nil, err
	}
	ok, err := TryLockFile(f)
	if ok {
		return func() { f.Close() }, nil
	}
	f.Close()
	if err != nil {
		return nil, err
	}
	return nil, &HeldError{path, cmp.Or(Holder("/", path), anonymous)}
}

// anonymous has the lock, and cannot be seen: it is in another PID namespace, or gone by now.
const anonymous = "another process"

// pause is between two looks at a lock that is waited for.
const pause = 100 * time.Millisecond

// WaitLock is TryLock, and waits until the lock is free or the context ends, whose cause it
// returns then. waiting, when not nil, is called once with who has the lock.
func WaitLock(ctx context.Context, path string, perm fs.FileMode, waiting func(*HeldError)) (unlock func(), err error) {
	for {
		unlock, err := TryLock(path, perm)
		var held *HeldError
		if !errors.As(err, &held) {
			return unlock, err
		}
		if waiting != nil {
			waiting(held)
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// TryLockFile takes the lock that an open file is, until it is closed, unless somebody else
// has it.
func TryLockFile(f *os.File) (bool, error) {
	for {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}

// Holder says who has the lock of a file, "" when nobody has, without a try to take it:
// that could make a command fail that comes at the same time. The kernel has a list
// (fs/locks.c, lock_get_status: device and inode in the sixth field) of what it shows in
// this PID namespace. root is where /proc is below; path is not.
func Holder(root, path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return ""
	}
	locks, err := os.ReadFile(filepath.Join(root, "/proc/locks"))
	if err != nil {
		return "" // who cannot see it is told by TryLock
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(locks)) {
		if f := strings.Fields(line); len(f) > 5 && f[1] == "FLOCK" && f[5] == file {
			return process(root, f[4])
		}
	}
	return ""
}

func process(root, pid string) string {
	if _, err := strconv.ParseUint(pid, 10, 31); err != nil {
		return anonymous
	}
	name, err := os.ReadFile(filepath.Join(root, "/proc", pid, "comm"))
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("process %s (%s)", pid, strings.ToValidUTF8(strings.TrimSpace(string(name)), "?"))
}
