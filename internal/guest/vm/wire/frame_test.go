// SPDX-License-Identifier: BSD-3-Clause

package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func encode(t *testing.T, frames ...Frame) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, f := range frames {
		if err := w.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func decode(b []byte) (frames []Frame, skipped int, err error) {
	r := NewReader(bytes.NewReader(b))
	for {
		f, err := r.Read()
		if err != nil {
			return frames, r.Skipped(), err
		}
		frames = append(frames, f)
	}
}

var (
	small = Frame{Type: Stdout, Stream: 7, Payload: []byte("hello")}
	empty = Frame{Type: EOF, Stream: 8, Payload: []byte{}}
	large = Frame{Type: Data, Stream: 1 << 31, Payload: bytes.Repeat([]byte{0xa5, 'P', 'S', 0xf1}, MaxPayload/4)}
)

func TestRoundTrip(t *testing.T) {
	want := []Frame{small, empty, large, small}
	got, skipped, err := decode(encode(t, want...))
	if !errors.Is(err, io.EOF) || skipped != 0 {
		t.Fatalf("decode: skipped %d, error %v", skipped, err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWriterRefusesLongPayload(t *testing.T) {
	var b bytes.Buffer
	if err := NewWriter(&b).Write(Frame{Payload: make([]byte, MaxPayload+1)}); err == nil || b.Len() != 0 {
		t.Errorf("Write of too long a payload: error %v, %d bytes out", err, b.Len())
	}
}

func TestDamage(t *testing.T) {
	one := len(encode(t, small))
	all := func() []byte { return encode(t, small, large, small) }
	for _, tc := range []struct {
		name    string
		mangle  func([]byte) []byte
		frames  int
		damaged bool
	}{
		{"text before", func(b []byte) []byte { return append([]byte("SeaBIOS\r\n\xa5PS"), b...) }, 3, false},
		{"text between frames", func(b []byte) []byte { return insert(b, one, "[    1.0] oops\r\n") }, 3, false},
		{"text inside a payload", func(b []byte) []byte { return insert(b, one+headerSize+3, "x") }, 1, true},
		{"text inside a header", func(b []byte) []byte { return insert(b, one+6, "x") }, 1, true},
		{"bit flipped in payload", func(b []byte) []byte { b[one+headerSize+9] ^= 4; return b }, 1, true},
		{"bit flipped in length", func(b []byte) []byte { b[one+17] ^= 0x40; return b }, 1, true},
		{"first frame lost", func(b []byte) []byte { return b[one:] }, 0, true},
		{"byte lost", func(b []byte) []byte { return append(b[:one+100], b[one+101:]...) }, 1, true},
		{"cut short", func(b []byte) []byte { return b[:len(b)-2] }, 2, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			frames, _, err := decode(tc.mangle(all()))
			var d *DamageError
			if len(frames) != tc.frames || errors.As(err, &d) != tc.damaged {
				t.Errorf("got %d frames and error %v; want %d frames, damage %v", len(frames), err, tc.frames, tc.damaged)
			}
		})
	}
}

func insert(b []byte, at int, s string) []byte {
	return append(b[:at:at], append([]byte(s), b[at:]...)...)
}

func FuzzReader(f *testing.F) {
	var b []byte
	b = Append(b, 0, small)
	b = Append(b, 1, empty)
	f.Add(b)
	f.Add([]byte("\xa5PS\xf1 not a header, just long enough to look at"))
	f.Fuzz(func(t *testing.T, noise []byte) {
		frames, skipped, err := decode(noise)
		if err == nil {
			t.Fatal("no error at the end of the input")
		}
		used := 0
		for _, fr := range frames {
			if len(fr.Payload) > MaxPayload {
				t.Fatalf("payload of %d bytes", len(fr.Payload))
			}
			used += EncodedSize(len(fr.Payload))
		}
		if used+skipped > len(noise) {
			t.Fatalf("%d bytes in frames and %d skipped from %d", used, skipped, len(noise))
		}
		// Noise that holds no header must not hide the frame behind it.
		if len(frames) == 0 && errors.Is(err, io.EOF) {
			after, _, _ := decode(Append(noise, 0, small))
			if len(after) != 1 || !cmp.Equal(after[0], small) {
				t.Fatalf("frame after %q was not found: %v", noise, after)
			}
		}
	})
}
