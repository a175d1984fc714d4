// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"context"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"plugsched/internal/guest/vm/wire"
)

// Shell runs busybox's shell on a terminal of the guest, connected to stdin and
// stdout, until it exits. It returns the shell's exit code. If stdin is a
// terminal, it is in raw mode meanwhile and its size is the guest terminal's.
func (m *Machine) Shell(ctx context.Context, stdin io.Reader, stdout io.Writer) (int, error) {
	size := wire.Size{Rows: 24, Cols: 80}
	cmd := Cmd{Argv: []string{"/bin/sh", "-l"}, Stdin: stdin, Stdout: stdout, Dir: "/root", Env: []string{`PS1=guest:\w# `}, pty: &size}

	term, _ := stdin.(*os.File)
	var restore func()
	if term != nil {
		restore = makeRaw(term)
	}
	if restore == nil {
		res, err := m.Run(ctx, cmd)
		if err != nil {
			return -1, err
		}
		return res.ExitCode, nil
	}
	defer restore()
	size = terminalSize(term)
	if t := os.Getenv("TERM"); t != "" {
		cmd.Env = append(cmd.Env, "TERM="+t)
	}
	// A plain read would take the first key typed after the shell's end.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd.Stdin = &pollReader{ctx, term}
	p, err := m.Start(ctx, cmd)
	if err != nil {
		return -1, err
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	go func() {
		for {
			select {
			case <-resized:
				if f, err := wire.JSON(wire.Resize, p.s.id, terminalSize(term)); err == nil {
					p.s.w.Write(f)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	res, err := p.Wait(ctx)
	// The terminal is the caller's again, also its closing.
	cancel()
	<-p.fed
	if err != nil {
		p.Kill()
		return -1, err
	}
	return res.ExitCode, nil
}

// makeRaw returns a function that undoes it, or nil if f is no terminal.
func makeRaw(f *os.File) func() {
	fd := int(f.Fd())
	saved, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil
	}
	raw := *saved
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil
	}
	return func() { unix.IoctlSetTermios(fd, unix.TCSETS, saved) }
}

func terminalSize(f *os.File) wire.Size {
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Row == 0 || ws.Col == 0 {
		return wire.Size{Rows: 24, Cols: 80}
	}
	return wire.Size{Rows: ws.Row, Cols: ws.Col}
}

// A pollReader reads only when there is something, until its context is done.
type pollReader struct {
	ctx context.Context
	f   *os.File
}

func (r *pollReader) Read(b []byte) (int, error) {
	const millis = 100
	for r.ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(r.f.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, millis)
		if err != nil && err != unix.EINTR {
			return 0, err
		}
		if n > 0 {
			return r.f.Read(b)
		}
	}
	return 0, io.EOF
}
