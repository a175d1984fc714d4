// SPDX-License-Identifier: BSD-3-Clause

// Package git runs git in a directory with a repository of its own.
package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"plugsched/internal/develop/inherited"
)

// Tree is where git works.
type Tree struct {
	Dir string
	// Env are variables, as NAME=VALUE, besides those that git gets of the caller's environment.
	Env []string
}

// Error is what git says when it does not do what it was told, or cannot be run.
type Error struct {
	Command string // the first argument
	Said    string // what it printed: complaints first
	Err     error  // of running it
}

func (e *Error) Error() string { return fmt.Sprintf("git %s: %v: %s", e.Command, e.Err, e.Said) }

func (e *Error) Unwrap() error { return e.Err }

// ExitCode is git's if an error is that git failed, and otherwise 0: several commands answer a question so.
func ExitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// With is the tree with more variables.
func (t Tree) With(env ...string) Tree {
	t.Env = slices.Concat(t.Env, env)
	return t
}

// Run runs git, whose output is only wanted when it fails. Errors are those of Feed.
func (t Tree) Run(ctx context.Context, args ...string) error {
	_, err := t.Output(ctx, args...)
	return err
}

// Output runs git, and returns what it prints, without blanks around. Errors are those of Feed.
func (t Tree) Output(ctx context.Context, args ...string) (string, error) {
	return t.Feed(ctx, nil, args...)
}

// Feed is Output of a command that reads its standard input. Errors are an *Error, or the context's.
func (t Tree) Feed(ctx context.Context, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", t.Dir}, args...)...)
	cmd.Env = slices.Concat(inherited.Git(), []string{"LC_ALL=C"}, t.Env)
	// SIGTERM lets git remove its lock files.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", &Error{args[0], strings.TrimSpace(complaint.String() + out.String()), err}
	}
	return strings.TrimSpace(out.String()), nil
}

// Revision abbreviates the id of a commit. It is "" when there is none of that name; that git
// will not look, since the tree is somebody else's for one, is an error.
func (t Tree) Revision(ctx context.Context, name string) (string, error) {
	if _, err := os.Lstat(filepath.Join(t.Dir, ".git")); err != nil {
		return "", nil // and that of a directory above is not meant
	}
	id, err := t.Output(ctx, "rev-parse", "-q", "--verify", "--short=12", name)
	if ExitCode(err) == 1 {
		return "", nil
	}
	return id, err
}
