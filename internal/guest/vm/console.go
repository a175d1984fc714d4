// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"bytes"
	"io"
	"os"
	"sync"
)

// A console keeps what the guest's kernel prints, in memory and in a file.
type console struct {
	mu       sync.Mutex
	text     []byte
	file     *os.File
	panicked chan struct{} // closed when the kernel says that it panics
	closed   chan struct{} // closed at the end
}

var panicText = []byte("Kernel panic - not syncing")

func newConsole(path string) (*console, error) {
	c := &console{panicked: make(chan struct{}), closed: make(chan struct{})}
	if path != "" {
		f, err := os.Create(path)
		if err != nil {
			return nil, err
		}
		c.file = f
	}
	return c, nil
}

// follow reads until the other end is closed.
func (c *console) follow(r io.Reader) {
	defer close(c.closed)
	buf := make([]byte, 32<<10)
	said := false
	for {
		n, err := r.Read(buf)
		c.mu.Lock()
		from := max(0, len(c.text)-len(panicText))
		c.text = append(c.text, buf[:n]...)
		if c.file != nil {
			c.file.Write(buf[:n])
		}
		if !said && bytes.Contains(c.text[from:], panicText) {
			said = true
			close(c.panicked)
		}
		c.mu.Unlock()
		if err != nil {
			break
		}
	}
	c.close()
}

func (c *console) close() {
	if c.file != nil {
		c.file.Close()
	}
}

func (c *console) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.text)
}

// last returns the last n lines.
func last(text []byte, n int) []byte {
	i := len(text)
	for ; n >= 0 && i >= 0; n-- {
		i = bytes.LastIndexByte(text[:i], '\n')
	}
	return text[i+1:]
}
