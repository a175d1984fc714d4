// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"plugsched/internal/guest/vm/wire"
)

const (
	// maxCapture bounds the output kept in memory, per stream.
	maxCapture = 64 << 20
	// killGrace is how long a killed command is waited for. One that is stuck in
	// the kernel does not die.
	killGrace = 10 * time.Second
)

// A Cmd is a command to run in the guest.
type Cmd struct {
	// Argv is the program and its arguments. A name without a slash is looked
	// for in PATH. No shell is involved.
	Argv []string
	// Stdin is fed to the command; /dev/null if nil.
	Stdin io.Reader
	// Stdout and Stderr receive the output as it comes, instead of the Result.
	Stdout, Stderr io.Writer
	// Env is added to PATH, HOME, USER and TERM.
	Env []string
	// Dir is the working directory; / if empty.
	Dir string
	// Timeout ends the command; none if zero.
	Timeout time.Duration

	pty *wire.Size
}

// A Result is how a command ended. A command that fails is no Go error.
type Result struct {
	Stdout, Stderr []byte
	// Truncated says that output beyond 64 MiB was dropped.
	Truncated bool
	// ExitCode is 128 plus the signal's number if one ended the command.
	ExitCode int
	Signal   syscall.Signal
	// Duration is by the guest's clock.
	Duration time.Duration
}

// A Process is a command started in the guest.
type Process struct {
	m       *Machine
	s       *stream
	cmd     Cmd
	out     capture
	err     capture
	expired atomic.Bool
	fed     chan struct{} // closed when Stdin is no longer read
	overdue chan struct{} // closed if it does not die of its timeout either
	timers  []*time.Timer
}

// Run runs a command to its end. If ctx is done first or the command's time is
// up, its process group is killed and an error returned; with a *TimeoutError
// comes a Result that holds the output so far. If the guest dies, the error is
// what it died of, such as a *KernelFault.
func (m *Machine) Run(ctx context.Context, cmd Cmd) (*Result, error) {
	p, err := m.Start(ctx, cmd)
	if err != nil {
		return nil, err
	}
	res, err := p.Wait(ctx)
	if err != nil && ctx.Err() != nil && m.Err() == nil {
		p.Kill()
		grace, cancel := context.WithTimeout(context.Background(), killGrace)
		defer cancel()
		p.Wait(grace)
	}
	return res, err
}

// Start starts a command and returns when it runs. Processes that are left when
// the guest is closed die with it.
func (m *Machine) Start(ctx context.Context, cmd Cmd) (*Process, error) {
	p := &Process{m: m, cmd: cmd, fed: make(chan struct{}), overdue: make(chan struct{})}
	p.out.w, p.err.w = cmd.Stdout, cmd.Stderr
	s, err := m.link.open(wire.Request{
		Op: wire.OpExec, Argv: cmd.Argv, Env: cmd.Env, Dir: cmd.Dir, Stdin: cmd.Stdin != nil, PTY: cmd.pty,
	}, p.output)
	if err != nil {
		return nil, m.gone(err)
	}
	p.s = s
	select {
	case <-s.started:
	case <-s.ended:
		// A short command's end may be seen before its start.
		select {
		case <-s.started:
		default:
			return nil, m.outcome(s)
		}
	case <-ctx.Done():
		p.Kill()
		return nil, ctx.Err()
	}
	if cmd.Stdin != nil {
		go func() {
			defer close(p.fed)
			s.feed(cmd.Stdin)
		}()
	}
	if cmd.Timeout > 0 {
		p.timers = []*time.Timer{
			time.AfterFunc(cmd.Timeout, func() {
				p.expired.Store(true)
				p.Kill()
			}),
			time.AfterFunc(cmd.Timeout+killGrace, func() { close(p.overdue) }),
		}
	}
	return p, nil
}

func (p *Process) output(t wire.Type, b []byte) {
	if t == wire.Stderr {
		p.err.add(b)
	} else {
		p.out.add(b)
	}
}

// PID is the process's number in the guest.
func (p *Process) PID() int { return int(p.s.pid) }

// Signal sends a signal to the command's process group, if it still runs.
func (p *Process) Signal(sig syscall.Signal) error {
	err := p.s.w.Write(wire.Frame{Type: wire.Signal, Stream: p.s.id, Payload: []byte{byte(sig)}})
	if err != nil {
		return p.m.gone(err)
	}
	return nil
}

