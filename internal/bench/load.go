// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"plugsched/internal/kernel/arch/native"
)

// Load is what exists in a guest while it is measured, besides what always does.
type Load struct {
	Sleepers   int `json:"sleepers,omitempty"`   // processes that sleep
	Runnable   int `json:"runnable,omitempty"`   // processes that spin
	Groups     int `json:"groups,omitempty"`     // cgroups without tasks
	Autogroups int `json:"autogroups,omitempty"` // sessions of one sleeper each
	Throttled  int `json:"throttled,omitempty"`  // cgroups whose only process has used up its quota
	Depth      int `json:"depth,omitempty"`      // how deep the sleepers are in the kernel: 0, 1 or 2
}

// cgroups is where the groups are made.
const cgroups = "/sys/fs/cgroup"

// quota leaves a process that spins a thousandth of a CPU: 1 ms in a second.
const quota = "1000 1000000"

// What a process of a load does.
const (
	sleeps      = iota
	sleepsAlone // in a session of its own
	spins
	sleepsDeeper // in a page fault of a write to a pipe
	sleepsInFile // in one of a write to a file
)

// sleepersOf are what sleepers do, by their depth.
var sleepersOf = []int{sleeps, sleepsDeeper, sleepsInFile}

// fork makes a process that sleeps in a page fault and never gets back into Go's runtime, of which only this thread is
// left in it: it makes system calls and nothing else. It dies with the thread that made it.
//
//go:nosplit
//go:norace
func fork(what int) (pid uintptr, err syscall.Errno) {
	pid, err = call(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
	if pid != 0 || err != 0 {
		return pid, err
	}
	call(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
	fault(what == sleepsInFile)
	for {
		call(unix.SYS_PPOLL, 0, 0, 0)
	}
}

// What userfaultfd(2) takes (linux/userfaultfd.h), and a page. It is each process's own.
var faulting struct {
	api      struct{ api, features, ioctls uint64 }
	register struct{ start, size, mode, ioctls uint64 }
	pipe     [2]int32
	name     [1]byte
}

const (
	faultAPI      = 0xc018aa3f // UFFDIO_API
	faultRegister = 0xc020aa00 // UFFDIO_REGISTER
	faultMissing  = 1          // UFFDIO_REGISTER_MODE_MISSING
)

// fault sleeps in a page fault that nobody answers, inside of a write. It returns if there are none.
//
//go:nosplit
//go:norace
func fault(file bool) {
	f := &faulting
	fd, errno := call(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		return
	}
	f.api.api = 0xaa
	call(unix.SYS_IOCTL, fd, faultAPI, uintptr(unsafe.Pointer(&f.api)))
	at, _, errno := syscall.RawSyscall6(unix.SYS_MMAP, 0, 1<<16, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	if errno != 0 {
		return
	}
	f.register.start, f.register.size, f.register.mode = uint64(at), 1<<16, faultMissing
	call(unix.SYS_IOCTL, fd, faultRegister, uintptr(unsafe.Pointer(&f.register)))
	if file {
		to, _ := call(unix.SYS_MEMFD_CREATE, uintptr(unsafe.Pointer(&f.name)), 0, 0)
		call(unix.SYS_WRITE, to, at, 4096)
		return
	}
	call(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&f.pipe)), 0, 0)
	call(unix.SYS_WRITE, uintptr(f.pipe[1]), at, 4096)
}

// frames is how deep a process sleeps, as the kernel tells it.
func frames(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stack", pid))
	return bytes.Count(text, []byte("\n")), err
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
	if err := l.idler(); err != nil {
		return err
	}
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
		{want.Sleepers, sleepersOf[want.Depth]}, {want.Autogroups, sleepsAlone}, {want.Runnable, spins},
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
	var p uintptr
	var errno syscall.Errno
	if what == sleepsDeeper || what == sleepsInFile {
		p, errno = fork(what)
	} else {
		p, errno = native.Fork(what == sleepsAlone, what == spins)
	}
	if errno != 0 {
		return 0, fmt.Errorf("process %d: %w", len(l.pids)+1, errno)
	}
	l.pids = append(l.pids, int(p))
	return int(p), nil
}

// idler makes a process that spins when nothing else runs on the last CPU. While all CPUs of a guest
// that counts instructions are idle its time is the host's, and no timer is on time when
// they no longer are.
func (l *load) idler() error {
	pid, err := l.fork(spins)
	if err != nil {
		return err
	}
	var cpus unix.CPUSet
	cpus.Set(runtime.NumCPU() - 1)
	if err := unix.SchedSetaffinity(pid, &cpus); err != nil {
		return fmt.Errorf("sched_setaffinity: %w", err)
	}
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
	if err := unix.SchedSetAttr(pid, attr, 0); err != nil {
		return fmt.Errorf("sched_setattr: %w", err)
	}
	return nil
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
