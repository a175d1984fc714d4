// SPDX-License-Identifier: BSD-3-Clause

package environment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"plugsched/internal/kernel/fetch"
)

// EnterCommand is the hidden command that runs in the new namespace.
const EnterCommand = "enter"

// searchPath is where programs of a tree are.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// enterError begins what Enter prints when no program has run.
const enterError = "plugsched enter:"

// Enter is the hidden command `plugsched enter ROOT [PATH]... -- PROGRAM [ARGUMENT]...`: it makes
// the view of the file system of which Command speaks, and becomes the program. It returns,
// with an exit status, only if that fails.
func Enter(args []string) int {
	err := enter(args)
	fmt.Fprintln(os.Stderr, enterError, err)
	return 127
}

func enter(args []string) error {
	at := slices.Index(args, "--")
	if at < 1 || at == len(args)-1 {
		return errors.New("only for use by plugsched itself")
	}
	root, paths, argv := args[0], args[1:at], args[at+1:]
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	// What is mounted here is not to be seen outside; what is unmounted there is not to be kept here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return &fs.PathError{Op: "make a slave", Path: "/", Err: err}
	}
	top, err := assemble(root)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := show(path, top+path); err != nil {
			return err
		}
	}
	if err := unix.Chroot(top); err != nil {
		return &fs.PathError{Op: "chroot", Path: top, Err: err}
	}
	if os.Chdir(dir) != nil {
		if err := os.Chdir("/"); err != nil {
			return err
		}
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		// Libraries of the machine are none of the tree's.
		return strings.HasPrefix(v, "LD_") || strings.HasPrefix(v, "PATH=")
	})
	os.Setenv("PATH", searchPath)
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return unix.Exec(program, argv, append(env, "PATH="+searchPath))
}

// assemble makes the new root: directories of programs are the tree's, all others are the
// machine's.
func assemble(root string) (top string, err error) {
	top = filepath.Join(filepath.Dir(root), "top")
	if err := os.MkdirAll(top, 0o755); err != nil {
		return "", err
	}
	if err := unix.Mount("tmpfs", top, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return "", &fs.PathError{Op: "mount a tmpfs", Path: top, Err: err}
	}
	// It is not to be in itself, where the cache is below a directory that it shows.
	if err := unix.Mount("", top, "", unix.MS_UNBINDABLE, ""); err != nil {
		return "", &fs.PathError{Op: "make unbindable", Path: top, Err: err}
	}
	for _, from := range []struct {
		dir  string
		tree bool
	}{{root, true}, {"/", false}} {
		entries, err := os.ReadDir(from.dir)
		if err != nil {
			return "", err
		}
		for _, e := range entries {
			if fetch.RootDir(e.Name()) != from.tree {
				continue
			}
			if err := show(filepath.Join(from.dir, e.Name()), filepath.Join(top, e.Name())); err != nil {
				return "", err
			}
		}
	}
	return top, nil
}

// show makes a directory, a file or a link be seen at another path too. What cannot be looked at
// here cannot be there.
func show(from, to string) error {
	st, err := os.Lstat(from)
	if err != nil {
		return nil
	}
	switch {
	case st.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case st.IsDir():
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
	case !st.Mode().IsRegular():
		return nil
	default:
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(to, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			return err
		}
		f.Close()
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return &fs.PathError{Op: "show below a root of programs", Path: from, Err: err}
	}
	return nil
}
