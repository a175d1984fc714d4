// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"context"
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/outcome"
)

// update asks a module for an update and repeats while tasks are in the way. Once
// the kernel has begun it is not interrupted: either answer is final.
func (l *Loaded) update(ctx context.Context, file, value string, tries int, to Progress) error {
	if tries <= 0 {
		tries = 10
	}
	pause := 10 * time.Millisecond
	for try := 1; ; try++ {
		err := l.write(file, value)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EALREADY) && file == "enable" && value != "1":
			return nil // a rollback came first
		case errors.Is(err, unix.EBUSY):
			report, _ := l.report("busy")
			if try >= tries {
				return &BusyError{Tries: try, Report: report}
			}
			first, _, _ := strings.Cut(report, "\n")
			to.sayf("busy, trying again in %v (%d of %d): %s", pause, try, tries, first)
		case errors.Is(err, unix.EEXIST):
			report, _ := l.report("busy")
			first, _, _ := strings.Cut(report, "\n")
			return precondition("%s (a kprobe, or another module): remove the hook first; nothing was changed", first)
		case errors.Is(err, unix.ENOENT) && file == "replace":
			return precondition("%s does not run any more; nothing was changed", value)
		case errors.Is(err, unix.EALREADY):
			return precondition("somebody else has just made this change")
		case errors.Is(err, unix.ESHUTDOWN):
			return precondition("%s has been made ready for unloading, and can only be unloaded", l.Name)
		case errors.Is(err, unix.EPROTO):
			return precondition("the running scheduler was built by another version of plugsched: uninstall it first")
		case errors.Is(err, unix.ENOTUNIQ):
			return precondition("the running scheduler has another member in the same hole of a structure (the kernel's log names both): " +
				"uninstall it first; nothing was changed")
		case errors.Is(err, unix.ETXTBSY):
			return l.host.used()
		case errors.Is(err, unix.EUSERS):
			return precondition("a BPF scheduler runs (sched_ext: %s): %s; nothing was changed", l.host.BPF(), endBPF)
		case errors.Is(err, unix.ENOMEM):
			return outOfMemory()
		default:
			return outcome.With(outcome.Failed, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(pause*2, time.Second)
	}
}

// used says who uses the running scheduler.
func (h Host) used() error {
	list, err := h.loadedModules()
	if err != nil {
		return err
	}
	e := &UsedError{Name: "the running scheduler"}
	if l := list.active(); l != nil {
		text, _ := l.report("leftovers")
		e.Name, e.Found = l.Name, strings.Split(text, "\n")
	}
	return e
}

// finish verifies that every CPU schedules and that the kernel did not complain.
func (h Host) finish(log *kernelLog) (*Status, error) {
	if err := everyCPU(); err != nil {
		return nil, err
	}
	s, err := h.Read()
	if err != nil {
		return nil, err
	}
	if lines := log.complaints(); len(lines) > 0 {
		return s, &KernelFault{lines}
	}
	return s, nil
}
