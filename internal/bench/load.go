// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Load is what exists in a guest while it is measured, besides what always does.
type Load struct {
	Sleepers   int `json:"sleepers,omitempty"`   // processes that sleep
	Runnable   int `json:"runnable,omitempty"`   // processes that spin
	Groups     int `json:"groups,omitempty"`     // cgroups without tasks
	Autogroups int `json:"autogroups,omitempty"` // sessions of one sleeper each
	Throttled  int `json:"throttled,omitempty"`  // cgroups whose only process has used up its quota
}

// cgroups is where the groups are made.
const cgroups = "/sys/fs/cgroup"

// quota leaves a process that spins a thousandth of a CPU: 1 ms in a second.
const quota = "1000 1000000"

// What a process does that fork makes.
const (
	sleeps      = iota
	sleepsAlone // in a session of its own
	spins
)

// fork makes a process that never gets back into Go's runtime, of which only this thread is
// left in it: it makes system calls and nothing else. It dies with the thread that made it.
//
//go:nosplit
//go:norace
func fork(what int) (pid uintptr, err syscall.Errno) {
	pid, _, err = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if pid != 0 || err != 0 {
		return pid, err
	}
	syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
	if what == sleepsAlone {
		syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
	}
	for {
		if what != spins {
			syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
		}
	}
}

// load is a Load that exists. Its methods are for one locked thread.
type load struct {
	pids   []int
	groups []string
}

// begin makes all of it, or ends what it has made.
func begin(want Load) (*load, error) {
	l := &load{}
	err := l.begin(want)
	if err != nil {
		return nil, errors.Join(err, l.end())
	}
	return l, nil
}

func (l *load) begin(want Load) error {
	if want.Groups+want.Throttled > 0 {
		if err := os.WriteFile(filepath.Join(cgroups, "cgroup.subtree_control"), []byte("+cpu"), 0); err != nil {
			return fmt.Errorf("the controller of CPUs: %w", err)
		}
	}
	for range want.Groups {
		if _, err := l.group(); err != nil {
			return err
		}
	}
	for _, kind := range []struct{ n, what int }{
		{want.Sleepers, sleeps}, {want.Autogroups, sleepsAlone}, {want.Runnable, spins},
	} {
		for range kind.n {
			if _, err := l.fork(kind.what); err != nil {
				return err
			}
		}
	}
	for range want.Throttled {
		if err := l.throttled(); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) fork(what int) (pid int, err error) {
	p, errno := fork(what)
	if errno != 0 {
		return 0, fmt.Errorf("process %d: %w", len(l.pids)+1, errno)
	}
	l.pids = append(l.pids, int(p))
	return int(p), nil
}

func (l *load) group() (dir string, err error) {
	dir = filepath.Join(cgroups, fmt.Sprintf("bench%d", len(l.groups)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	l.groups = append(l.groups, dir)
	return dir, nil
}

func (l *load) throttled() error {
	dir, err := l.group()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cpu.max"), []byte(quota), 0); err != nil {
		return err
	}
	pid, err := l.fork(spins)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// end takes all of it away.
func (l *load) end() error {
	for _, pid := range l.pids {
		unix.Kill(pid, unix.SIGKILL)
	}
	for _, pid := range l.pids {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
			return fmt.Errorf("waiting for process %d: %w", pid, err)
		}
	}
	for _, dir := range l.groups {
		err := os.Remove(dir)
		// A process leaves its group a moment after it is reaped.
		for try := 0; errors.Is(err, unix.EBUSY) && try < 100; try++ {
			time.Sleep(10 * time.Millisecond)
			err = os.Remove(dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
