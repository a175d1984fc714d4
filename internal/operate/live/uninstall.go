// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"plugsched/internal/outcome"
)

// UninstallOptions are what Uninstall is told.
type UninstallOptions struct {
	// Tries is how often a busy update is tried, with growing pauses; 0 means 10.
	Tries int
	// Force ends what uses the scheduler, which otherwise is in the way (*UsedError).
	Force bool
	// Verify makes it look through the kernel for references to the modules that are
	// gone then. It takes some ten milliseconds and reads /proc/kcore.
	Verify   bool
	Progress Progress
}

// Uninstall gives the kernel its own scheduler back and unloads the module. On a
// *PreconditionError, *UsedError or *BusyError the module's scheduler goes on running. Another
// error may come after the update, and then says so.
func (h Host) Uninstall(ctx context.Context, o UninstallOptions) (*Status, error) {
	end, err := h.begin("removing")
	if err != nil {
		return nil, err
	}
	defer end()
	defer raisePriority()()
	before, err := h.Read()
	if err != nil {
		return nil, err
	}
	if len(before.Modules) == 0 {
		return nil, precondition("no scheduler is installed: the kernel runs its own")
	}
	log := h.openLog()
	defer log.close()
	gone, goneErr := h.moduleSpans(before.Modules)
	shown, shownErr := h.shownLayout(before.Modules)
	goneErr = errors.Join(goneErr, shownErr)
	list := loadedList(before.Modules)
	timings := before.Timings
	if active := list.active(); active != nil {
		value := "0"
		if o.Force {
			value = "force"
		}
		if err := active.update(ctx, "enable", value, o.Tries, o.Progress); err != nil {
			return nil, err
		}
		timings = active.timings()
	}
	s, err := h.cleanUp(ctx, log, o.Progress)
	if err != nil {
		return s, fmt.Errorf("the kernel runs its own scheduler, but: %w", outcome.AfterChange(err))
	}
	s.Timings = timings
	if !o.Verify {
		return s, nil
	}
	if goneErr != nil {
		return s, fmt.Errorf("removed, but not verified: %w", outcome.AfterChange(goneErr))
	}
	if gone = gone.without(s.Modules); len(gone.names) == 0 {
		return s, nil
	}
	s.Leftovers, err = h.findLeftovers(gone, before.Functions, shown...)
	if err != nil {
		return s, fmt.Errorf("removed, but not verified: %w", outcome.AfterChange(err))
	}
	if s.Leftovers.Deadly() {
		return s, &LeftoverError{s.Leftovers}
	}
	return s, nil
}

// Confirm ends the trial of the running scheduler: it stays. What it would have
// rolled back to is unloaded.
func (h Host) Confirm(ctx context.Context, to Progress) (*Status, error) {
	end, err := h.begin("confirming")
	if err != nil {
		return nil, err
	}
	defer end()
	list, err := h.loadedModules()
	if err != nil {
		return nil, err
	}
	active := list.active()
	if active == nil {
		return nil, precondition("there is nothing to confirm: the kernel runs its own scheduler%s", list.whyRolledBack())
	}
	if active.trialLeft() == 0 {
		return nil, precondition("there is nothing to confirm: %s is not on trial", active.Name)
	}
	if err := active.write("try", "0"); errors.Is(err, unix.EBUSY) {
		return nil, precondition("it is too late: %s is on its way back (see `plugsched status`)", active.Name)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", active.file("try"), err)
	}
	if list, err = h.loadedModules(); err == nil {
		err = list.unloadIdle(context.WithoutCancel(ctx), to)
	}
	if err != nil {
		return nil, outcome.AfterChange(err)
	}
	return h.Read()
}

// whyRolledBack says why a module is not the running scheduler any more, "" when none
// was rolled back.
func (list loadedList) whyRolledBack() string {
	for i := range list {
		if list[i].State == stateRolledBack {
			return fmt.Sprintf(" (%s was rolled back: see `plugsched status`)", list[i].Name)
		}
	}
	return ""
}
