// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"context"
	"fmt"
	"time"

	"plugsched/internal/outcome"
)

// WentBackError says that a module is not the running scheduler any more, although
// nobody removed it.
type WentBackError struct {
	Name   string
	Report string // why, from the module; "" when it does not say
}

func (e *WentBackError) Error() string {
	if e.Report == "" {
		return e.Name + " is not the running scheduler any more"
	}
	return e.Name + " went back by itself: " + e.Report
}

// Outcome implements outcome.Error.
func (*WentBackError) Outcome() outcome.Outcome { return outcome.RolledBack }

// Settle watches a module that has become the running scheduler, for a time: each
// second every CPU has to run this thread, the kernel must not complain (*KernelFault),
// and the module must not be left (*WentBackError).
func Settle(ctx context.Context, name string, d time.Duration) error {
	log := openLog()
	defer log.close()
	end := time.After(d)
	for {
		s, err := finish(log)
		if err != nil {
			return err
		}
		if s.Name != name || s.GoingBack != "" {
			return &WentBackError{Name: name, Report: s.GoingBack + s.Report}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return nil
		case <-time.After(time.Second):
		}
	}
}

// GoBack makes the kernel leave a module on trial for the scheduler before it, as
// at the trial's end, and unloads the module. The reason goes to the kernel's log.
func GoBack(ctx context.Context, name, reason string, o Options) (*Status, error) {
	unlock, err := lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	l := &Loaded{Name: name}
	if err := l.write("rescue", reason); err != nil {
		return nil, outcome.With(outcome.Failed, fmt.Errorf("%s: %w", l.file("rescue"), err))
	}
	for {
		s, err := Read()
		if err != nil {
			return nil, err
		}
		if s.Name != name {
			return s, loadedList(s.Modules).unloadIdle(context.WithoutCancel(ctx), &o)
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
