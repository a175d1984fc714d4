// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"context"
	"fmt"

	"github.com/cilium/ebpf/link"
)

// Stopped is what Stop has done.
type Stopped struct {
	Name string
	// Before is whether the kernel had ended the scheduler before; only its link was still pinned.
	Before bool
	End    *End // nil if the scheduler keeps no reason
}

// Stop ends the scheduler that runs, and returns when the kernel's own has all tasks again. One that others
// have loaded only ends if foreign is set. Why it ended stays pinned, until one of the same name is loaded.
//
// Errors to look for are *UnsupportedError, *NotRunningError and *ForeignError.
func Stop(ctx context.Context, foreign bool) (*Stopped, error) {
	if _, err := state(); err != nil {
		return nil, err
	}
	unlock, err := lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, err := lookSettled(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case s.State == disabled:
		return sweep()
	case s.Link == 0:
		return nil, &PreconditionError{fmt.Errorf("%s has no link by which it could be ended; SysRq-S ends it", describe(s.Name, nil))}
	case s.Owner != Ours && !foreign:
		return nil, &ForeignError{s.Name, s.Holders}
	}
	return s.end(ctx)
}

// end ends the scheduler that runs.
func (s *Snapshot) end(ctx context.Context) (*Stopped, error) {
	l, err := link.NewFromID(link.ID(s.Link))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	// It ends now, whoever else has it open or pinned.
	if err := l.Detach(); err != nil {
		return nil, fmt.Errorf("ending %s: %w", s.Name, err)
	}
	if err := awaitEnd(ctx, s); err != nil {
		return nil, err
	}
	out := &Stopped{Name: s.Name}
	if s.Owner != Ours {
		return out, nil
	}
	if err := unpin(s.Name); err != nil {
		return nil, err
	}
	out.End, err = endOf(s.Name)
	return out, err
}

// awaitEnd waits until a scheduler has ended. Whether the kernel is done when a link is detached is its own affair.
func awaitEnd(ctx context.Context, s *Snapshot) error {
	for {
		now, err := state()
		if err != nil {
			return err
		}
		loads, err := number("enable_seq")
		if err != nil {
			return err
		}
		if now == disabled || loads != s.Loads {
			return nil
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("%s is %s: %w", s.Name, now, err)
		}
	}
}

// sweep removes the links of schedulers that the kernel has ended, and tells of the last of them.
func sweep() (*Stopped, error) {
	pins, err := pinnedLinks()
	if err != nil {
		return nil, err
	}
	var last *Stopped
	for name := range pins {
		if err := unpin(name); err != nil {
			return nil, err
		}
		end, err := endOf(name)
		if err != nil {
			return nil, err
		}
		if last == nil || end != nil && (last.End == nil || end.At > last.End.At) {
			last = &Stopped{Name: name, Before: true, End: end}
		}
	}
	if last == nil {
		return nil, &NotRunningError{}
	}
	return last, nil
}
