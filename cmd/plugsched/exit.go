// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"errors"

	"plugsched/internal/command/cli"
	"plugsched/internal/command/operator"
	"plugsched/internal/develop/module"
	"plugsched/internal/develop/project"
	"plugsched/internal/guest/vm"
	"plugsched/internal/kernel/fetch"
)

// exitCode knows the errors of a developer's commands, and leaves the others to the
// operator's.
func exitCode(err error) int {
	var (
		guest    *vm.KernelFault
		refused  *project.RefusedError
		compile  *module.CompileError
		mistake  *project.Error
		sign     *module.SignError
		mismatch *project.MismatchError
		artefact *fetch.MismatchError
		missing  *fetch.UnavailableError
	)
	switch {
	case errors.As(err, &guest):
		return cli.KernelFault
	case errors.As(err, &refused), errors.As(err, &compile):
		return cli.Refused
	case errors.As(err, &mistake), errors.As(err, &sign), errors.As(err, &mismatch), errors.As(err, &artefact), errors.As(err, &missing):
		return cli.Precondition
	}
	return operator.ExitCode(err)
}
