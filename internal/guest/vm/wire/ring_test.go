// SPDX-License-Identifier: BSD-3-Clause

package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// pipes returns both ends, and the host's end of the bell.
func pipes(t *testing.T) (host, guest *Pipe, mem []byte, bell net.Conn) {
	t.Helper()
	mem = make([]byte, SharedSize)
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	host, err := NewPipe(mem, true, a)
	if err != nil {
		t.Fatal(err)
	}
	guest, err = NewPipe(mem, false, b)
	if err != nil {
		t.Fatal(err)
	}
	return host, guest, mem, a
}

// Several times the capacity goes both ways at once, in pieces of all sizes, so
// that both the empty and the full ring are waited for.
func TestPipe(t *testing.T) {
	host, guest, _, _ := pipes(t)
	const size = 5*capacity + 12345
	data := make([]byte, size)
	r := rand.NewChaCha8([32]byte{})
	r.Read(data)
	send := func(p *Pipe, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(200_000))
			if _, err := p.Write(rest[:n]); err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
	}
	done := make(chan bool)
	receive := func(p *Pipe) {
		got := make([]byte, size)
		_, err := io.ReadFull(p, got)
		done <- err == nil && bytes.Equal(got, data)
	}
	go send(host, 1)
	go send(guest, 2)
	go receive(host)
	go receive(guest)
	for range 2 {
		if !<-done {
			t.Error("what was read is not what was written")
		}
	}
}

func TestPipeEnd(t *testing.T) {
	host, guest, _, bell := pipes(t)
	if _, err := guest.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	bell.Close()
	<-host.closed
	buf := make([]byte, 100)
	if n, err := host.Read(buf); err != nil || string(buf[:n]) != "last words" {
		t.Errorf("Read after the end: %q, %v", buf[:n], err)
	}
	if _, err := host.Read(buf); err == nil {
		t.Error("Read of an empty, closed pipe: no error")
	}
	if _, err := host.Write(make([]byte, 2*capacity)); err == nil {
		t.Error("Write of more than fits a closed pipe: no error")
	}
}

func TestPipeScribble(t *testing.T) {
	host, guest, mem, _ := pipes(t)
	guest.Write([]byte("x"))
	for i := range 8 {
		mem[headOffset+i], mem[ringSize+tailOffset+i] = 0xee, 0xee
	}
	var d *DamageError
	if _, err := host.Read(make([]byte, 10)); !errors.As(err, &d) {
		t.Errorf("Read: %v", err)
	}
	if _, err := host.Write([]byte("x")); !errors.As(err, &d) {
		t.Errorf("Write: %v", err)
	}
}
