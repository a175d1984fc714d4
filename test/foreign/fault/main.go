// SPDX-License-Identifier: BSD-3-Clause

// Command fault sleeps in the kernel's handling of a fault of its own: a system call reads memory that is not there,
// and that nobody provides (userfaultfd) until a file appears.
//
//	fault FILE
//
// It says "sleeps" before, and "goes on" when the call has read what it wanted.
package main

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of linux/userfaultfd.h.
const (
	api           = 0xaa
	ioctlAPI      = 0xc018aa3f
	ioctlRegister = 0xc020aa00
	ioctlCopy     = 0xc028aa03
	missing       = 1
	size          = 1 << 16 // a multiple of all page sizes
)

// Arguments of its requests, with what the kernel answers behind what is asked.
type (
	apiArg      [3]uint64 // api, features, ioctls
	registerArg [4]uint64 // start, len, mode, ioctls
	copyArg     [5]uint64 // dst, src, len, mode, copied
)

func ioctl[T any](fd uintptr, request uintptr, arg *T) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(arg))); errno != 0 {
		return errno
	}
	return nil
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fault:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: fault FILE")
	}
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		return fmt.Errorf("userfaultfd: %w", errno)
	}
	if err := ioctl(fd, ioctlAPI, &apiArg{api}); err != nil {
		return fmt.Errorf("UFFDIO_API: %w", err)
	}
	absent, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	at := uint64(uintptr(unsafe.Pointer(&absent[0])))
	if err := ioctl(fd, ioctlRegister, &registerArg{at, size, missing}); err != nil {
		return fmt.Errorf("UFFDIO_REGISTER: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	done := make(chan error)
	go func() {
		_, err := unix.Write(int(w.Fd()), absent[:16])
		done <- err
	}()
	fmt.Println("sleeps")
	for {
		if _, err := os.Stat(args[0]); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	page := make([]byte, size)
	copy(page, "0123456789abcdef")
	if err := ioctl(fd, ioctlCopy, &copyArg{at, uint64(uintptr(unsafe.Pointer(&page[0]))), size}); err != nil {
		return fmt.Errorf("UFFDIO_COPY: %w", err)
	}
	if err := <-done; err != nil {
		return err
	}
	got := make([]byte, 16)
	if _, err := r.Read(got); err != nil || string(got) != "0123456789abcdef" {
		return fmt.Errorf("the call has read %q: %v", got, err)
	}
	fmt.Println("goes on")
	return nil
}
