// SPDX-License-Identifier: BSD-3-Clause

package patch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/outcome"
)

// TestReadText: pipes are read, what is no patch is said, and nothing waits for ever.
func TestReadText(t *testing.T) {
	dir := t.TempDir()
	fifo, loop := filepath.Join(dir, "fifo"), filepath.Join(dir, "loop")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.Symlink(loop, loop)); err != nil {
		t.Fatal(err)
	}
	if text, err := ReadText(t.Context(), fifo); err != nil || len(text) > 0 {
		t.Errorf("nobody's pipe: %q, %v", text, err)
	}
	for path, want := range map[string]string{dir: "is no file", loop: "symbolic links", "/dev/zero": "is no file",
		dir + "/none": "no such file"} {
		if _, err := ReadText(t.Context(), path); outcome.Of(err) != outcome.Precondition || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.WriteString("a patch")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := ReadText(ctx, fmt.Sprintf("/dev/fd/%d", r.Fd())); !errors.Is(err, context.Canceled) {
		t.Errorf("a pipe that does not end: %v", err)
	}
	for path, in := range map[string]*os.File{"-": r, fmt.Sprintf("/dev/fd/%d", r.Fd()): nil} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := Read(ctx, path, in, never); !errors.Is(err, context.Canceled) {
			t.Errorf("apply %s: %v", path, err)
		}
	}
	_, err = Read(t.Context(), "-", endless{}, never)
	if outcome.Of(err) != outcome.Precondition || !strings.Contains(err.Error(), "larger") {
		t.Errorf("what does not end: %v", err)
	}
}

// endless is /dev/zero.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }
