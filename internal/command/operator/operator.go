// SPDX-License-Identifier: BSD-3-Clause

// Package operator is the commands for a machine whose scheduler is updated. They
// need neither a working directory nor a kernel's artefacts.
package operator

import "github.com/spf13/cobra"

// Commands returns all of them.
func Commands() []*cobra.Command {
	var m machine
	return []*cobra.Command{newInstall(m), newTry(m), newConfirm(m), newReject(m), newUninstall(m),
		newStatus(m), newList(m), newDoctor(m), newHistory(m), newMetrics(m), newTop(m),
		newSwitch(m), newGuard(m), newBoot(m), newPackage(m), newSCX(m)}
}
