// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// A monitor speaks QMP, QEMU's control protocol (docs/interop/qmp-spec.txt).
type monitor struct {
	rw     io.ReadWriter
	mu     sync.Mutex // one command at a time
	answer chan answer
	closed chan struct{} // at the end of the stream
	// reason is why QEMU stopped the machine, from its SHUTDOWN event; valid
	// after closed.
	reason string
}

type answer struct {
	value json.RawMessage
	err   error
}

func newMonitor(rw io.ReadWriter) *monitor {
	m := &monitor{rw: rw, answer: make(chan answer, 1), closed: make(chan struct{})}
	go m.read()
	return m
}

func (m *monitor) read() {
	defer close(m.closed)
	d := json.NewDecoder(m.rw)
	for {
		var msg struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
			Event  string
			Data   struct{ Reason string }
		}
		if d.Decode(&msg) != nil {
			return
		}
		switch {
		case msg.Event == "SHUTDOWN":
			m.reason = msg.Data.Reason
		case msg.Error != nil:
			m.answer <- answer{err: fmt.Errorf("qemu monitor: %s", msg.Error.Desc)}
		case msg.Return != nil:
			m.answer <- answer{value: msg.Return}
		}
	}
}

// start leaves the negotiation mode in which QMP begins.
func (m *monitor) start(ctx context.Context) error {
	_, err := m.do(ctx, "qmp_capabilities", nil)
	return err
}

func (m *monitor) do(ctx context.Context, command string, arguments map[string]any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	req := map[string]any{"execute": command}
	if arguments != nil {
		req["arguments"] = arguments
	}
	b, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	if _, err := m.rw.Write(b); err != nil {
		return nil, fmt.Errorf("qemu monitor: %w", err)
	}
	select {
	case a := <-m.answer:
		return a.value, a.err
	case <-m.closed:
		return nil, fmt.Errorf("qemu monitor: closed")
	case <-ctx.Done():
		return nil, fmt.Errorf("qemu monitor: %s: %w", command, ctx.Err())
	}
}

// humanOn runs a command of QEMU's interactive monitor, which looks at one CPU.
func (m *monitor) humanOn(ctx context.Context, cpu int, line string) (string, error) {
	v, err := m.do(ctx, "human-monitor-command", map[string]any{"command-line": line, "cpu-index": cpu})
	if err != nil {
		return "", err
	}
	var s string
	return s, json.Unmarshal(v, &s)
}
