// SPDX-License-Identifier: BSD-3-Clause

// Command plugsched live-updates the scheduler of a running, stock Linux kernel.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"plugsched/internal/guest"
	"plugsched/internal/module"
)

func main() {
	if guest.Invoked() {
		guest.Main()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "cc" {
		os.Exit(module.WrapCompiler(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	if err == nil {
		return
	}
	if interrupted {
		fmt.Fprintln(os.Stderr, "plugsched: interrupted; nothing is half done, run the command again to resume")
		os.Exit(exitInterrupted)
	}
	var quiet *exitError
	if errors.As(err, &quiet) {
		os.Exit(quiet.code)
	}
	fmt.Fprintln(os.Stderr, "plugsched:", err)
	os.Exit(exitCode(err))
}