// Kill sends SIGKILL. Wait tells of the death.
func (p *Process) Kill() error { return p.Signal(syscall.SIGKILL) }

// Wait waits for the command's end; it may be called again. If ctx is done
// first, the command goes on.
func (p *Process) Wait(ctx context.Context) (*Result, error) {
	select {
	case <-p.s.ended:
	case <-p.overdue:
		return p.result(), &TimeoutError{p.cmd.Argv, p.cmd.Timeout}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for _, t := range p.timers {
		t.Stop()
	}
	if err := p.m.outcome(p.s); err != nil {
		return nil, err
	}
	res := p.result()
	res.ExitCode = p.s.status.ExitCode
	res.Signal = syscall.Signal(p.s.status.Signal)
	res.Duration = time.Duration(p.s.status.Nanos)
	if p.expired.Load() && res.Signal == syscall.SIGKILL {
		return res, &TimeoutError{p.cmd.Argv, p.cmd.Timeout}
	}
	return res, nil
}

// Output is what the command has written so far, except for what goes to
// Stdout and Stderr of its Cmd.
func (p *Process) Output() (stdout, stderr []byte) {
	return p.out.bytes(), p.err.bytes()
}

func (p *Process) result() *Result {
	stdout, stderr := p.Output()
	return &Result{Stdout: stdout, Stderr: stderr, Truncated: p.out.isFull() || p.err.isFull(), ExitCode: -1}
}

// outcome is the error of an operation whose stream has ended.
func (m *Machine) outcome(s *stream) error {
	select {
	case <-s.done:
	default:
		<-m.dead
		return m.err
	}
	if s.status.Error != "" {
		return &GuestError{Op: string(s.op), Text: s.status.Error, Errno: syscall.Errno(s.status.Errno)}
	}
	return nil
}

// feed sends r as the stream's input, a chunk at a time as it is consumed.
func (s *stream) feed(r io.Reader) error {
	buf := make([]byte, wire.StreamChunk)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := s.w.Write(wire.Frame{Type: wire.Data, Stream: s.id, Payload: buf[:n]}); err != nil {
				return err
			}
			select {
			case <-s.consumed:
			case <-s.ended:
				return nil
			}
		}
		if err != nil {
			if serr := s.w.Write(wire.Frame{Type: wire.EOF, Stream: s.id}); serr != nil {
				return serr
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// ReadFile reads a file of the guest.
func (m *Machine) ReadFile(ctx context.Context, path string) ([]byte, error) {
	var c capture
	s, err := m.link.open(wire.Request{Op: wire.OpRead, Path: path}, func(_ wire.Type, b []byte) { c.add(b) })
	if err != nil {
		return nil, m.gone(err)
	}
	if err := m.await(ctx, s); err != nil {
		return nil, err
	}
	if c.isFull() {
		return nil, &GuestError{Op: string(wire.OpRead), Text: path + " is longer than 64 MiB"}
	}
	return c.bytes(), nil
}

// WriteFile writes a file of the guest, which is created with the mode if it is
// not there. The content is given to the kernel in one write(2), as the files
// of procfs and sysfs need.
func (m *Machine) WriteFile(ctx context.Context, path string, data []byte, mode os.FileMode) error {
	s, err := m.link.open(wire.Request{Op: wire.OpWrite, Path: path, Mode: uint32(mode.Perm())}, nil)
	if err != nil {
		return m.gone(err)
	}
	go s.feed(bytes.NewReader(data))
	return m.await(ctx, s)
}

func (m *Machine) await(ctx context.Context, s *stream) error {
	select {
	case <-s.ended:
		return m.outcome(s)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A capture passes output on or keeps it.
type capture struct {
	w    io.Writer
	mu   sync.Mutex
	b    []byte
	full bool
}

func (c *capture) add(b []byte) {
	if c.w != nil {
		// A writer that has had enough does not stop the command.
		c.w.Write(b)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := maxCapture - len(c.b); len(b) > n {
		b, c.full = b[:n], true
	}
	c.b = append(c.b, b...)
}

func (c *capture) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.b)
}

func (c *capture) isFull() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.full
}
