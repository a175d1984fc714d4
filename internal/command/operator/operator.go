// SPDX-License-Identifier: BSD-3-Clause

// Package operator is the commands for a machine whose scheduler is updated. They
// need neither a working directory nor a kernel's artefacts.
package operator

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/operate/boot"
	"plugsched/internal/operate/live"
)

// Commands returns all of them.
func Commands() []*cobra.Command {
	var m machine
	return []*cobra.Command{newInstall(m), newTry(m), newConfirm(m), newReject(m), newUninstall(m),
		newStatus(m), newList(m), newDoctor(m), newHistory(m), newMetrics(m),
		newGuard(m), newBoot(m), newPackage(m)}
}

// ExitCode is what a command exits with on an error.
func ExitCode(err error) int {
	var (
		pre      *live.PreconditionError
		busy     *live.BusyError
		fault    *live.KernelFault
		leftover *live.LeftoverError
		back     *live.WentBackError
		held     *live.HeldError
		guard    *boot.GuardError
	)
	switch {
	case errors.As(err, &busy):
		return cli.Busy
	case errors.As(err, &fault), errors.As(err, &leftover), errors.As(err, &held), errors.As(err, &back):
		return cli.KernelFault
	case errors.As(err, &pre), errors.As(err, &guard), errors.Is(err, fs.ErrNotExist):
		return cli.Precondition
	}
	return cli.Failure
}
