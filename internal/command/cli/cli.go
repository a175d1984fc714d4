// SPDX-License-Identifier: BSD-3-Clause

// Package cli is what all of the project's commands have in common: exit codes,
// complaints about the command line, and what an interruption does.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"plugsched/internal/command/version"
	"plugsched/internal/outcome"
)

// UsageError is a mistake on the command line.
type UsageError struct{ error }

// Outcome implements outcome.Error.
func (*UsageError) Outcome() outcome.Outcome { return outcome.Usage }

// Usagef makes a *UsageError.
func Usagef(format string, a ...any) error { return &UsageError{fmt.Errorf(format, a...)} }

// ExitError ends with a code and without a message: that of a command in a guest.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return "" }

// QuietError has an outcome and no message: the command has said all.
type QuietError struct{ Means outcome.Outcome }

func (e *QuietError) Error() string { return "" }

// Outcome implements outcome.Error.
func (e *QuietError) Outcome() outcome.Outcome { return e.Means }

const exitCodes = `

It exits with 0 when it is done, 1 when a tool, the network or the disk failed, 2 when
the command line is wrong, 3 when the input or the machine does not allow it and
nothing was changed, 4 when tasks were in the way and nothing was changed, 5 when a
kernel complained or took the scheduler back by itself, 6 when a change of the source is
refused, and 130 when interrupted.`

// NewRoot returns the command plugsched with the given ones below it.
func NewRoot(short string, commands ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:           "plugsched",
		Short:         short,
		Long:          short + "." + exitCodes,
		Example:       "  plugsched COMMAND --help",
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, a []string) error {
			if len(a) > 0 {
				return Usagef("unknown command %q; see `plugsched --help`", a[0])
			}
			return c.Help()
		},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return Usagef("%w; see `%s --help`", err, c.CommandPath())
	})
	root.AddCommand(commands...)
	return root
}

// Main runs a command until it ends or is interrupted, and exits.
func Main(root *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root.ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	if err == nil {
		return
	}
	means := outcome.Of(err)
	if interrupted && means < outcome.Interrupted {
		means = outcome.Interrupted // whatever it made of the work
	}
	var exit *ExitError
	switch {
	case means == outcome.Interrupted:
		fmt.Fprintln(os.Stderr, "plugsched: interrupted; nothing is half done, run the command again to resume")
	case errors.As(err, &exit):
		os.Exit(exit.Code)
	case err.Error() != "":
		fmt.Fprintln(os.Stderr, "plugsched:", err)
	}
	os.Exit(means.ExitCode())
}

// Args checks the number of arguments and names them in the complaint. A max below
// 0 is no limit.
func Args(min, max int) cobra.PositionalArgs {
	return func(c *cobra.Command, a []string) error {
		if len(a) < min || max >= 0 && len(a) > max {
			return Usagef("usage: %s", c.UseLine())
		}
		return nil
	}
}

// PrintJSON prints a value for programs.
func PrintJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
