// SPDX-License-Identifier: BSD-3-Clause

// Package agent is the inside of a virtual machine started by package vm: it is
// the first process (PID 1) of a stock kernel booted from an initramfs. It sets
// up the file systems and serves the host's requests until it is told to power
// off. In a guest with a disk it makes way for the disk's own init instead, which
// starts it again, as a service.
//
// A program that may be used as a guest's init calls Main first thing:
//
//	if agent.Invoked() {
//		agent.Main()
//	}
package agent

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"plugsched/internal/guest/vm/wire"
)

// Invoked reports whether this process is the init of a guest, or its service. Being
// PID 1 is not enough: so is the first process of a container.
func Invoked() bool {
	return os.Getenv(wire.EnvDevice) != "" && (os.Getpid() == 1 || os.Getenv(wire.EnvService) != "")
}

// Main runs the guest and does not return. Whatever makes it impossible to
// serve the host is written to the kernel log and powers the guest off.
func Main() {
	device, disk := os.Getenv(wire.EnvDevice), os.Getenv(wire.EnvDisk)
	var err error
	switch {
	case os.Getpid() != 1:
		err = serve(device)
	case disk != "":
		err = bootDisk(device, disk, os.Getenv(wire.EnvJournal))
	default:
		if err = prepare(); err == nil {
			err = serve(device)
		}
	}
	logf("giving up: %v", err)
	poweroff()
}

// prepare makes a usable system of a kernel with an initramfs.
func prepare() error {
	if err := mountAll(mounts); err != nil {
		return err
	}
	for _, err := range []error{loopbackUp(), unix.Sethostname([]byte("guest"))} {
		if err != nil {
			logf("%v", err)
		}
	}
	handleSignals()
	return mountShares(os.Getenv(wire.EnvShares))
}

func serve(device string) error {
	// The agent is mostly idle and its heap is small. Two running goroutines are
	// enough, and a large heap target keeps the collector off the CPUs that the
	// guest is there to exercise.
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(400)

	if err := raiseLimits(); err != nil {
		logf("%v", err)
	}
	r := newReaper()
	s := newSpawner(r)
	if err := raisePriority(s.tid); err != nil {
		logf("%v", err)
	}
	channel, err := openChannel("/dev/" + device)
	if err != nil {
		return err
	}
	return newAgent(channel, s).serve()
}

// handleSignals keeps signals from ending init, and gives those that busybox's
// halt, poweroff and reboot send to PID 1 their usual meaning.
func handleSignals() {
	c := make(chan os.Signal, 8)
	signal.Notify(c, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE)
	go func() {
		for s := range c {
			switch s {
			case unix.SIGUSR1, unix.SIGUSR2, unix.SIGTERM:
				poweroff()
			}
		}
	}()
}

func poweroff() {
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	// Without a power-off handler the call comes back on some machines. Init
	// must not return, or the kernel panics and the host is told of a fault.
	select {}
}

// logf writes a line to the kernel log, and so to the console, without mixing
// it into a line that the kernel is printing.
func logf(format string, args ...any) {
	line := fmt.Sprintf("plugsched-agent: "+format+"\n", args...)
	if err := os.WriteFile("/dev/kmsg", []byte("<5>"+line), 0); err != nil {
		os.Stderr.WriteString(line)
	}
}
