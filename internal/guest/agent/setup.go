// SPDX-License-Identifier: BSD-3-Clause

package agent

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

type mount struct {
	fstype, dir, options string
	flags                uintptr
	required             bool
}

const nodev = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mounts are what tools expect of a booted system. Those not required may be
// missing from a kernel's configuration.
var mounts = []mount{
	{"proc", "/proc", "", nodev, true},
	{"sysfs", "/sys", "", nodev, true},
	{"devtmpfs", "/dev", "mode=0755", unix.MS_NOSUID, true},
	{"tmpfs", "/run", "mode=0755", unix.MS_NOSUID | unix.MS_NODEV, true},
	{"devpts", "/dev/pts", "ptmxmode=0666,mode=0620", unix.MS_NOSUID | unix.MS_NOEXEC, false},
	{"tmpfs", "/dev/shm", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV, false},
	{"tmpfs", "/tmp", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV, true},
	{"cgroup2", "/sys/fs/cgroup", "", nodev, false},
	{"debugfs", "/sys/kernel/debug", "", nodev, false},
	{"tracefs", "/sys/kernel/tracing", "", nodev, false},
	{"securityfs", "/sys/kernel/security", "", nodev, false},
	{"bpf", "/sys/fs/bpf", "mode=0700", nodev, false},
}

// early are those of mounts that the init of a disk's system expects to be there, or
// uses if they are.
var early = mounts[:4]

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		os.MkdirAll(m.dir, 0o755)
		err := unix.Mount(m.fstype, m.dir, m.fstype, m.flags, m.options)
		switch {
		case err == nil:
		case m.required:
			return fmt.Errorf("mount %s: %w", m.dir, err)
		default:
			logf("mount %s: %v", m.dir, err)
		}
	}
	return nil
}

// raiseLimits gives every process what a load of many threads and files needs.
func raiseLimits() error {
	for _, l := range []struct {
		resource int
		max      uint64
	}{
		{unix.RLIMIT_NOFILE, 1 << 19},
		{unix.RLIMIT_NPROC, unix.RLIM_INFINITY},
		{unix.RLIMIT_MEMLOCK, unix.RLIM_INFINITY},
		{unix.RLIMIT_RTPRIO, 99},
	} {
		if err := unix.Setrlimit(l.resource, &unix.Rlimit{Cur: l.max, Max: l.max}); err != nil {
			return fmt.Errorf("setrlimit %d: %w", l.resource, err)
		}
	}
	return nil
}

func loopbackUp() error { return interfaceUp("lo", nil) }

// interfaceUp switches a network interface on, with an IPv4 address of a network of
// 256 unless that is nil.
func interfaceUp(name string, address []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	set := func(request uint) {
		if err == nil {
			err = unix.IoctlIfreq(fd, request, req)
		}
	}
	setAddress := func(request uint, ip []byte) {
		if err == nil {
			err = req.SetInet4Addr(ip)
		}
		set(request)
	}
	if address != nil {
		setAddress(unix.SIOCSIFADDR, address)
		setAddress(unix.SIOCSIFNETMASK, []byte{255, 255, 255, 0})
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	set(unix.SIOCSIFFLAGS)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return nil
}

// raisePriority gives all threads of the agent except the spawner's nice -20,
// so that it answers while hundreds of threads compete. Threads that the Go
// runtime starts later inherit it: the runtime never starts one from a locked
// thread.
//
// A real-time policy would not make the guest easier to reach: the bell is a
// tty, whose input is handed over by a nice 0 kworker (flush_to_ldisc, queued by
// tty_flip_buffer_push in drivers/tty/tty_buffer.c), and the commands to run are
// in the fair class too. But it would put a real-time task that nobody asked for
// into every scheduler test.
func raisePriority(except int) error {
	const nice = -20
	for again := true; again; {
		again = false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || tid == except {
				continue
			}
			// The system call returns 20 - nice.
			if p, err := unix.Getpriority(unix.PRIO_PROCESS, tid); err != nil || p == 20-nice {
				continue
			}
			if err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); err != nil {
				return fmt.Errorf("set priority of the agent: %w", err)
			}
			again = true
		}
	}
	return nil
}
