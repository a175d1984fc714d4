// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/cilium/ebpf"

	"plugsched/internal/outcome"
)

// UnsupportedError says that the running kernel has no sched_ext.
type UnsupportedError struct{}

func (*UnsupportedError) Error() string {
	return "this kernel has no schedulers in BPF: it was built without CONFIG_SCHED_CLASS_EXT (there is no " + sysfs + ")"
}

// Outcome implements outcome.Error.
func (*UnsupportedError) Outcome() outcome.Outcome { return outcome.Precondition }

// PreconditionError says that the machine or the object does not allow something. Nothing was changed.
type PreconditionError struct{ Err error }

func (e *PreconditionError) Error() string { return e.Err.Error() }
func (e *PreconditionError) Unwrap() error { return e.Err }

// Outcome implements outcome.Error.
func (*PreconditionError) Outcome() outcome.Outcome { return outcome.Precondition }

// RunningError says that a scheduler runs, beside which no other can. Nothing was changed.
type RunningError struct {
	Name    string // as the kernel has it
	Owner   Owner
	Holders []Holder
}

func (e *RunningError) Error() string {
	how := "end it first: plugsched scx stop"
	if e.Owner != Ours {
		how += " --foreign"
	}
	return describe(e.Name, e.Holders) + " runs; " + how
}

// Outcome implements outcome.Error.
func (*RunningError) Outcome() outcome.Outcome { return outcome.Precondition }

// ForeignError says that the scheduler that runs was loaded by somebody else. Nothing was changed.
type ForeignError struct {
	Name    string
	Holders []Holder
}

func (e *ForeignError) Error() string {
	return describe(e.Name, e.Holders) + " was not loaded by plugsched, and only ends with --foreign"
}

// Outcome implements outcome.Error.
func (*ForeignError) Outcome() outcome.Outcome { return outcome.Precondition }

// describe names a scheduler and whoever holds it.
func describe(name string, holders []Holder) string {
	text := "the BPF scheduler " + name
	for i, h := range holders {
		text += []string{" (held by ", ", "}[min(i, 1)] + h.String()
	}
	if len(holders) > 0 {
		text += ")"
	}
	return text
}

// NotRunningError says that no BPF scheduler runs, so that there is nothing to stop.
type NotRunningError struct{}

func (*NotRunningError) Error() string { return "no BPF scheduler runs" }

// Outcome implements outcome.Error.
func (*NotRunningError) Outcome() outcome.Outcome { return outcome.Precondition }

// NoTrialError says that the scheduler that runs is not on trial.
type NoTrialError struct{ Name string }

func (e *NoTrialError) Error() string { return describe(e.Name, nil) + " is not on trial" }

// Outcome implements outcome.Error.
func (*NoTrialError) Outcome() outcome.Outcome { return outcome.Precondition }

// OnTrialError says that the scheduler that runs is on trial, which has to end first. Nothing was changed.
type OnTrialError struct{ Name string }

func (e *OnTrialError) Error() string {
	return describe(e.Name, nil) + " is on trial: plugsched confirm or plugsched reject first"
}

// Outcome implements outcome.Error.
func (*OnTrialError) Outcome() outcome.Outcome { return outcome.Precondition }

// LapsedError says that a trial has lapsed before it was confirmed: the kernel's own scheduler has all tasks.
type LapsedError struct{ Name string }

func (e *LapsedError) Error() string {
	return "the trial of " + describe(e.Name, nil) + " lapsed before it was confirmed"
}

// Outcome implements outcome.Error.
func (*LapsedError) Outcome() outcome.Outcome { return outcome.RolledBack }

// VerifierError says why the kernel takes no program. Nothing was changed.
type VerifierError struct {
	Program string
	Lines   []string // the last of the verifier's, from the line of C on that it is about
	Err     error    // all of it
}

func (e *VerifierError) Error() string {
	return fmt.Sprintf("the kernel refuses the program %s:\n  %s", e.Program, strings.Join(e.Lines, "\n  "))
}

func (e *VerifierError) Unwrap() error { return e.Err }

// Outcome implements outcome.Error.
func (*VerifierError) Outcome() outcome.Outcome { return outcome.Precondition }

// StartError says that the kernel took a scheduler's programs, and did not let it begin. The kernel's own goes on.
type StartError struct {
	Name string
	End  *End // what the kernel says of it, nil if it says nothing
	Err  error
}

func (e *StartError) Error() string {
	text := fmt.Sprintf("the BPF scheduler %s did not begin: %v", e.Name, e.Err)
	if e.End != nil {
		text += ": " + e.End.String()
	}
	return text
}

func (e *StartError) Unwrap() error { return e.Err }

// Outcome implements outcome.Error.
func (*StartError) Outcome() outcome.Outcome { return outcome.Precondition }

// refusal makes a *VerifierError of what the library says, if it is one.
func refusal(err error) error {
	var v *ebpf.VerifierError
	if !errors.As(err, &v) {
		return err
	}
	// The library says "program NAME: load program: ...".
	name, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "program "), ":")
	lines := lastLines(v.Log)
	for _, line := range v.Log {
		if f := lacks.FindStringSubmatch(line); f != nil {
			lines = append(lines, fmt.Sprintf("(this kernel was built without the type of %s_impl, by which it knows what %[1]s takes: "+
				"no scheduler that calls that can be loaded, and it is no fault of the scheduler's)", f[1]))
			break
		}
	}
	return &VerifierError{Program: name, Lines: lines, Err: err}
}

// lacks is what the verifier says where a function has arguments that programs do not give, and the type with these is not in the kernel's
// types (kernel/bpf/verifier.c, find_kfunc_impl_proto). tools/bpf/resolve_btfids makes it when a kernel is built.
var lacks = regexp.MustCompile(`cannot find function (\w+)_impl in BTF`)

const mostLines = 12

// lastLines are the end of a verifier's log: the last line of C that it names, which begins with a semicolon, and
// what it says from there on, without its figures.
func lastLines(log []string) []string {
	for i, line := range log {
		if strings.HasPrefix(line, "processed ") {
			log = log[:i]
			break
		}
	}
	for i := len(log) - 1; i > 0; i-- {
		if strings.HasPrefix(strings.TrimSpace(log[i]), ";") {
			log = log[i:]
			break
		}
	}
	if n := len(log); n > mostLines {
		log = append([]string{log[0], "..."}, log[n-mostLines+2:]...)
	}
	return log
}
