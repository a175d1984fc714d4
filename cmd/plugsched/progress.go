// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"plugsched/internal/command/progress"
	"plugsched/internal/develop/project"
	"plugsched/internal/kernel/fetch"
)

// steps shows the stages of a project and what is fetched, by their names.
type steps struct {
	board *progress.Board

	mu      sync.Mutex
	running map[string]*progress.Step
	waits   *progress.Step
}

func newProgress(w io.Writer) *steps {
	return &steps{board: progress.New(w), running: map[string]*progress.Step{}}
}

// finish leaves the terminal clean. It may be called more than once.
func (p *steps) finish() { p.board.Close() }

// begun returns the step of a name, and begins it when need be.
func (p *steps) begun(name string) *progress.Step {
	s := p.running[name]
	if s == nil {
		s = p.board.Begin("%s", name)
		p.running[name] = s
	}
	return s
}

func (p *steps) stage(e project.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case e.Skipped:
		p.board.Print("%-10s %s", e.Stage, e.Text)
	case e.Done:
		p.begun(e.Stage).End("%-10s %s (%.1f s)", e.Stage, e.Text, e.Took.Round(100*time.Millisecond).Seconds())
		delete(p.running, e.Stage)
	default:
		p.begun(e.Stage).Text("%-10s %s", e.Stage, e.Text)
	}
}

func (p *steps) fetching(e fetch.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waits != nil {
		p.waits.Drop()
		p.waits = nil
	}
	name := fmt.Sprintf("%-10s %s", e.Step, e.Item)
	if e.Step == "wait" { // until there is something else to tell
		p.board.Print("%s", name)
		p.waits = p.board.Begin("%s", name)
		return
	}
	s := p.begun(name)
	if e.Total > 0 {
		s.Count(e.Done/1e6, e.Total/1e6, "MB")
	}
	if e.Ended {
		delete(p.running, name)
		s.End("%s%s", name, result(e.Total, s.Took()))
	}
}

func result(bytes int64, took time.Duration) string {
	size := ""
	if bytes > 0 {
		size = fmt.Sprintf("%d MB, ", bytes/1e6)
	}
	return fmt.Sprintf(" (%s%.1f s)", size, took.Seconds())
}
