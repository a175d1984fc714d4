// SPDX-License-Identifier: BSD-3-Clause

package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"plugsched/internal/fuzzing"
)

// FuzzFrames: what is written is read, whatever stands before it; a byte changed
// on the way is damage or passed over, never another frame.
func FuzzFrames(f *testing.F) {
	f.Add(uint8(Stdout), uint32(7), []byte("hello"), uint16(30), uint8(1))
	f.Add(uint8(Data), uint32(1<<31), bytes.Repeat(magic[:], 100), uint16(3), uint8(0))
	f.Fuzz(func(t *testing.T, kind uint8, stream uint32, payload []byte, at uint16, flip uint8) {
		fuzzing.Bounded(t, func() {
			want := Frame{Type(kind), stream, payload}
			if len(payload) > MaxPayload {
				if NewWriter(io.Discard).Write(want) == nil {
					t.Fatal("too long a payload was written")
				}
				return
			}
			b := Append(nil, 0, want)
			if len(b) != EncodedSize(len(payload)) {
				t.Fatalf("%d bytes, not %d", len(b), EncodedSize(len(payload)))
			}
			b[int(at)%len(b)] ^= flip
			frames, _, err := decode(b)
			switch {
			case flip == 0:
				if len(frames) != 1 || !errors.Is(err, io.EOF) || frames[0].Type != want.Type || frames[0].Stream != stream ||
					!bytes.Equal(frames[0].Payload, payload) {
					t.Fatalf("%v, %v", frames, err)
				}
			case len(frames) != 0 && int(at)%len(b) >= headerSize:
				// The header is whole; its payload's checksum is not.
				t.Fatalf("a damaged payload was read: %v", frames)
			}
		})
	})
}

// FuzzMessages: payloads of any content are decoded as each side does.
func FuzzMessages(f *testing.F) {
	for _, v := range []any{Greeting{Version, "6.1.0", "x86_64"}, Request{Op: OpExec, Argv: []string{"sh"}, PTY: &Size{24, 80}},
		Status{Error: "no", Errno: 2, ExitCode: 1, Nanos: 5}} {
		fr, err := JSON(Open, 1, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(fr.Payload)
	}
	f.Add(Uint32(Started, 1, 99).Payload)
	f.Fuzz(func(t *testing.T, payload []byte) {
		fuzzing.Bounded(t, func() {
			var g Greeting
			var s Status
			var r, again Request
			json.Unmarshal(payload, &g)
			json.Unmarshal(payload, &s)
			if len(payload) == 4 && Uint32(Started, 0, Frame{Payload: payload}.Number()).Number() != binary.LittleEndian.Uint32(payload) {
				t.Error("a number did not come back")
			}
			if json.Unmarshal(payload, &r) != nil {
				return
			}
			if fr, err := JSON(Open, 1, r); err == nil && json.Unmarshal(fr.Payload, &again) != nil {
				t.Errorf("%q is not read again", fr.Payload)
			}
		})
	})
}

// FuzzRing: memory that the other side scribbled on gives bytes or damage, and
// the reader does not go beyond the ring.
func FuzzRing(f *testing.F) {
	f.Add(uint64(5), uint64(0), []byte("hello"), uint16(100))
	f.Add(uint64(capacity+3), uint64(capacity-3), []byte("xy"), uint16(6))
	f.Add(uint64(0), uint64(1), []byte{}, uint16(0))
	f.Add(^uint64(0), ^uint64(0)-2, []byte("z"), uint16(9))
	mem := make([]byte, ringSize)
	f.Fuzz(func(t *testing.T, head, tail uint64, data []byte, room uint16) {
		r := ring(mem)
		r.counter(headOffset).Store(head)
		r.counter(tailOffset).Store(tail)
		var damage *DamageError
		b := make([]byte, room)
		n, err := r.get(b)
		if damaged := head-tail > capacity; damaged != errors.As(err, &damage) || n > len(b) || !damaged && uint64(n) > head-tail {
			t.Fatalf("get with %d of %d: %d, %v", tail, head, n, err)
		}
		n, err = r.put(data)
		if n > len(data) || (err != nil) != (head-tail > capacity) || r.readable() > capacity && err == nil {
			t.Fatalf("put with %d of %d: %d, %v", tail, head, n, err)
		}
	})
}
