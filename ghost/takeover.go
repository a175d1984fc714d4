// SPDX-License-Identifier: BSD-3-Clause

package ghost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TakeOver returns the enclave of another process, which is ended with SIGTERM: its tasks stay what they are, and wait
// until the caller runs the enclave. It needs to be allowed to trace that process (pidfd_getfd(2)), which may have
// no other enclave.
//
// The caller has the enclave from when it has a copy of the file, however the other process ends; nobody but one of
// both may run it, so the other one is waited for, as long as ctx. ErrABI: the kernel's half is one of before there were
// successors. An error leaves the enclave to the other process, if it lives.
func TakeOver(ctx context.Context, pid int) (*Enclave, error) {
	clock, err := newClock()
	if err != nil {
		return nil, err
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(process)
	f, err := copyOfDevice(process, pid)
	if err != nil {
		return nil, err
	}
	e := &Enclave{file: f, fd: f.Fd(), clock: clock, past: Metrics{}, known: true}
	if err := e.adopt(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if err := end(ctx, process); err != nil {
		return nil, errors.Join(fmt.Errorf("process %d: %w", pid, err), e.Close())
	}
	return e, nil
}

// copyOfDevice is the file of the device that a process has open: one, as others would end with it.
func copyOfDevice(process, pid int) (*os.File, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []int
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if n, bad := strconv.Atoi(entry.Name()); bad == nil && err == nil && target == Device {
			files = append(files, n)
		}
	}
	if len(files) != 1 {
		return nil, fmt.Errorf("process %d has %d enclaves", pid, len(files))
	}
	fd, err := unix.PidfdGetfd(process, files[0], 0)
	if err != nil {
		return nil, fmt.Errorf("file %d of process %d: %w", files[0], pid, err)
	}
	return os.NewFile(uintptr(fd), Device), nil
}

// adopt finds the CPUs and the size of an enclave that there is in what its file shares.
func (e *Enclave) adopt() error {
	page, err := unix.Mmap(int(e.fd), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the header: %w", err)
	}
	h := *(*header)(unsafe.Pointer(&page[0]))
	if err := unix.Munmap(page); err != nil {
		return err
	}
	if h.Magic != abiMagic || h.ABI != abi || h.Features&featureRingCPU == 0 {
		return ErrABI
	}
	e.cpus = make([]int, h.NrRings)
	if err := e.attach(h.bytes()); err != nil {
		return err
	}
	for i, r := range e.rings {
		e.cpus[i] = int(r.shared.CPU)
	}
	if e.End() != NotEnded {
		return e.over()
	}
	return nil
}

// bytes is how much there is to map.
func (h *header) bytes() int {
	return max(int(h.RingOffset)+int(h.NrRings)*int(h.RingStride), int(h.StatusOffset)+int(h.NrStatus)*int(h.StatusSize))
}

// end ends a process, and waits for that.
func end(ctx context.Context, process int) error {
	if err := unix.PidfdSendSignal(process, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	files := []unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}
	for {
		const wait = 50 * time.Millisecond
		n, err := unix.Poll(files, int(wait.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
