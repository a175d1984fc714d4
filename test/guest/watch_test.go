// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A watching is a `plugsched watch`, and what it has said.
type watching struct {
	t    *testing.T
	mu   sync.Mutex
	text bytes.Buffer
	read int // of text, by says
}

func (w *watching) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

// says waits until a text comes, behind what was waited for before, and returns what came up to it.
func (w *watching) says(text string) string {
	w.t.Helper()
	for w.t.Context().Err() == nil {
		w.mu.Lock()
		rest := w.text.String()[w.read:]
		w.mu.Unlock()
		if i := strings.Index(rest, text); i >= 0 {
			w.read += i + len(text)
			return rest[:i]
		}
		time.Sleep(100 * time.Millisecond)
	}
	return ""
}

// TestWatch: what is saved is built, and is what runs in the guest; what does not compile, or is nothing but a comment,
// leaves the guest as it is.
func TestWatch(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "work")
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", shared.work, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	edit := func(old, new string) {
		t.Helper()
		file := filepath.Join(dir, core)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(text), old) != 1 {
			t.Fatalf("%s has not %q once", file, old)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, new, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	countBoot(t)
	w := &watching{t: t}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	cmd := exec.CommandContext(ctx, shared.tool, "watch", "--dir", dir, "--", "/bin/sh", "-c",
		"echo PLUGSCHED_TEST > "+features+"; sleep 1; echo loaded: $(ls /sys/module | grep ^plugsched_), $(dmesg | grep -c 'from watch')")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Logf("it said:\n%s", w.text.String())
		}
	}()
	const waits = "waiting for the next change"
	name := func() string {
		t.Helper()
		text := w.says(" runs in the guest, ")
		w.says("loaded: ")
		name := text[strings.LastIndexByte(text, '\n')+1:]
		if got := w.says("\n"); got != name+", 0" && got != name+", 1" {
			t.Errorf("%q is loaded, not %s", got, name)
		}
		return name
	}
	a := name()
	w.says("exit code 0")

	edit("I am the new scheduler", "I am from watch")
	b := name()
	if a == b {
		t.Errorf("%s runs before and after", a)
	}
	w.says("exit code 0")

	edit("I am from watch: %s\", __func__", "I am from watch: %s\", __func")
	w.says("does not compile")
	w.says(waits)
	edit("I am from watch: %s\", __func", "I am from watch: %s\", __func__ /* as it was */")
	w.says(b + " runs already: no code has changed")
	w.says("exit code 0")
	end()
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("exit code %d when it was interrupted", cmd.ProcessState.ExitCode())
	}
	if strings.Contains(w.text.String(), "complained") {
		t.Error("the guest's kernel complained")
	}
}
