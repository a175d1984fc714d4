// SPDX-License-Identifier: BSD-3-Clause

// Command plugsched live-updates the scheduler of a running, stock Linux kernel.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/command/operator"
	"plugsched/internal/develop/module"
	"plugsched/internal/guest/agent"
)

func main() {
	if agent.Invoked() {
		agent.Main()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "cc" {
		os.Exit(module.WrapCompiler(os.Args[2:]))
	}
	root := developerRoot()
	root.AddCommand(operator.Commands()...)
	root.AddCommand(newMan())
	cli.Main(root)
}

func developerRoot() *cobra.Command {
	return cli.NewRoot("Live-update the scheduler of a running, stock Linux kernel",
		newInit(), newBoundary(), newCheck(), newBuild(), newDiff(), newVM())
}
