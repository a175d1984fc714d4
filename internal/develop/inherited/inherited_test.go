// SPDX-License-Identifier: BSD-3-Clause

package inherited

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBuild: options for another build do not reach this one.
func TestBuild(t *testing.T) {
	for _, name := range []string{"KCFLAGS", "MAKEFLAGS", "CROSS_COMPILE", "ARCH", "CPATH", "LLVM", "KBUILD_OUTPUT", "V", "CCACHE_DIR",
		"SOURCE_DATE_EPOCH"} {
		t.Setenv(name, "x")
	}
	env := Build()
	for _, name := range []string{"PATH", "CCACHE_DIR", "SOURCE_DATE_EPOCH"} {
		if !slices.Contains(env, name+"="+os.Getenv(name)) {
			t.Errorf("%s is lost", name)
		}
	}
	if len(env) == 0 || slices.ContainsFunc(env, func(v string) bool {
		return strings.HasSuffix(v, "=x") && !strings.HasPrefix(v, "CCACHE_") && !strings.HasPrefix(v, "SOURCE_")
	}) {
		t.Errorf("%q", env)
	}
}

// TestGit: git works where it is told to, although the caller is a hook of another repository.
func TestGit(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	git := func(args ...string) string {
		t.Helper()
		c := exec.Command("git", args...)
		c.Env = Git()
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", theirs)
	t.Setenv("GIT_DIR", filepath.Join(theirs, ".git"))
	t.Setenv("GIT_WORK_TREE", theirs)
	t.Setenv("GIT_INDEX_FILE", filepath.Join(theirs, "index"))
	t.Setenv("GIT_AUTHOR_NAME", "Jane")
	git("init", "-q", ours)
	git("-C", ours, "-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-q", "--allow-empty", "-m", "x")
	if got := git("-C", ours, "log", "--format=%an"); got != "Jane" {
		t.Errorf("%q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(theirs, ".git/refs/heads/*")); len(left) > 0 {
		t.Errorf("it has committed to %q", left)
	}
}
