// SPDX-License-Identifier: BSD-3-Clause

package bochs

import (
	"bufio"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// watchScreen reads what the emulator says. Of its displays the one that needs neither X nor
// a network opens a pseudo-terminal and names it; nobody sees it, but somebody has to read
// it, or the emulator waits for that for ever.
func watchScreen(said io.ReadCloser) {
	defer said.Close()
	r := bufio.NewReader(said)
	for {
		line, err := r.ReadString('\n')
		if _, name, ok := strings.Cut(line, `connected to screen "`); ok {
			name, _, _ = strings.Cut(name, `"`)
			go drain(name)
		}
		if err != nil {
			return
		}
	}
}

// drain reads a terminal to its end, and lets it echo nothing: to the emulator that would be
// keys that are pressed.
func drain(name string) {
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	if t, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		t.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
		unix.IoctlSetTermios(fd, unix.TCSETS, t)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	io.Copy(io.Discard, f)
}
