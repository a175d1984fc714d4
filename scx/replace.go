// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"

	"plugsched/internal/outcome"
)

// Replaced is what Replace has done.
type Replaced struct {
	Name string // of the scheduler that ran before
	End  *End   // nil if it keeps no reason
	// Gap is how long the kernel's own scheduler had tasks in between, at most: from when the one before was told to end until
	// the kernel said that the next had begun.
	Gap time.Duration
}

// Replace lets the object's scheduler take over from the one that runs, which has to be of this package. The kernel cannot swap two:
// in between its own has all tasks. The verifier has taken the next one before the one before ends; if it does not begin
// all the same, the one before begins again, and the error says so.
//
// A process that is killed meanwhile leaves the one before, the next one, or the kernel's own.
//
// Errors to look for are those of Load, *NotRunningError, *ForeignError and *OnTrialError.
func (o *Object) Replace(ctx context.Context, opt Options) (*Replaced, error) {
	if _, err := state(); err != nil {
		return nil, err
	}
	if opt.Trial != 0 {
		return nil, &PreconditionError{errors.New("one that replaces another cannot be tried: when the trial lapses the kernel's own would run")}
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
		return nil, &NotRunningError{}
	case s.Owner != Ours:
		return nil, &ForeignError{s.Name, s.Holders}
	case s.TrialLeft != 0:
		return nil, &OnTrialError{s.Name}
	}
	next, err := o.verified(ctx, opt)
	if err != nil {
		return nil, err
	}
	defer next.close()
	before, err := s.candidate()
	if err != nil {
		return nil, err
	}
	defer before.close()
	start := boottime()
	// From here on all of it is done.
	ctx = context.WithoutCancel(ctx)
	stopped, err := s.end(ctx)
	if err != nil {
		return nil, err
	}
	if err := next.begin(ctx); err != nil {
		return nil, before.again(ctx, err)
	}
	return &Replaced{s.Name, stopped.End, boottime() - start}, nil
}

// candidate is the scheduler that runs, as one that can begin once more.
func (s *Snapshot) candidate() (c *candidate, err error) {
	c = &candidate{name: s.Name}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	r, err := findRunning(s.Name)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, &NotRunningError{}
	}
	if c.ops, err = ebpf.NewMapFromID(r.ops); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(filepath.Join(Pins, s.Name))
	if err != nil {
		return nil, err
	}
	c.stay = map[string]*ebpf.Map{}
	for _, f := range files {
		switch name := f.Name(); name {
		case pinnedOf:
			c.of, err = os.Readlink(pinned(s.Name, name))
		case pinLink, pinnedTrial, pinnedConfirm: // what was confirmed is on trial no more
		case pinEnd:
			c.keeps, err = ebpf.LoadPinnedMap(pinned(s.Name, name), nil)
		default:
			c.stay[name], err = ebpf.LoadPinnedMap(pinned(s.Name, name), nil)
		}
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

// again lets a scheduler begin once more, because of an error of the next one.
func (c *candidate) again(ctx context.Context, because error) error {
	if c.keeps != nil {
		// It has noted an end that was none.
		if err := c.keeps.Put(uint32(0), make([]byte, endSize)); err != nil {
			return outcome.AfterChange(errors.Join(because, err))
		}
	}
	if err := c.begin(ctx); err != nil {
		return outcome.AfterChange(fmt.Errorf("%w; and %s could not begin again: %w", because, c.name, err))
	}
	return fmt.Errorf("%w; %s has begun again", because, c.name)
}
