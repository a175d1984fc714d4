// SPDX-License-Identifier: BSD-3-Clause

package wire

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// SharedSize is the size of the memory that host and guest share, in bytes.
const SharedSize = 1 << 20

// Each direction has one half of the memory: four counters, each on a cache
// line of its own, and a ring of bytes.
const (
	ringSize     = SharedSize / 2
	headOffset   = 0   // bytes written so far, by the writer
	tailOffset   = 64  // bytes read so far, by the reader
	readerOffset = 128 // 1 while the reader waits for bytes
	writerOffset = 192 // 1 while the writer waits for room
	dataOffset   = 256
	capacity     = ringSize - dataOffset
)

// recheck bounds the harm that a lost ring of the bell does.
const recheck = time.Second

// A Pipe is one end of a two-way byte stream through shared memory. The bell
// is a slow channel on which one byte, of any value, means that the other side
// should look again; it is rung only for a side that waits. One goroutine may
// read and one may write at a time.
type Pipe struct {
	rx, tx ring
	bell   io.ReadWriter
	// closed is closed at the end of the bell, for whose reason see err.
	closed     chan struct{}
	err        error
	wakeReader chan struct{}
	wakeWriter chan struct{}
	ringMu     sync.Mutex
}

// NewPipe makes the host's or the guest's end of a Pipe. mem, of SharedSize
// bytes, is zero before its first use and must stay mapped.
func NewPipe(mem []byte, host bool, bell io.ReadWriter) (*Pipe, error) {
	if len(mem) < SharedSize {
		return nil, fmt.Errorf("shared memory has %d bytes, not %d", len(mem), SharedSize)
	}
	p := &Pipe{
		rx: ring(mem[:ringSize]), tx: ring(mem[ringSize:SharedSize]), bell: bell,
		closed: make(chan struct{}), wakeReader: make(chan struct{}, 1), wakeWriter: make(chan struct{}, 1),
	}
	if host {
		p.rx, p.tx = p.tx, p.rx
	}
	go p.listen()
	return p, nil
}

// listen turns the bell into wake-ups.
func (p *Pipe) listen() {
	buf := make([]byte, 64)
	for {
		_, err := p.bell.Read(buf)
		if err != nil {
			p.err = err
			close(p.closed)
			return
		}
		for _, c := range []chan struct{}{p.wakeReader, p.wakeWriter} {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
}

// Read returns what is there, at least one byte. After the end of the bell it
// still returns what had been written before.
func (p *Pipe) Read(b []byte) (int, error) {
	for {
		n, err := p.rx.get(b)
		if n > 0 || err != nil {
			if n > 0 && p.rx.word(writerOffset).Swap(0) != 0 {
				p.ring()
			}
			return n, err
		}
		// Announce first, look again, then wait: the writer publishes first and
		// then looks for waiters, so one of the two sees the other.
		p.rx.word(readerOffset).Store(1)
		if p.rx.readable() == 0 {
			if err := p.wait(p.wakeReader); err != nil && p.rx.readable() == 0 {
				return 0, err
			}
		}
		p.rx.word(readerOffset).Store(0)
	}
}

// Write returns when all of b is in the ring.
func (p *Pipe) Write(b []byte) (int, error) {
	total := 0
	for total < len(b) {
		n, err := p.tx.put(b[total:])
		if err != nil {
			return total, err
		}
		total += n
		if n > 0 {
			if p.tx.word(readerOffset).Swap(0) != 0 {
				p.ring()
			}
			continue
		}
		p.tx.word(writerOffset).Store(1)
		if p.tx.readable() == capacity {
			if err := p.wait(p.wakeWriter); err != nil {
				return total, err
			}
		}
		p.tx.word(writerOffset).Store(0)
	}
	return total, nil
}

func (p *Pipe) wait(wake <-chan struct{}) error {
	t := time.NewTimer(recheck)
	defer t.Stop()
	select {
	case <-wake:
	case <-t.C:
	case <-p.closed:
		return p.err
	}
	return nil
}

// ring rings the bell. Its errors are found by listen.
func (p *Pipe) ring() {
	p.ringMu.Lock()
	defer p.ringMu.Unlock()
	p.bell.Write([]byte{0})
}

// A ring is one direction. The counters only grow; they cannot overflow.
type ring []byte

func (r ring) counter(offset int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&r[offset]))
}

func (r ring) word(offset int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&r[offset]))
}

// readable is the number of bytes in the ring, more than capacity if the other
// side has overwritten the counters.
func (r ring) readable() uint64 {
	tail := r.counter(tailOffset).Load()
	return r.counter(headOffset).Load() - tail
}

func (r ring) get(b []byte) (int, error) {
	n := r.readable()
	if n > capacity {
		return 0, &DamageError{"shared memory was overwritten"}
	}
	tail := r.counter(tailOffset).Load()
	b = b[:min(uint64(len(b)), n)]
	at := tail % capacity
	done := copy(b, r[dataOffset+at:ringSize])
	copy(b[done:], r[dataOffset:])
	r.counter(tailOffset).Store(tail + uint64(len(b)))
	return len(b), nil
}

func (r ring) put(b []byte) (int, error) {
	n := r.readable()
	if n > capacity {
		return 0, &DamageError{"shared memory was overwritten"}
	}
	head := r.counter(headOffset).Load()
	b = b[:min(uint64(len(b)), capacity-n)]
	at := head % capacity
	done := copy(r[dataOffset+at:ringSize], b)
	copy(r[dataOffset:], b[done:])
	r.counter(headOffset).Store(head + uint64(len(b)))
	return len(b), nil
}
