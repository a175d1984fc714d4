// SPDX-License-Identifier: BSD-3-Clause

package git

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// repository is a tree with a commit.
func repository(t *testing.T) Tree {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	tree := Tree{Dir: t.TempDir(), Env: []string{"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@a", "GIT_COMMITTER_NAME=b"}}
	for _, args := range [][]string{{"init", "-q"}, {"commit", "-q", "--allow-empty", "-m", "one"}} {
		if err := tree.With("GIT_COMMITTER_EMAIL=b@b").Run(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// TestTree: git works in the tree, with its variables and what it is fed, and a tree with more of them leaves the first as it is.
func TestTree(t *testing.T) {
	tree := repository(t)
	if got, err := tree.Output(t.Context(), "log", "--format=%an %cn %ce%n"); got != "a b b@b" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if len(tree.Env) != 3 {
		t.Errorf("%q", tree.Env)
	}
	const empty = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391" // what every git calls a file without contents
	for text, want := range map[string]bool{"": true, "x": false} {
		if got, err := tree.Feed(t.Context(), []byte(text), "hash-object", "--stdin"); (got == empty) != want || err != nil {
			t.Errorf("of %q: %q, %v", text, got, err)
		}
	}
}

// TestRevision: a name that there is not is no error, and a tree without a repository is not asked about one above.
func TestRevision(t *testing.T) {
	tree := repository(t)
	if id, err := tree.Revision(t.Context(), "HEAD"); len(id) != 12 || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	if id, err := tree.Revision(t.Context(), "refs/tags/none"); id != "" || err != nil {
		t.Errorf("no tag: %q, %v", id, err)
	}
	below := Tree{Dir: filepath.Join(tree.Dir, "below")}
	if err := os.Mkdir(below.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if id, err := below.Revision(t.Context(), "HEAD"); id != "" || err != nil {
		t.Errorf("below it: %q, %v", id, err)
	}
	t.Setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
	if id, err := tree.Revision(t.Context(), "HEAD"); id != "" || err == nil {
		t.Errorf("somebody else's: %q", id)
	}
}

// TestError: what git said is told, and what its exit code was; who interrupts it is not told of git.
func TestError(t *testing.T) {
	tree := repository(t)
	err := tree.Run(t.Context(), "rev-parse", "none")
	var failed *Error
	if !errors.As(err, &failed) || failed.Command != "rev-parse" || !strings.HasPrefix(failed.Said, "fatal: ") || ExitCode(err) != 128 {
		t.Errorf("%v, %d", err, ExitCode(err))
	}
	if text := err.Error(); !strings.HasPrefix(text, "git rev-parse: exit status 128: fatal: ") {
		t.Error(text)
	}
	if ExitCode(nil) != 0 || ExitCode(errors.New("x")) != 0 {
		t.Error("what did not fail has an exit code")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tree.Run(ctx, "status"); !errors.Is(err, context.Canceled) || errors.As(err, &failed) {
		t.Errorf("interrupted: %v", err)
	}
}
