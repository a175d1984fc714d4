// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/develop/project"
	"plugsched/internal/kernel/fetch"
)

// progress prints a line per finished stage; on a terminal also what goes on.
type progress struct {
	w        io.Writer
	terminal bool

	mu      sync.Mutex
	current string // what is on the terminal's last line
	item    string // what is being fetched
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		p.terminal = err == nil
	}
	return p
}

func (p *progress) clear() {
	if p.current != "" {
		fmt.Fprint(p.w, "\r\033[K")
		p.current = ""
	}
}

func (p *progress) show(format string, a ...any) {
	if p.terminal {
		p.clear()
		p.current = fmt.Sprintf(format, a...)
		fmt.Fprint(p.w, p.current)
	}
}

// finish leaves the terminal clean. It may be called more than once.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) stage(e project.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case e.Skipped:
		p.clear()
		fmt.Fprintf(p.w, "%-10s %s\n", e.Stage, e.Text)
	case e.Done:
		p.clear()
		fmt.Fprintf(p.w, "%-10s %s (%.1f s)\n", e.Stage, e.Text, e.Took.Round(100*time.Millisecond).Seconds())
	default:
		p.show("%-10s %s ...", e.Stage, e.Text)
	}
}

// fetching shows bytes on a terminal, and elsewhere one line per item.
func (p *progress) fetching(e fetch.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	item := fmt.Sprintf("%-10s %s", e.Step, e.Item)
	switch {
	case !p.terminal && item != p.item:
		fmt.Fprintln(p.w, item)
	case e.Total > 0:
		p.show("%s (%d of %d MB)", item, e.Done/1e6, e.Total/1e6)
	default:
		p.show("%s", item)
	}
	p.item = item
}
