// SPDX-License-Identifier: BSD-3-Clause

package top

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gdamore/tcell/v2"
)

// Frames calls show with a frame after each interval, until show says that it is enough, or fails, or ctx is done.
func (m *Machine) Frames(ctx context.Context, every time.Duration, show func(*Frame) (more bool, err error)) error {
	before, err := m.Sample()
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
		now, err := m.Sample()
		if err != nil {
			return err
		}
		more, err := show(Between(before, now))
		if err != nil || !more {
			return err
		}
		before = now
	}
}

// keys is the last line of the screen.
const keys = "q: end  space: hold  arrows, page up and down: scroll"

// Watch shows frames on a terminal until somebody ends it, which is no error, or ctx is done. However it returns, the terminal is as it
// was before.
func (m *Machine) Watch(ctx context.Context, s tcell.Screen, every time.Duration) error {
	if err := s.Init(); err != nil {
		return fmt.Errorf("the terminal: %w", err)
	}
	defer s.Fini()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	frames, failed := make(chan *Frame), make(chan error, 1)
	go func() {
		failed <- m.Frames(ctx, every, func(f *Frame) (bool, error) {
			select {
			case frames <- f:
			case <-ctx.Done():
			}
			return ctx.Err() == nil, nil
		})
	}()
	events := make(chan tcell.Event)
	go s.ChannelEvents(events, ctx.Done())
	v := viewer{screen: s, lines: []Line{{Text: fmt.Sprintf("the first figures come in %v", every)}}}
	for {
		v.draw()
		select {
		case f := <-frames:
			if !v.held {
				v.lines = f.Lines()
			}
		case err := <-failed:
			return err
		case e, ok := <-events:
			if !ok {
				return ctx.Err()
			}
			if end, err := v.handle(e); end || err != nil {
				return err
			}
		}
	}
}

// viewer is what is on the screen.
type viewer struct {
	screen tcell.Screen
	lines  []Line
	first  int // of them that is shown
	held   bool
}

// handle does what a key is for.
func (v *viewer) handle(e tcell.Event) (end bool, err error) {
	_, height := v.screen.Size()
	page := max(1, height-2)
	switch e := e.(type) {
	case *tcell.EventResize:
		v.screen.Sync()
	case *tcell.EventError:
		return true, fmt.Errorf("the terminal: %w", errors.New(e.Error()))
	case *tcell.EventKey:
		switch e.Key() {
		case tcell.KeyCtrlC, tcell.KeyEscape:
			return true, nil
		case tcell.KeyUp:
			v.first--
		case tcell.KeyDown:
			v.first++
		case tcell.KeyPgUp:
			v.first -= page
		case tcell.KeyPgDn:
			v.first += page
		case tcell.KeyHome:
			v.first = 0
		case tcell.KeyEnd:
			v.first = len(v.lines)
		case tcell.KeyRune:
			switch e.Rune() {
			case 'q', 'Q':
				return true, nil
			case ' ':
				v.held = !v.held
			}
		}
	}
	return false, nil
}

// looks are what lines look like.
var looks = map[Look]tcell.Style{
	Plain: tcell.StyleDefault,
	Head:  tcell.StyleDefault.Reverse(true),
	Bad:   tcell.StyleDefault.Bold(true).Foreground(tcell.ColorRed),
}

// draw shows as many lines as there is room for, and which keys there are.
func (v *viewer) draw() {
	width, height := v.screen.Size()
	room := max(1, height-1)
	v.first = max(0, min(v.first, len(v.lines)-room))
	v.screen.Clear()
	for y, l := range v.lines[v.first:min(len(v.lines), v.first+room)] {
		text := l.Text
		if l.Look == Head {
			text = fmt.Sprintf("%-*s", width, text)
		}
		v.screen.PutStrStyled(0, y, text, looks[l.Look])
	}
	if height > 1 {
		last := keys
		if v.held {
			last = "held  " + keys
		}
		v.screen.PutStrStyled(0, height-1, last, tcell.StyleDefault.Dim(true))
	}
	v.screen.Show()
}
