// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/outcome"
)

// RolledBackError says that a module is not the running scheduler any more, although
// nobody removed it.
type RolledBackError struct {
	Name   string
	Report string // why, from the module; "" when it does not say
}

func (e *RolledBackError) Error() string {
	if e.Report == "" {
		return e.Name + " is not the running scheduler any more"
	}
	return e.Name + " was rolled back by the kernel: " + e.Report
}

// Outcome implements outcome.Error.
func (*RolledBackError) Outcome() outcome.Outcome { return outcome.RolledBack }

// Settle watches a module that has become the running scheduler, for a time: each
// second every CPU has to run this thread, the kernel must not complain (*KernelFault),
// and the module must not be left (*RolledBackError).
func (h Host) Settle(ctx context.Context, name string, d time.Duration) error {
	log := h.openLog()
	defer log.close()
	end := time.After(d)
	for {
		s, err := h.finish(log)
		if err != nil {
			return err
		}
		if s.Name != name || s.RollingBack != "" {
			return &RolledBackError{Name: name, Report: s.RollingBack + s.Report}
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

// Rollback makes the kernel leave a module on trial for the scheduler before it, as
// at the trial's end, and unloads the module. The reason goes to the kernel's log.
func (h Host) Rollback(ctx context.Context, name, reason string, to Progress) (*Status, error) {
	unlock, err := h.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	l := &Loaded{Name: name, host: h}
	// Already: it is on its way back for another reason.
	if err := l.write("rollback", reason); err != nil && !errors.Is(err, unix.EALREADY) {
		return nil, outcome.With(outcome.Failed, fmt.Errorf("%s: %w", l.file("rollback"), err))
	}
	for {
		s, err := h.Read()
		if err != nil {
			return nil, err
		}
		if s.Name != name {
			return s, loadedList(s.Modules).unloadIdle(context.WithoutCancel(ctx), to)
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
