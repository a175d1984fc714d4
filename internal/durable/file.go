// SPDX-License-Identifier: BSD-3-Clause

// Package durable has what several processes, and a machine that loses power, do not get
// wrong together: files that are whole or not there, and locks.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Suffix ends the name of a file that is being made. One that was left behind by a crash
// is used again by the next who makes the same file.
const Suffix = ".tmp"

// WriteFile gives a file new contents. Readers, others who write it, and a crash leave the
// old contents or the new ones, whole, with this mode whatever the umask is. When it
// returns nil they are on the disk, the name too. A symbolic link is replaced, not
// followed; what is neither a file nor nothing is refused.
func WriteFile(path string, text []byte, perm fs.FileMode) error {
	return Write(path, perm, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// Write is WriteFile with what a function writes.
func Write(path string, perm fs.FileMode, write func(io.Writer) error) error {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return fmt.Errorf("%s: is there and is no regular file", path)
	}
	f, err := open(path+Suffix, perm)
	if err != nil {
		return err
	}
	defer f.Close() // and with it the lock
	if err := fill(f, perm, write); err != nil {
		os.Remove(f.Name())
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		os.Remove(f.Name())
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// open makes the file that is to become another one, and locks it against those who
// write the same one.
func open(path string, perm fs.FileMode) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, perm)
		if err != nil {
			return nil, err
		}
		if err := ours(f, path); err == nil {
			return f, nil
		} else if f.Close(); !errors.Is(err, errGone) {
			return nil, err
		}
	}
}

// errGone: whoever had the file before has given it its name.
var errGone = errors.New("has another name by now")

func ours(f *os.File, path string) error {
	var opened, named unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &opened); err != nil {
		return err
	}
	// Who made it could still write to it, or has it under another name.
	if opened.Mode&unix.S_IFMT != unix.S_IFREG || opened.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("%s: is there and is not ours", path)
	}
	if err := flock(f); err != nil {
		return err
	}
	if err := unix.Lstat(path, &named); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	} else if err != nil || named.Ino != opened.Ino || named.Dev != opened.Dev {
		return errGone
	}
	if named.Nlink > 1 {
		return fmt.Errorf("%s: has another name too", path)
	}
	return nil
}

// flock waits: who has the lock is writing, and does nothing else.
func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func fill(f *os.File, perm fs.FileMode, write func(io.Writer) error) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if err := write(f); err != nil {
		return err
	}
	return f.Sync()
}

// Replace gives a file the name of another, which is gone then. Both the contents and the
// name are on the disk when it returns nil.
func Replace(from, to string) error {
	f, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	err = f.Sync()
	f.Close()
	if err != nil {
		return err
	}
	return rename(from, to)
}

// ReplaceTree gives a directory the name of another, which must be empty or not there. All
// that is below it is on the disk then, and so is the name.
func ReplaceTree(from, to string) error {
	d, err := os.Open(from)
	if err != nil {
		return err
	}
	err = unix.Syncfs(int(d.Fd()))
	d.Close()
	if err != nil {
		return &fs.PathError{Op: "sync", Path: from, Err: err}
	}
	return rename(from, to)
}

func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// SyncDir returns when the names of a directory are on the disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some file systems cannot, and need not (EINVAL: fsync(2)).
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
