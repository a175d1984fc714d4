// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"errors"
	"io/fs"

	"plugsched/internal/live"
	"plugsched/internal/module"
	"plugsched/internal/project"
	"plugsched/internal/target"
	"plugsched/internal/vm"
)

// Exit codes, as documented in docs/commands.md.
const (
	exitFailure      = 1 // infrastructure: a tool, the network, the disk
	exitUsage        = 2 // wrong command line
	exitPrecondition = 3 // the input or the machine does not allow it; nothing changed
	exitBusy         = 4 // tasks were in the way; nothing changed
	exitKernelFault  = 5 // a kernel complained
	exitRefused      = 6 // a change that could not take effect, or does not compile
	exitInterrupted  = 130
)

// usageError is a mistake on the command line.
type usageError struct{ error }

// exitError ends with a code and without a message.
type exitError struct{ code int }

func (e *exitError) Error() string { return "" }

func exitCode(err error) int {
	var (
		usage    *usageError
		pre      *live.PreconditionError
		busy     *live.BusyError
		fault    *live.KernelFault
		leftover *live.LeftoverError
		guest    *vm.KernelFault
		refused  *project.RefusedError
		compile  *module.CompileError
		mistake  *project.Error
		sign     *module.SignError
		mismatch *project.MismatchError
		artefact *target.MismatchError
		missing  *target.UnavailableError
	)
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &busy):
		return exitBusy
	case errors.As(err, &fault), errors.As(err, &leftover), errors.As(err, &guest):
		return exitKernelFault
	case errors.As(err, &refused), errors.As(err, &compile):
		return exitRefused
	case errors.As(err, &pre), errors.As(err, &mistake), errors.As(err, &sign), errors.As(err, &mismatch), errors.As(err, &artefact), errors.As(err, &missing), errors.Is(err, fs.ErrNotExist):
		return exitPrecondition
	}
	return exitFailure
}
