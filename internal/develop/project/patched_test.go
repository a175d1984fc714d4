// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/module"
	"plugsched/internal/outcome"
)

const aPatch = `Subject: what git and mail put in front is no matter

--- a/kernel/sched/Makefile
+++ b/kernel/sched/Makefile
@@ -1 +1,2 @@
 obj-y += core.o
+obj-y += mine.o
`

// TestPatched: patches get into a copy, one on top of the other; the tree, and its history, stay
// as they are, and nothing is left of the copy.
func TestPatched(t *testing.T) {
	p := buildable(t)
	write(t, "mine", p.path(SchedDir), "extra.c")
	dir := filepath.Join(t.TempDir(), "copy")
	if err := p.copyTo(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	q := &Project{Dir: dir}
	if err := q.apply(t.Context(), "one", []byte(aPatch)); err != nil {
		t.Fatal(err)
	}
	second := strings.NewReplacer("@@ -1 +1,2 @@", "@@ -1,2 +1,3 @@", "+obj-y += mine.o", " obj-y += mine.o\n+obj-y += more.o").Replace(aPatch)
	if err := q.apply(t.Context(), "two", []byte(second)); err != nil {
		t.Fatal(err)
	}
	const want = "obj-y += core.o\nobj-y += mine.o\nobj-y += more.o\n"
	if text, err := os.ReadFile(q.path(SchedDir, "Makefile")); err != nil || string(text) != want {
		t.Errorf("%q, %v", text, err)
	}
	if text, err := os.ReadFile(p.path(SchedDir, "Makefile")); err != nil || string(text) != "obj-y += core.o\n" {
		t.Errorf("the tree itself: %q, %v", text, err)
	}
	if !folder.Exists(q.path(SchedDir, "extra.c")) || !folder.Exists(q.state(targetFile)) || !folder.Exists(q.path(".git")) ||
		folder.Exists(q.state(lockFile)) {
		t.Error("the copy is not one")
	}
}

// TestPatchedRefused: a patch that does not apply is named, in one line, and nothing is left.
func TestPatchedRefused(t *testing.T) {
	p := buildable(t)
	dir := t.TempDir()
	for name, tt := range map[string]struct{ text, want string }{
		"another's": {strings.Replace(aPatch, " obj-y += core.o", " obj-y += other.o", 1),
			"does not apply: patch failed: kernel/sched/Makefile:1"},
		"none":    {"hello\n", "does not apply: No valid patches in input"},
		"outside": {"--- /dev/null\n+++ b/../../x\n@@ -0,0 +1 @@\n+x\n", "does not apply: invalid path '../../x'"},
	} {
		write(t, tt.text, dir, "p")
		_, err := p.BuildPatched(t.Context(), []string{filepath.Join(dir, "p")})
		if outcome.Of(err) != outcome.Precondition {
			t.Fatalf("%s: %v", name, err)
		}
		text := err.Error()
		if !strings.HasPrefix(text, filepath.Join(dir, "p")) || !strings.Contains(text, tt.want) || strings.Contains(text, "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := p.BuildPatched(t.Context(), []string{filepath.Join(dir, "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no patch: %v", err)
	}
	if left, _ := filepath.Glob(p.state(patchedPrefix + "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestCopyBelow: what a copy for trying has made itself is not looked for in the one that it is a copy of.
func TestCopyBelow(t *testing.T) {
	p := &Project{Dir: "/w/.plugsched/patched-1"}
	units := p.relocate([]module.Unit{{Object: "/w/.plugsched/pristine/a.o"}, {Object: "/w/.plugsched/patched-1/.plugsched/sidecar/b.o"}})
	if units[0].Object != "/w/.plugsched/patched-1/.plugsched/pristine/a.o" ||
		units[1].Object != "/w/.plugsched/patched-1/.plugsched/sidecar/b.o" {
		t.Errorf("%+v", units)
	}
}
