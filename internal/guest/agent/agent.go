// SPDX-License-Identifier: BSD-3-Clause

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/guest/vm/wire"
)

// outputChunk is the size of one frame of output.
const outputChunk = 16 << 10

type agent struct {
	*spawner
	in  *wire.Reader
	out *wire.Writer

	streams struct {
		sync.Mutex
		m map[uint32]*stream
	}
}

// A stream is one operation asked for by the host.
type stream struct {
	*agent
	id  uint32
	req wire.Request

	mu    sync.Mutex
	input chan []byte // closed at the end of the input
	ended bool
	pid   int
	term  *os.File
}

func newAgent(channel io.ReadWriter, s *spawner) *agent {
	a := &agent{spawner: s, in: wire.NewReader(channel), out: wire.NewWriter(channel)}
	a.streams.m = map[uint32]*stream{}
	return a
}

// serve greets the host and answers it until the channel breaks.
func (a *agent) serve() error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	hello, err := wire.JSON(wire.Hello, 0, wire.Greeting{
		Version: wire.Version,
		Release: unix.ByteSliceToString(u.Release[:]),
		Machine: unix.ByteSliceToString(u.Machine[:]),
	})
	if err != nil {
		return err
	}
	if err := a.out.Write(hello); err != nil {
		return err
	}
	for {
		f, err := a.in.Read()
		if err != nil {
			return err
		}
		if err := a.dispatch(f); err != nil {
			return err
		}
	}
}

// dispatch never blocks on a stream.
func (a *agent) dispatch(f wire.Frame) error {
	if f.Type == wire.Open {
		return a.open(f)
	}
	a.streams.Lock()
	s := a.streams.m[f.Stream]
	a.streams.Unlock()
	if s == nil {
		// The stream ended while the frame was on its way.
		return nil
	}
	switch f.Type {
	case wire.Data:
		return s.data(f.Payload)
	case wire.EOF:
		s.endInput()
	case wire.Signal:
		if len(f.Payload) == 1 {
			s.kill(syscall.Signal(f.Payload[0]))
		}
	case wire.Resize:
		var size wire.Size
		if json.Unmarshal(f.Payload, &size) == nil {
			s.resize(size)
		}
	}
	return nil
}

func (a *agent) open(f wire.Frame) error {
	s := &stream{agent: a, id: f.Stream, input: make(chan []byte, 1)}
	if err := json.Unmarshal(f.Payload, &s.req); err != nil {
		return fmt.Errorf("request %d: %w", f.Stream, err)
	}
	if s.req.Op == wire.OpPing {
		return s.done(wire.Status{})
	}
	a.streams.Lock()
	a.streams.m[s.id] = s
	a.streams.Unlock()
	go s.run()
	return nil
}

func (s *stream) run() {
	start := time.Now()
	st := wire.Status{}
	switch s.req.Op {
	case wire.OpExec:
		st = s.exec()
	case wire.OpRead:
		st = s.read()
	case wire.OpWrite:
		st = s.write()
	case wire.OpPoweroff:
		poweroff()
	default:
		st.Error = fmt.Sprintf("unknown operation %q", s.req.Op)
	}
	st.Nanos = int64(time.Since(start))
	s.streams.Lock()
	delete(s.streams.m, s.id)
	s.streams.Unlock()
	s.endInput()
	s.done(st)
}

func (s *stream) send(t wire.Type, b []byte) error {
	return s.out.Write(wire.Frame{Type: t, Stream: s.id, Payload: b})
}

func (s *stream) done(st wire.Status) error {
	f, err := wire.JSON(wire.Done, s.id, st)
	if err != nil {
		return err
	}
	return s.out.Write(f)
}

// data queues one chunk. The host waits for Consumed before it sends the next,
// so the queue of one is never full.
func (s *stream) data(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	select {
	case s.input <- b:
		return nil
	default:
		return fmt.Errorf("host sent data on stream %d before it was asked for", s.id)
	}
}

func (s *stream) endInput() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		close(s.input)
	}
}

// feed hands the input to consume, chunk by chunk, and returns at its end.
func (s *stream) feed(consume func([]byte)) {
	for b := range s.input {
		consume(b)
		s.send(wire.Consumed, nil)
	}
}

func (s *stream) read() wire.Status {
	f, err := os.Open(s.req.Path)
	if err != nil {
		return failure(err)
	}
	defer f.Close()
	if _, err := io.CopyBuffer(frameWriter{s, wire.Stdout}, struct{ io.Reader }{f}, make([]byte, outputChunk)); err != nil {
		return failure(err)
	}
	return wire.Status{}
}

func (s *stream) write() wire.Status {
	var content []byte
	s.feed(func(b []byte) { content = append(content, b...) })
	f, err := os.OpenFile(s.req.Path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, os.FileMode(s.req.Mode))
	if err != nil {
		return failure(err)
	}
	_, err = f.Write(content)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return failure(err)
	}
	return wire.Status{}
}

// failure is the status of an operation that could not be done.
func failure(err error) wire.Status {
	st := wire.Status{Error: err.Error()}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		st.Errno = int(errno)
	}
	return st
}

// A frameWriter sends what is written to it as frames of one type.
type frameWriter struct {
	s *stream
	t wire.Type
}

func (w frameWriter) Write(b []byte) (int, error) {
	for n := 0; n < len(b); {
		chunk := b[n:min(n+outputChunk, len(b))]
		if err := w.s.send(w.t, chunk); err != nil {
			return n, err
		}
		n += len(chunk)
	}
	return len(b), nil
}
