// SPDX-License-Identifier: BSD-3-Clause

package agent

import (
	"errors"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A reaper waits for every child of init: the processes it started and the
// orphans that the kernel gave it. There is only one waiter, so none can take
// another's status.
//
// A dead child is first looked at (WNOWAIT), then reaped with mu held. While it
// is a zombie its number cannot be used again, and processes are started and
// signalled with mu held too; so a number in waiting always means the process
// that was started under it.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan<- unix.WaitStatus
	started chan struct{}
}

func newReaper() *reaper {
	r := &reaper{waiting: map[int]chan<- unix.WaitStatus{}, started: make(chan struct{}, 1)}
	go r.run()
	return r
}

func (r *reaper) run() {
	for {
		pid, err := nextDead()
		switch {
		case err == nil:
			r.reap(pid)
		case errors.Is(err, unix.ECHILD):
			// Without children there can be no orphans either.
			<-r.started
		}
	}
}

func (r *reaper) reap(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ws unix.WaitStatus
	// syscall.ForkExec waits for a child whose exec did not work, so the zombie
	// may be gone by now.
	if got, err := unix.Wait4(pid, &ws, unix.WNOHANG|unix.WALL, nil); err != nil || got != pid {
		return
	}
	if c := r.waiting[pid]; c != nil {
		delete(r.waiting, pid)
		c <- ws
	}
}

// nextDead blocks until a child is a zombie and returns its number.
func nextDead() (int, error) {
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT|unix.WALL, nil); err != nil {
		return 0, err
	}
	// unix.Siginfo does not name the fields of a SIGCHLD. On 64-bit machines
	// si_pid follows si_signo, si_errno, si_code and padding.
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), 16))), nil
}

// signal sends sig to the process group of a process that was started by a
// spawner, unless it is dead already.
func (r *reaper) signal(pid int, sig syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting[pid] != nil {
		syscall.Kill(-pid, sig)
	}
}

// A spawner starts processes from a thread that kept its original priority,
// which they inherit.
type spawner struct {
	*reaper
	tid      int
	requests chan func()
}

func newSpawner(r *reaper) *spawner {
	s := &spawner{reaper: r, requests: make(chan func())}
	ready := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		s.tid = unix.Gettid()
		close(ready)
		for f := range s.requests {
			f()
		}
	}()
	<-ready
	return s
}

// start runs a program. Its wait status comes through the channel.
func (s *spawner) start(path string, argv []string, attr *syscall.ProcAttr) (pid int, exited <-chan unix.WaitStatus, err error) {
	c := make(chan unix.WaitStatus, 1)
	done := make(chan struct{})
	s.requests <- func() {
		defer close(done)
		s.mu.Lock()
		defer s.mu.Unlock()
		if pid, err = syscall.ForkExec(path, argv, attr); err == nil {
			s.waiting[pid] = c
		}
	}
	<-done
	select {
	case s.started <- struct{}{}:
	default:
	}
	return pid, c, err
}
