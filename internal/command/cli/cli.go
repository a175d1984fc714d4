// SPDX-License-Identifier: BSD-3-Clause

// Package cli is what all of the project's commands have in common: exit codes,
// complaints about the command line, and what an interruption does.
package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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

// ExitStatus says what exit codes mean, as it is in the manual and in --help.
var ExitStatus = []struct {
	Code  int
	Means string
}{
	{0, "it is done"},
	{1, "a tool, the network or the disk failed"},
	{2, "the command line is wrong"},
	{3, "the input or the machine does not allow it; nothing was changed"},
	{4, "tasks were in the way; nothing was changed"},
	{5, "a kernel complained, or rolled the scheduler back by itself"},
	{6, "a change of the source is refused"},
	{130, "it was interrupted"},
}

func exitCodes() string {
	text := "\n\nIt exits with"
	for _, s := range ExitStatus {
		text += fmt.Sprintf("\n  %-4d %s", s.Code, s.Means)
	}
	return text
}

// NewRoot returns the command plugsched with the given ones below it.
func NewRoot(short string, commands ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:               "plugsched",
		Short:             short,
		Long:              short + "." + exitCodes(),
		Example:           "  plugsched COMMAND --help",
		Version:           version.String(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.ArbitraryArgs,
		RunE:              group,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return checkFlags(c) },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return Usagef("%w; see `%s --help`", err, c.CommandPath())
	})
	root.AddCommand(commands...)
	return root
}

// group is what a command does that is nothing but those below it.
func group(c *cobra.Command, a []string) error {
	if len(a) > 0 {
		return unknown(c, a[0])
	}
	return c.Help()
}

// checkFlags is about flags together, and about those that were given without a value: a
// script's empty variable is not the default.
func checkFlags(c *cobra.Command) error {
	err := exclusive(c)
	if err == nil {
		// Cobra would say the same, as an error without a meaning.
		err = errors.Join(c.ValidateRequiredFlags(), c.ValidateFlagGroups())
	}
	c.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" {
			err = errors.Join(err, fmt.Errorf("--%s is empty", f.Name))
		}
	})
	if err != nil {
		return Usagef("%w; see `%s --help`", err, c.CommandPath())
	}
	return nil
}

// exclusive says in words of its own what MarkFlagsMutuallyExclusive, whose annotation this is,
// forbids.
func exclusive(c *cobra.Command) (err error) {
	given := map[string]string{} // by group
	c.Flags().Visit(func(f *pflag.Flag) {
		for _, group := range f.Annotations["cobra_annotation_mutually_exclusive"] {
			if other := given[group]; other != "" && err == nil {
				err = fmt.Errorf("--%s and --%s exclude each other", other, f.Name)
			}
			given[group] = f.Name
		}
	})
	return err
}

func unknown(c *cobra.Command, word string) error {
	text := fmt.Sprintf("unknown command %q", strings.TrimPrefix(c.CommandPath()+" "+word, c.Root().Name()+" "))
	c.SuggestionsMinimumDistance = 2
	if l := c.SuggestionsFor(word); len(l) > 0 && word != "" {
		text += "; did you mean " + strings.Join(l, " or ") + "?"
	}
	return Usagef("%s; see `%s --help`", text, c.CommandPath())
}

// Complete adds what cobra adds, help and completions, to a root that has all of its commands,
// and makes mistakes on the command line of all of them a *UsageError.
func Complete(root *cobra.Command) {
	root.InitDefaultCompletionCmd("completion")
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.RunE = help
		}
	}
	strict(root)
}

func help(c *cobra.Command, a []string) error {
	topic, rest, err := c.Root().Find(a)
	if err != nil {
		return Usagef("%w", err)
	}
	if len(rest) > 0 {
		return unknown(topic, rest[0])
	}
	topic.InitDefaultHelpFlag() // as cobra's own help does, so that it is shown
	topic.InitDefaultVersionFlag()
	return topic.Help()
}

func strict(c *cobra.Command) {
	if !c.Runnable() {
		c.Args, c.RunE = cobra.ArbitraryArgs, group
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, a []string) error {
			err := check(c, a)
			if err == nil && slices.Contains(a, "") {
				err = Usagef("an argument is empty; usage: %s", c.UseLine())
			}
			if err != nil && outcome.Of(err) != outcome.Usage {
				return Usagef("%w", err)
			}
			return err
		}
	}
	for _, sub := range c.Commands() {
		strict(sub)
	}
}

// Main runs a command until it ends or is interrupted, and exits.
func Main(root *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, root, os.Stdout, os.Stderr, os.Args[1:]...)
	stop()
	os.Exit(code)
}

// run returns the exit code.
func run(ctx context.Context, root *cobra.Command, stdout, stderr io.Writer, args ...string) int {
	out := &output{to: stdout}
	root.SetOut(out)
	root.SetErr(stderr)
	root.SetArgs(append([]string{}, args...)) // nil would be those of the process
	Complete(root)
	err := root.ExecuteContext(ctx)
	if out.err != nil && !errors.Is(err, out.err) {
		// Whoever wanted to read it must not take it for all.
		fmt.Fprintln(stderr, "plugsched: the output is not complete:", out.err)
		err = cmp.Or(err, error(&QuietError{Means: outcome.Failed}))
	}
	if err == nil {
		return 0
	}
	means := outcome.Of(err)
	if ctx.Err() != nil && means < outcome.Interrupted {
		means = outcome.Interrupted // whatever it made of the work
	}
	var exit *ExitError
	switch {
	case means == outcome.Interrupted:
		fmt.Fprintln(stderr, "plugsched: interrupted; nothing is half done, run the command again to resume")
	case errors.As(err, &exit):
		return exit.Code
	case err.Error() != "":
		fmt.Fprintln(stderr, "plugsched:", err)
	}
	return means.ExitCode()
}

// output remembers that some of it was lost, which few who print look at.
type output struct {
	to  io.Writer
	err error
}

func (o *output) Write(text []byte) (int, error) {
	n, err := o.to.Write(text)
	if o.err == nil {
		o.err = err
	}
	return n, err
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

// Schema is the version of what --json prints, of all commands (docs/operate/json.md): it
// grows when a key goes, or means something else, and not when one comes.
const Schema = 1

// PrintJSON prints an object for programs, with the schema's version in front.
func PrintJSON(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	rest, ok := bytes.CutPrefix(text, []byte("{"))
	if !ok {
		return fmt.Errorf("%T is no JSON object, so that it cannot say its schema", v)
	}
	head := fmt.Appendf(nil, `{"schema":%d`, Schema)
	if !bytes.Equal(rest, []byte("}")) {
		head = append(head, ',')
	}
	var out bytes.Buffer
	if err := json.Indent(&out, append(head, rest...), "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = out.WriteTo(w)
	return err
}
