// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestLZ4: literals, a copy that overlaps itself, and what is damaged.
func TestLZ4(t *testing.T) {
	packed := []byte("\x02\x21\x4c\x18\x15\x00\x00\x00\x7fhello, \x07\x00\x08\x70 world\n")
	packed[4] = byte(len(packed) - 8)
	r, err := newLZ4(bytes.NewReader(packed))
	must(t, err)
	got, err := io.ReadAll(r)
	if want := strings.Repeat("hello, ", 4); err != nil || !strings.HasPrefix(string(got), want) || !strings.HasSuffix(string(got), " world\n") {
		t.Errorf("%q, %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"cut off":      packed[:len(packed)-3],
		"too long":     []byte(lz4Magic + "\xff\xff\xff\x7f"),
		"nothing back": []byte(lz4Magic + "\x03\x00\x00\x00\x00\x00\x00"),
		"too far back": []byte(lz4Magic + "\x04\x00\x00\x00\x10a\x02\x00"),
	} {
		r, err := newLZ4(bytes.NewReader(bad))
		must(t, err)
		if got, err := io.ReadAll(r); !errors.Is(err, errLZ4) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := newLZ4(strings.NewReader("xx")); err == nil {
		t.Error("no magic: no error")
	}
}

func FuzzLZ4(f *testing.F) {
	f.Add([]byte("\x7fhello, \x07\x00\x08\x70 world\n"))
	f.Fuzz(func(t *testing.T, block []byte) {
		if out, err := unpackLZ4(block); err == nil && len(out) > lz4Block {
			t.Errorf("%d bytes", len(out))
		}
	})
}
