// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"encoding/json"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"plugsched/internal/guest/vm/wire"
)

// A link is the host's end of the channel to the agent.
type link struct {
	w     *wire.Writer
	hello chan wire.Greeting
	// closed is closed when the channel is; err is then the reason.
	closed chan struct{}
	err    error
	// heard is when the guest last said anything, in Unix nanoseconds.
	heard atomic.Int64

	pinging atomic.Bool

	mu      sync.Mutex
	streams map[uint32]*stream
	next    uint32
}

// A stream is the host's side of one operation.
type stream struct {
	*link
	id       uint32
	op       wire.Op
	pid      uint32                  // valid after started
	output   func(wire.Type, []byte) // called in order, by one goroutine
	consumed chan struct{}
	started  chan struct{} // the program runs
	done     chan struct{} // the guest said that it ended; status is valid
	ended    chan struct{} // it ended or the channel did; all output was delivered
	status   wire.Status

	mu     sync.Mutex
	queued *sync.Cond
	queue  []wire.Frame
}

func newLink(rw io.ReadWriter) *link {
	l := &link{
		w:       wire.NewWriter(rw),
		hello:   make(chan wire.Greeting, 1),
		closed:  make(chan struct{}),
		streams: map[uint32]*stream{},
		next:    1,
	}
	go l.read(wire.NewReader(rw))
	return l
}

func (l *link) read(r *wire.Reader) {
	for {
		f, err := r.Read()
		if err != nil {
			l.err = err
			close(l.closed)
			return
		}
		l.heard.Store(time.Now().UnixNano())
		l.receive(f)
	}
}

// receive never waits for the user of a stream, so that a slow one cannot make
// the guest seem dead.
func (l *link) receive(f wire.Frame) {
	if f.Type == wire.Hello {
		var g wire.Greeting
		if json.Unmarshal(f.Payload, &g) == nil {
			select {
			case l.hello <- g:
			default:
			}
		}
		return
	}
	l.mu.Lock()
	s := l.streams[f.Stream]
	if f.Type == wire.Done {
		delete(l.streams, f.Stream)
	}
	l.mu.Unlock()
	if s == nil {
		return
	}
	switch f.Type {
	case wire.Consumed:
		select {
		case s.consumed <- struct{}{}:
		default:
		}
	case wire.Started, wire.Stdout, wire.Stderr, wire.Done:
		s.mu.Lock()
		s.queue = append(s.queue, f)
		s.queued.Signal()
		s.mu.Unlock()
	}
}

// open starts an operation. Output goes to the function, which may be nil.
func (l *link) open(req wire.Request, output func(wire.Type, []byte)) (*stream, error) {
	s := &stream{
		link:     l,
		op:       req.Op,
		output:   output,
		consumed: make(chan struct{}, 1),
		started:  make(chan struct{}),
		done:     make(chan struct{}),
		ended:    make(chan struct{}),
	}
	s.queued = sync.NewCond(&s.mu)
	l.mu.Lock()
	s.id = l.next
	l.next++
	l.streams[s.id] = s
	l.mu.Unlock()
	f, err := wire.JSON(wire.Open, s.id, req)
	if err == nil {
		err = l.w.Write(f)
	}
	if err != nil {
		l.mu.Lock()
		delete(l.streams, s.id)
		l.mu.Unlock()
		return nil, err
	}
	go s.deliver()
	return s, nil
}

// deliver hands a stream's frames to its user. It ends with the stream, or with
// the channel, after what had come before.
func (s *stream) deliver() {
	defer close(s.ended)
	go func() {
		select {
		case <-s.closed:
			s.mu.Lock()
			s.queued.Signal()
			s.mu.Unlock()
		case <-s.ended:
		}
	}()
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.isClosed() {
			s.queued.Wait()
		}
		queue := s.queue
		s.queue = nil
		s.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		for _, f := range queue {
			switch f.Type {
			case wire.Started:
				s.pid = f.Number()
				close(s.started)
			case wire.Done:
				if err := json.Unmarshal(f.Payload, &s.status); err != nil {
					s.status.Error = "unreadable status: " + err.Error()
				}
				close(s.done)
				return
			default:
				if s.output != nil {
					s.output(f.Type, f.Payload)
				}
			}
		}
	}
}

func (l *link) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// ping asks for a sign of life. It does not wait for a guest that takes
// nothing any more.
func (l *link) ping() {
	f, err := wire.JSON(wire.Open, 0, wire.Request{Op: wire.OpPing})
	if err != nil || !l.pinging.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer l.pinging.Store(false)
		l.w.Write(f)
	}()
}

// waiting is the number of operations whose end has not come.
func (l *link) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.streams)
}
