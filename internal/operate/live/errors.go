// SPDX-License-Identifier: BSD-3-Clause

// Package live installs, removes and reports schedulers on the running kernel.
// The kernel is the truth: every answer is read from it.
package live

import (
	"fmt"
	"strings"

	"plugsched/internal/outcome"
)

// PreconditionError says why an operation was not even begun. Nothing changed.
type PreconditionError struct{ Err error }

func (e *PreconditionError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *PreconditionError) Unwrap() error { return e.Err }

// Outcome implements outcome.Error.
func (*PreconditionError) Outcome() outcome.Outcome { return outcome.Precondition }

func precondition(format string, args ...any) error {
	return &PreconditionError{fmt.Errorf(format, args...)}
}

func outOfMemory() error {
	return precondition("the kernel is out of memory; nothing was changed")
}

// BusyError says that some task was in the way each time the update was tried.
// Nothing changed.
type BusyError struct {
	Tries  int
	Report string // the tasks and their stacks, from the last try
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("the scheduler was busy in all of %d tries, nothing was changed; in the way:\n%s", e.Tries, e.Report)
}

// Outcome implements outcome.Error.
func (*BusyError) Outcome() outcome.Outcome { return outcome.Busy }

// UsedError says that processes use what the running scheduler offers, and would lose it.
// Nothing changed.
type UsedError struct {
	Name  string
	Found []string // as the module's file "leftovers" has them
}

func (e *UsedError) Error() string {
	return fmt.Sprintf("%s is used, nothing was changed: %s; end that, or let `plugsched uninstall --force` end it", e.Name,
		strings.Join(e.Found, ", "))
}

// Outcome implements outcome.Error.
func (*UsedError) Outcome() outcome.Outcome { return outcome.Precondition }

// KernelFault says that the kernel complained after an update.
type KernelFault struct{ Lines []string }

func (e *KernelFault) Error() string {
	s := "the kernel complained after the update:"
	for _, l := range e.Lines {
		s += "\n  " + l
	}
	return s
}

// Outcome implements outcome.Error.
func (*KernelFault) Outcome() outcome.Outcome { return outcome.Fault }

// HeldError says that a module does not run any more, but has to stay loaded: what it
// made, or a task inside of it, would outlive it.
type HeldError struct {
	Name  string
	Found []string // as the module's file "leftovers" has them
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("%s stays loaded, because something would outlive it: %s; its plugsched_exit() should have ended that: end it by hand, then try again",
		e.Name, strings.Join(e.Found, ", "))
}

// Outcome implements outcome.Error.
func (*HeldError) Outcome() outcome.Outcome { return outcome.Fault }

// LeftoverError says that something in the kernel refers to a module that is
// gone: a defect of this program, and a reason to reboot.
type LeftoverError struct{ Leftovers *Leftovers }

func (e *LeftoverError) Error() string {
	l := e.Leftovers
	return fmt.Sprintf("the module is gone, but the kernel still leads to it: functions %v, tasks %v, %d timers; reboot this machine soon and report this",
		l.Heads, l.Stacks, l.Timers)
}

// Outcome implements outcome.Error.
func (*LeftoverError) Outcome() outcome.Outcome { return outcome.Fault }
