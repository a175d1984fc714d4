// SPDX-License-Identifier: BSD-3-Clause

// Package wire is the protocol between a host and the agent inside a guest.
//
// Bytes go through memory that both share (Pipe); a serial port is the bell.
// A serial port alone would do, but the emulated one moves 90 kB/s out of a
// guest and 20 kB/s into it. On top of the bytes there are frames, which are
// self-delimiting and checked: memory that a broken kernel scribbled on is
// noticed, and never taken for an answer.
package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"plugsched/internal/outcome"
)

// MaxPayload is the largest payload of one frame, in bytes.
const MaxPayload = 32 << 10

// headerSize is magic(4) seq(4) stream(4) type(1) reserved(3) length(4) crc(4).
const headerSize = 24

const trailerSize = 4

// magic is outside ASCII so that text cannot imitate it.
var magic = [4]byte{0xa5, 'P', 'S', 0xf1}

// A DamageError says that a frame was lost or altered on the way. The channel
// cannot be trusted any more.
type DamageError struct{ Reason string }

func (e *DamageError) Error() string { return "guest channel damaged: " + e.Reason }

// Outcome implements outcome.Error.
func (*DamageError) Outcome() outcome.Outcome { return outcome.Failed }

// A Frame is one message. Stream ties frames of one operation together.
type Frame struct {
	Type    Type
	Stream  uint32
	Payload []byte
}

// Append encodes f with sequence number seq behind dst.
func Append(dst []byte, seq uint32, f Frame) []byte {
	var h [headerSize]byte
	copy(h[:], magic[:])
	binary.LittleEndian.PutUint32(h[4:], seq)
	binary.LittleEndian.PutUint32(h[8:], f.Stream)
	h[12] = byte(f.Type)
	binary.LittleEndian.PutUint32(h[16:], uint32(len(f.Payload)))
	binary.LittleEndian.PutUint32(h[20:], crc32.ChecksumIEEE(h[:20]))
	dst = append(dst, h[:]...)
	dst = append(dst, f.Payload...)
	return binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(f.Payload))
}

// EncodedSize is the number of bytes that a payload of n bytes takes.
func EncodedSize(n int) int { return headerSize + n + trailerSize }

// A Writer numbers frames and writes each with a single Write. It may be used
// from several goroutines.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
	seq uint32
	err error
}

// NewWriter returns a Writer whose first frame has number 0.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write sends f. After an error every later Write returns that error.
func (w *Writer) Write(f Frame) error {
	if len(f.Payload) > MaxPayload {
		return fmt.Errorf("frame payload of %d bytes exceeds %d", len(f.Payload), MaxPayload)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.buf = Append(w.buf[:0], w.seq, f)
	w.seq++
	_, w.err = w.w.Write(w.buf)
	return w.err
}

// Fail makes every later Write return err. None uses the underlying writer any
// more when it returns.
func (w *Writer) Fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// A Reader finds frames in a byte stream.
type Reader struct {
	r       *bufio.Reader
	seq     uint32
	skipped int
}

// NewReader returns a Reader that expects frame number 0 first.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 64<<10)} }

// Skipped is the number of bytes passed over because they were no frame.
func (r *Reader) Skipped() int { return r.skipped }

// Read returns the next frame. Bytes before it that are no frame are passed
// over. It returns a *DamageError if the frame is altered or frames before it
// are missing, and the error of the underlying reader as it is.
func (r *Reader) Read() (Frame, error) {
	h, err := r.header()
	if err != nil {
		return Frame{}, err
	}
	seq := binary.LittleEndian.Uint32(h[4:])
	f := Frame{Type: Type(h[12]), Stream: binary.LittleEndian.Uint32(h[8:])}
	n := int(binary.LittleEndian.Uint32(h[16:]))
	r.r.Discard(headerSize)
	body := make([]byte, n+trailerSize)
	if _, err := io.ReadFull(r.r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	f.Payload = body[:n:n]
	if binary.LittleEndian.Uint32(body[n:]) != crc32.ChecksumIEEE(f.Payload) {
		return Frame{}, &DamageError{fmt.Sprintf("frame %d has a wrong payload checksum", seq)}
	}
	if seq != r.seq {
		return Frame{}, &DamageError{fmt.Sprintf("frame %d arrived where %d was due (%d stray bytes so far)", seq, r.seq, r.skipped)}
	}
	r.seq++
	return f, nil
}

// header leaves the reader at a valid header and returns it. The header has a
// checksum of its own, so that a damaged length cannot make us wait for bytes
// that never come.
func (r *Reader) header() ([]byte, error) {
	for {
		h, err := r.r.Peek(headerSize)
		if err != nil {
			return nil, err
		}
		if [4]byte(h[:4]) == magic &&
			binary.LittleEndian.Uint32(h[20:]) == crc32.ChecksumIEEE(h[:20]) &&
			binary.LittleEndian.Uint32(h[16:]) <= MaxPayload {
			return h, nil
		}
		r.r.Discard(1)
		r.skipped++
	}
}
