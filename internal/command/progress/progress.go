// SPDX-License-Identifier: BSD-3-Clause

// Package progress tells whoever waits what is going on: on a terminal in its last line,
// and elsewhere, for those who read a log, with one line a step and a sign of life when
// nothing else was printed for a time.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Silence is after how long without a line a log gets a sign of life.
const Silence = 30 * time.Second

// Board is where a command's steps are shown. Steps may run at the same time.
type Board struct {
	w        io.Writer
	terminal bool

	mu      sync.Mutex
	running []*Step // the one that moved last is last
	shown   bool    // something is on the terminal's last line
	beat    *time.Timer
}

// Step is something that takes time.
type Step struct {
	board       *Board
	begun       time.Time
	text        string
	done, total int64
	unit        string
}

// New returns a board on a terminal or another writer. Close it.
func New(w io.Writer) *Board {
	b := &Board{w: w}
	if f, ok := w.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		b.terminal = err == nil
	}
	if !b.terminal {
		b.beat = time.AfterFunc(Silence, b.alive)
	}
	return b
}

// Begin shows that a step begins.
func (b *Board) Begin(format string, a ...any) *Step {
	s := &Step{board: b, begun: time.Now(), text: fmt.Sprintf(format, a...)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.moved(s)
	return s
}

// Print prints a line. Without a terminal, something was heard then.
func (b *Board) Print(format string, a ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.line(fmt.Sprintf(format, a...))
	b.show()
}

// Close forgets all steps and leaves the terminal clean. It may be called more than once.
func (b *Board) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = nil
	b.clear()
	if b.beat != nil {
		b.beat.Stop()
		b.beat = nil
	}
}

// Text says what the step is at.
func (s *Step) Text(format string, a ...any) {
	s.board.mu.Lock()
	defer s.board.mu.Unlock()
	s.text = fmt.Sprintf(format, a...)
	s.board.moved(s)
}

// Count says that done of total are done, of what unit names ("MB"; "" for steps).
func (s *Step) Count(done, total int64, unit string) {
	s.board.mu.Lock()
	defer s.board.mu.Unlock()
	s.done, s.total, s.unit = done, total, unit
	s.board.moved(s)
}

// End ends the step with a line about it.
func (s *Step) End(format string, a ...any) { s.end(fmt.Sprintf(format, a...)) }

// Drop ends the step without a line.
func (s *Step) Drop() { s.end("") }

func (s *Step) end(line string) {
	b := s.board
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(s)
	b.clear()
	if line != "" {
		b.line(line)
	}
	b.show()
}

// Took is how long the step has taken so far.
func (s *Step) Took() time.Duration { return time.Since(s.begun) }

// state is the step in one line.
func (s *Step) state() string {
	if s.total <= 0 {
		return s.text
	}
	return fmt.Sprintf("%s (%d of %d%s)", s.text, s.done, s.total, strings.TrimRight(" "+s.unit, " "))
}

// alive is for a log in which nothing was printed for a while.
func (b *Board) alive() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.beat == nil {
		return // closed meanwhile
	}
	var steps []string
	for _, s := range b.running {
		steps = append(steps, fmt.Sprintf("%s, for %v", s.state(), s.Took().Round(time.Second)))
	}
	if len(steps) > 0 {
		b.line("  ... " + strings.Join(steps, "; "))
	} else {
		b.beat.Reset(Silence)
	}
}

// The rest is called with mu held.

func (b *Board) remove(s *Step) {
	for i, r := range b.running {
		if r == s {
			b.running = append(b.running[:i], b.running[i+1:]...)
			return
		}
	}
}

// moved puts a step on the terminal's last line.
func (b *Board) moved(s *Step) {
	b.remove(s)
	b.running = append(b.running, s)
	b.show()
}

func (b *Board) show() {
	if !b.terminal || len(b.running) == 0 {
		return
	}
	b.clear()
	fmt.Fprint(b.w, b.running[len(b.running)-1].state(), " ...")
	b.shown = true
}

func (b *Board) clear() {
	if b.shown {
		fmt.Fprint(b.w, "\r\033[K")
		b.shown = false
	}
}

func (b *Board) line(text string) {
	b.clear()
	fmt.Fprintln(b.w, text)
	if b.beat != nil {
		b.beat.Reset(Silence)
	}
}
