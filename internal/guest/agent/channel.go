// SPDX-License-Identifier: BSD-3-Clause

package agent

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"plugsched/internal/guest/vm/wire"
)

// openChannel opens the way to the host: shared memory, and a tty as its bell.
func openChannel(tty string) (io.ReadWriter, error) {
	bell, err := openRaw(tty)
	if err != nil {
		return nil, err
	}
	mem, err := mapShared()
	if err != nil {
		return nil, err
	}
	return wire.NewPipe(mem, false, bell)
}

// mapShared finds and maps the memory shared with the host.
func mapShared() ([]byte, error) {
	devices, err := filepath.Glob("/sys/bus/pci/devices/*")
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		if attribute(d, "vendor") != wire.SharedVendor || attribute(d, "device") != wire.SharedDevice {
			continue
		}
		// Not every firmware switches on the decoding of memory addresses.
		if err := os.WriteFile(d+"/enable", []byte("1"), 0); err != nil {
			return nil, fmt.Errorf("shared memory: %w", err)
		}
		f, err := os.OpenFile(d+"/resource2", os.O_RDWR|os.O_SYNC, 0)
		if err != nil {
			return nil, fmt.Errorf("shared memory: %w", err)
		}
		defer f.Close()
		mem, err := unix.Mmap(int(f.Fd()), 0, wire.SharedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return nil, fmt.Errorf("map %s: %w", f.Name(), err)
		}
		return mem, nil
	}
	return nil, fmt.Errorf("none of %d PCI devices is memory shared with the host", len(devices))
}

func attribute(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// openRaw opens a tty as a pipe of bytes. It does not block, so that the runtime
// waits for it with its poller: a thread that returns from a blocking read must
// first hand its goroutine's wake-up to another thread, which in an emulated
// machine is a trip to another CPU.
func openRaw(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("%s: get attributes: %w", path, err)
	}
	t.Iflag = unix.IGNBRK
	t.Oflag = 0
	t.Lflag = 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	t.Ispeed, t.Ospeed = unix.B115200, unix.B115200
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("%s: set raw mode: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}
