// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"plugsched/internal/guest/vm/wire"
	"plugsched/internal/kernel/arch"
)

// Config says what to boot. Only Kernel is required.
type Config struct {
	// Kernel is the path of a bootable image (vmlinuz).
	Kernel string
	// CPUs is the number of CPUs (4 if zero); MemoryMiB the memory (1024).
	CPUs, MemoryMiB int
	// Sockets is how many packages the CPUs are in (1 if zero); those of one share caches.
	Sockets int
	// Threads is how many of the CPUs are one core (1 if zero).
	Threads int
	// CPU is the processor's model in QEMU's words; by the kernel's architecture if empty.
	CPU string
	// Append holds further words of the kernel command line. They come last and
	// so override the ones this package gives.
	Append []string
	// Init is a static executable that calls agent.Main when agent.Invoked. The
	// running program itself if empty.
	Init string
	// Busybox is a static busybox for the guest, which gets its tools; the machine's own if empty, or none
	// if that is for another architecture. A guest with a Disk has its own tools.
	Busybox string
	// Files are put into the guest: into the initramfs, or onto the disk at each boot
	// (below /run, which is not on the disk, they leave no trace).
	Files []File
	// Disk is a qcow2 image, such as NewOverlay makes, whose ext4 file system is the
	// guest's root; its own init is started, systemd, and the agent is a service.
	// The guest writes to it. Without one, the initramfs is all there is.
	Disk string
	// Modules is the directory of the kernel's modules, which hold the drivers of
	// disk, network and shares (fetch.Modules).
	Modules string
	// Shares are directories that the guest has in common with this machine. They need Modules, and no Disk.
	Shares []Share
	// SSHPort, if not 0, is a port of 127.0.0.1 that leads to port 22 of the guest. The
	// guest reaches nothing outside. It needs a Disk.
	SSHPort int
	// JournalLog is where the journal of a guest with a Disk is kept as it comes, like
	// ConsoleLog. Nowhere if empty.
	JournalLog string
	// ConsoleLog is where the console is kept. It is written as it comes, so it
	// is complete even if this process is killed. Nowhere if empty.
	ConsoleLog string
	// ICount makes guest time a count of executed instructions, on one host
	// thread. Times measured in the guest are then repeatable and independent of
	// the host's load, at the price of speed.
	ICount bool
	// ICountShift is how long an instruction takes with ICount, as a power of two of
	// nanoseconds (3 if zero): each one more is a machine of half the speed.
	ICountShift int
	// QEMU is the emulator; by the kernel's architecture if empty.
	QEMU string
	// Accel is "tcg" (the default) or "kvm". With "kvm", a boot that is not
	// finished within KVMProbe is taken for a host whose /dev/kvm does not
	// work, and is repeated with tcg; Machine.Accel tells.
	Accel    string
	KVMProbe time.Duration // 20 s if zero
	// GDB makes QEMU listen for a debugger on this port of 127.0.0.1. A guest
	// may then be stopped at will, so hangs are no longer detected.
	GDB int
	// NoKASLR boots the kernel at its link address.
	NoKASLR bool
	// BootTimeout bounds the boot (2 min if zero), HangTimeout the silence of a
	// guest from which an answer is due (1 min). Time for which the host lets QEMU wait
	// for a CPU does not count.
	BootTimeout, HangTimeout time.Duration
	// Debug receives progress and the QEMU command line.
	Debug io.Writer

	oneThread bool // tcg: all CPUs on one host thread, see tcg.go
	sharing   *sharing
}

// A File is put into the guest's initramfs, from HostPath or, if that is empty,
// from Content.
type File struct {
	GuestPath string
	HostPath  string
	Content   []byte
	// Mode is the permission bits; if zero, those of HostPath or 0644.
	Mode os.FileMode
}

func (c *Config) debugf(format string, args ...any) {
	if c.Debug != nil {
		fmt.Fprintf(c.Debug, "vm: "+format+"\n", args...)
	}
}

