// SPDX-License-Identifier: BSD-3-Clause

// Package outcome is what an error means to whoever gave the command. The exit code, the
// history's result and the metric's label are made of it and of nothing else.
package outcome

import (
	"context"
	"errors"
	"io/fs"
)

// Outcome is how a command ended, in order of how much a machine may have changed: of
// errors that are joined, the last in this order counts.
type Outcome int

// The outcomes. docs/operate/commands.md has their exit codes for readers.
const (
	Done         Outcome = iota
	Failed               // a tool, the network or the disk; also what no error speaks of
	Usage                // the command line is wrong
	Precondition         // the input or the machine does not allow it; nothing changed
	Refused              // a change of the source that could not take effect, or does not compile
	Busy                 // tasks were in the way; nothing changed
	Interrupted          // by a signal
	RolledBack           // the scheduler is not the running one any more: the kernel rolled it back
	Fault                // a kernel complained, or something outlives a module
)

// each has an outcome's exit code and its word in the history and in metrics.
var each = [...]struct {
	exit int
	word string
}{
	Done:         {0, "done"},
	Failed:       {1, "failed"},
	Usage:        {2, "refused"},
	Precondition: {3, "refused"},
	Refused:      {6, "refused"},
	Busy:         {4, "busy"},
	Interrupted:  {130, "interrupted"},
	RolledBack:   {5, "rolled back"},
	Fault:        {5, "fault"},
}

// All are the outcomes in their order.
func All() []Outcome {
	list := make([]Outcome, len(each))
	for i := range list {
		list[i] = Outcome(i)
	}
	return list
}

// ExitCode is what a command with this outcome exits with.
func (o Outcome) ExitCode() int { return each[o].exit }

// String is the history's word for it.
func (o Outcome) String() string { return each[o].word }

// Error is an error that knows what it means.
type Error interface {
	error
	Outcome() Outcome
}

// Of says what an error means. The outermost that knows it speaks for those it wraps; of
// joined ones the gravest counts.
func Of(err error) Outcome {
	if err == nil {
		return Done
	}
	if o, ok := find(err); ok {
		return o
	}
	if errors.Is(err, fs.ErrNotExist) {
		return Precondition // it was looked for before anything was done
	}
	return Failed
}

func find(err error) (out Outcome, ok bool) {
	// It walks the chain itself, which errors.As does not do as it has to be done here.
	switch e := any(err).(type) {
	case Error:
		return e.Outcome(), true
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return find(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if o, known := find(inner); known {
				out, ok = max(out, o), true
			}
		}
	default:
		return Interrupted, errors.Is(err, context.Canceled)
	}
	return out, ok
}

// With gives an error a meaning; its text stays.
func With(o Outcome, err error) error {
	if err == nil {
		return nil
	}
	return &with{err, o}
}

type with struct {
	error
	outcome Outcome
}

func (w *with) Unwrap() error    { return w.error }
func (w *with) Outcome() Outcome { return w.outcome }

// AfterChange is for an error that came when the machine had changed: if it says that
// nothing did, it speaks of its own step only.
func AfterChange(err error) error {
	switch Of(err) {
	case Usage, Precondition, Refused, Busy:
		return With(Failed, err)
	}
	return err
}
