// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"errors"

	"plugsched/internal/cli"
	"plugsched/internal/module"
	"plugsched/internal/operator"
	"plugsched/internal/project"
	"plugsched/internal/target"
	"plugsched/internal/vm"
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
		artefact *target.MismatchError
		missing  *target.UnavailableError
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