// complete checks c and fills in defaults. Its errors are the user's mistakes,
// except for a missing QEMU.
func (c *Config) complete() (*arch.Arch, error) {
	if c.Kernel == "" {
		return nil, fmt.Errorf("no kernel image given")
	}
	a, err := archOf(c.Kernel)
	if err != nil {
		return nil, err
	}
	if c.Init == "" {
		if c.Init, err = os.Executable(); err != nil {
			return nil, &InfraError{"find the running program", err}
		}
	}
	if err := runsIn(a, c.Init); err != nil {
		return nil, fmt.Errorf("init: %w", err)
	}
	if c.Busybox == "" {
		c.Busybox = hostBusybox(a)
	} else if err := runsIn(a, c.Busybox); err != nil {
		return nil, fmt.Errorf("busybox: %w", err)
	}
	if c.QEMU == "" {
		c.QEMU = a.Guest.QEMU
	}
	if c.QEMU, err = exec.LookPath(c.QEMU); err != nil {
		return nil, &InfraError{"QEMU (Debian: apt install qemu-system)", err}
	}
	switch c.Accel {
	case "":
		c.Accel = "tcg"
	case "tcg", "kvm":
	default:
		return nil, fmt.Errorf("unknown accelerator %q: tcg or kvm", c.Accel)
	}
	if err := c.checkDisk(); err != nil {
		return nil, err
	}
	if c.sharing, err = c.share(); err != nil {
		return nil, err
	}
	if c.ICountShift < 0 || c.ICountShift > 10 || c.ICountShift > 0 && !c.ICount {
		return nil, fmt.Errorf("an instruction of 2^%d ns: only with ICount, and up to 10", c.ICountShift)
	}
	if c.Accel == "kvm" && c.ICount {
		return nil, fmt.Errorf("instruction counting needs the tcg accelerator")
	}
	if c.oneThread, err = oneThread(c.QEMU); err != nil {
		return nil, err
	}
	setDefault(&c.ICountShift, icountShift)
	setDefault(&c.CPUs, 4)
	if c.ICount && c.CPUs > 1 && c.oneThread {
		return nil, &StarvesError{c.QEMU}
	}
	setDefault(&c.Sockets, 1)
	setDefault(&c.Threads, 1)
	if c.CPUs%(c.Sockets*c.Threads) != 0 {
		return nil, fmt.Errorf("%d CPUs in %d sockets, %d of a core", c.CPUs, c.Sockets, c.Threads)
	}
	setDefault(&c.MemoryMiB, 1024)
	setDefault(&c.KVMProbe, 20*time.Second)
	setDefault(&c.BootTimeout, 2*time.Minute)
	setDefault(&c.HangTimeout, time.Minute)
	return a, nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// commandLine is the kernel's.
func (c *Config) commandLine(a *arch.Arch) []string {
	words := []string{
		"console=" + a.Guest.Console,
		"rdinit=/init",
		wire.EnvDevice + "=" + a.Guest.Bell,
		// -1 reboots at once, which -no-reboot turns into the end of QEMU: a dead
		// guest is noticed when it dies.
		"panic=-1",
		// An oops in the scheduler holds locks or has lost a task; what the guest
		// does afterwards proves nothing and usually is a hang. Warnings are
		// reported, but the guest goes on.
		"oops=panic",
		"panic_on_warn=0",
		"sysrq_always_enabled",
		// What processes write to /dev/kmsg is evidence: no rate limit.
		"printk.devkmsg=on",
	}
	if c.Disk != "" {
		words = append(words, wire.EnvDisk+"=/dev/vda", wire.EnvJournal+"="+a.Guest.Journal,
			// The address belongs to a name that is known before udev runs.
			"net.ifnames=0",
			// The console is the kernel's; what systemd does is in the journal.
			"systemd.show_status=0")
	}
	if c.sharing != nil {
		words = append(words, c.sharing.word())
	}
	words = append(words, a.Guest.Append...)
	if c.Accel == "tcg" && !c.ICount && a.Guest.HostClock != nil {
		words = append(words, a.Guest.HostClock()...)
	}
	if c.NoKASLR {
		words = append(words, "nokaslr")
	}
	return append(words, c.Append...)
}
