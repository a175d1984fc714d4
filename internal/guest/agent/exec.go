// SPDX-License-Identifier: BSD-3-Clause

package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/guest/vm/wire"
)

// outputGrace is how long a program's output is still followed after its death
// if a process it left behind holds it open.
const outputGrace = 200 * time.Millisecond

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// stdio is a child's side of its standard streams and the agent's side of them.
type stdio struct {
	child  []uintptr
	input  *os.File // nil if the child reads /dev/null
	output []output
}

type output struct {
	t wire.Type
	f *os.File
}

func (s *stream) exec() wire.Status {
	env := environment(s.req.Env)
	path, err := lookPath(s.req.Argv, env)
	if err != nil {
		return failure(err)
	}
	var sys syscall.SysProcAttr
	// A session per command, as a login gives: signals reach the whole process
	// group, and with CONFIG_SCHED_AUTOGROUP each command is a task group.
	sys.Setsid = true
	var io stdio
	if s.req.PTY != nil {
		sys.Setctty = true
		io, err = s.terminal()
	} else {
		io, err = pipes(s.req.Stdin)
	}
	if err != nil {
		return failure(err)
	}
	pid, exited, err := s.start(path, s.req.Argv, &syscall.ProcAttr{Dir: s.req.Dir, Env: env, Files: io.child, Sys: &sys})
	io.closeChild()
	defer io.close()
	if err != nil {
		// ForkExec does not say which step went wrong.
		if fi, serr := os.Stat(s.req.Dir); s.req.Dir != "" && (serr != nil || !fi.IsDir()) {
			return failure(fmt.Errorf("directory %s: %w", s.req.Dir, err))
		}
		return failure(fmt.Errorf("%s: %w", path, err))
	}
	s.mu.Lock()
	s.pid = pid
	s.mu.Unlock()
	s.out.Write(wire.Uint32(wire.Started, s.id, uint32(pid)))

	if io.input != nil {
		go s.feedProcess(io.input)
	}
	drained := s.pump(io.output)
	ws := <-exited
	deadline := time.Now().Add(outputGrace)
	for _, o := range io.output {
		o.f.SetReadDeadline(deadline)
	}
	for range io.output {
		<-drained
	}
	if ws.Signaled() {
		return wire.Status{ExitCode: 128 + int(ws.Signal()), Signal: int(ws.Signal())}
	}
	return wire.Status{ExitCode: ws.ExitStatus()}
}

func (s *stream) feedProcess(w *os.File) {
	s.feed(func(b []byte) {
		// A program need not read its input.
		w.Write(b)
	})
	if s.req.PTY == nil {
		w.Close()
	} else {
		// ^D, the terminal's end of file.
		w.Write([]byte{4})
	}
}

// pump sends output until its end or, after the program's death, its deadline.
func (s *stream) pump(outputs []output) <-chan struct{} {
	drained := make(chan struct{}, len(outputs))
	for _, o := range outputs {
		go func() {
			defer func() { drained <- struct{}{} }()
			w := frameWriter{s, o.t}
			buf := make([]byte, outputChunk)
			for {
				n, err := o.f.Read(buf)
				w.Write(buf[:n])
				if errors.Is(err, os.ErrDeadlineExceeded) {
					sendRest(w, o.f, buf)
				}
				if err != nil {
					return
				}
			}
		}()
	}
	return drained
}

// sendRest sends what is in a pipe now. A file past its deadline refuses to
// read even what is there.
func sendRest(w frameWriter, f *os.File, buf []byte) {
	const pipeCapacity = 64 << 10 // PIPE_DEF_BUFFERS pages, pipe(7)
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		for total := 0; total < pipeCapacity; {
			n, err := unix.Read(int(fd), buf)
			if n <= 0 || err != nil {
				return
			}
			w.Write(buf[:n])
			total += n
		}
	})
}

func (s *stream) kill(sig syscall.Signal) {
	s.mu.Lock()
	pid := s.pid
	s.mu.Unlock()
	if pid != 0 {
		s.signal(pid, sig)
	}
}

// pipes makes the standard streams. The child's ends block, the agent's do not.
func pipes(stdin bool) (io stdio, err error) {
	defer func() {
		if err != nil {
			io.closeChild()
			io.close()
		}
	}()
	if stdin {
		r, w, err := pipe()
		if err != nil {
			return io, err
		}
		io.child, io.input = append(io.child, uintptr(r)), nonblocking(w)
	} else {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return io, fmt.Errorf("/dev/null: %w", err)
		}
		io.child = append(io.child, uintptr(fd))
	}
	for _, t := range []wire.Type{wire.Stdout, wire.Stderr} {
		r, w, err := pipe()
		if err != nil {
			return io, err
		}
		io.child, io.output = append(io.child, uintptr(w)), append(io.output, output{t, nonblocking(r)})
	}
	return io, nil
}

func pipe() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return 0, 0, fmt.Errorf("pipe: %w", err)
	}
	return p[0], p[1], nil
}

func nonblocking(fd int) *os.File {
	unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), "pipe")
}

func (io *stdio) closeChild() {
	closed := map[uintptr]bool{}
	for _, fd := range io.child {
		if !closed[fd] {
			unix.Close(int(fd))
			closed[fd] = true
		}
	}
	io.child = nil
}

func (io *stdio) close() {
	if io.input != nil {
		io.input.Close()
	}
	for _, o := range io.output {
		o.f.Close()
	}
}

// terminal makes a pseudo-terminal the three standard streams.
func (s *stream) terminal() (stdio, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return stdio{}, fmt.Errorf("/dev/ptmx: %w", err)
	}
	master := os.NewFile(uintptr(fd), "/dev/ptmx")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		master.Close()
		return stdio{}, fmt.Errorf("/dev/ptmx: %w", err)
	}
	slave, err := unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		master.Close()
		return stdio{}, fmt.Errorf("/dev/pts/%d: %w", n, err)
	}
	s.mu.Lock()
	s.term = master
	s.mu.Unlock()
	s.resize(*s.req.PTY)
	return stdio{
		child:  []uintptr{uintptr(slave), uintptr(slave), uintptr(slave)},
		input:  master,
		output: []output{{wire.Stdout, master}},
	}, nil
}

func (s *stream) resize(size wire.Size) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.term == nil {
		return
	}
	if raw, err := s.term.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
		})
	}
}

func environment(extra []string) []string {
	env := []string{"PATH=" + defaultPath, "HOME=/root", "USER=root", "TERM=linux"}
	// ForkExec passes duplicates on; most programs take the first.
	for _, e := range extra {
		name, _, _ := strings.Cut(e, "=")
		for i := range env {
			if strings.HasPrefix(env[i], name+"=") {
				env = append(env[:i], env[i+1:]...)
				break
			}
		}
		env = append(env, e)
	}
	return env
}

// lookPath finds a program as a shell would, in the command's own environment.
// A relative path is left to the child, which is in its directory by then.
func lookPath(argv, env []string) (string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return "", errors.New("no program given")
	}
	name := argv[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, e := range env {
		list, ok := strings.CutPrefix(e, "PATH=")
		if !ok {
			continue
		}
		for _, d := range filepath.SplitList(list) {
			p := filepath.Join(d, name)
			if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
				return p, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w", name, syscall.ENOENT)
}
