// SPDX-License-Identifier: BSD-3-Clause

// Command plugsched live-updates the scheduler of a running, stock Linux kernel.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"plugsched/internal/bench"
	"plugsched/internal/command/cli"
	"plugsched/internal/command/operator"
	"plugsched/internal/develop/environment"
	"plugsched/internal/develop/module"
	"plugsched/internal/guest/agent"
)

func main() {
	if agent.Invoked() {
		agent.Main()
		return
	}
	// What builds run of this program itself, and nobody else.
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "cc":
			os.Exit(module.WrapCompiler(os.Args[2:]))
		case environment.EnterCommand:
			os.Exit(environment.Enter(os.Args[2:]))
		}
	}
	if bench.Invoked() {
		os.Exit(bench.Inside())
	}
	root := developerRoot()
	root.AddCommand(operators()...)
	root.AddCommand(newMan())
	cli.Main(root)
}

// operators are the commands for operators, and beside theirs about BPF the one that makes packages.
func operators() []*cobra.Command {
	all := operator.Commands()
	for _, c := range all {
		if c.Name() == "scx" {
			c.AddCommand(newSCXPackage())
		}
	}
	return all
}

func developerRoot() *cobra.Command {
	return cli.NewRoot("Live-update the scheduler of a running, stock Linux kernel", newInit(), newBoundary(), newApply(), newCatchUp(),
		newCheck(), newBuild(), newDiff(), newVM(), newWatch(),
		newBench())
}
