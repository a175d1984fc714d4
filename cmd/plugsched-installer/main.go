// SPDX-License-Identifier: BSD-3-Clause

// Command plugsched-installer is plugsched as packages carry it: the operator's
// commands alone.
package main

import (
	"plugsched/internal/command/cli"
	"plugsched/internal/command/operator"
)

func main() {
	cli.Main(cli.NewRoot("Update the scheduler of the running kernel", operator.Commands()...))
}
