// SPDX-License-Identifier: BSD-3-Clause

package durable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// helper makes this test binary another process, which does what its variable says to a path.
const helper = "PLUGSCHED_TEST_DURABLE"

func TestMain(m *testing.M) {
	what, path, ok := strings.Cut(os.Getenv(helper), ":")
	if !ok {
		os.Exit(m.Run())
	}
	switch what {
	case "lock":
		if _, err := TryLock(path, 0o600); err != nil {
			panic(err)
		}
		fmt.Println("locked")
		time.Sleep(time.Hour)
	case "write":
		fmt.Println("begun")
		for i := byte(0); ; i++ {
			if err := WriteFile(path, content(i), 0o644); err != nil {
				panic(err)
			}
		}
	}
}

// content is long enough for a write to be cut in the middle.
func content(i byte) []byte { return bytes.Repeat([]byte{'a' + i%26}, 1<<20) }

// whole reports contents that one writer has written.
func whole(text []byte) bool {
	return len(text) == 1<<20 && bytes.Count(text, text[:1]) == len(text)
}

// start runs a helper, and returns when it has said its first line.
func start(t *testing.T, what, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helper+"="+what+":"+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	_, err = out.Read(make([]byte, 1))
	must(t, err)
	return cmd
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLock: another process has it, is named, and loses it when it dies.
func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	other := start(t, "lock", path)
	_, err := TryLock(path, 0o600)
	var held *HeldError
	if !errors.As(err, &held) || !strings.Contains(err.Error(), fmt.Sprintf("process %d (", other.Process.Pid)) {
		t.Fatalf("%v, want process %d", err, other.Process.Pid)
	}
	told := 0
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*pause, errors.ErrUnsupported)
	defer cancel()
	if _, err := WaitLock(ctx, path, 0o600, func(*HeldError) { told++ }); !errors.Is(err, errors.ErrUnsupported) || told != 1 {
		t.Errorf("waited in vain: %v, told %d times", err, told)
	}
	must(t, other.Process.Kill())
	unlock, err := WaitLock(t.Context(), path, 0o600, nil)
	must(t, err)
	if by := Holder("/", path); !strings.Contains(by, fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("held by %q", by)
	}
	unlock()
	if by := Holder("/", path); by != "" {
		t.Errorf("held by %q, but nobody does", by)
	}
}

// TestLockInherited: a program that is run does not keep the lock of a process that is gone.
func TestLockInherited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := TryLock(path, 0o600)
	must(t, err)
	child := exec.Command("sleep", "60")
	must(t, child.Start())
	defer func() { child.Process.Kill(); child.Wait() }()
	unlock()
	unlock, err = TryLock(path, 0o600)
	must(t, err)
	unlock()
}

// TestLockNoFollow: what somebody has put there leads nowhere, and keeps nobody waiting.
func TestLockNoFollow(t *testing.T) {
	dir := t.TempDir()
	link, victim := filepath.Join(dir, "link"), filepath.Join(dir, "victim")
	must(t, os.Symlink(victim, link))
	if _, err := TryLock(link, 0o600); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(victim); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the link was followed")
	}
}

// TestWriteKilled: a writer that is killed at any moment leaves a whole file, and what it
// has left beside it is in nobody's way.
func TestWriteKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must(t, WriteFile(path, content(0), 0o644))
	for i := range 20 {
		cmd := start(t, "write", path)
		time.Sleep(time.Duration(i) * time.Millisecond)
		must(t, cmd.Process.Kill())
		cmd.Wait()
		text, err := os.ReadFile(path)
		must(t, err)
		if !whole(text) {
			t.Fatalf("round %d: %d bytes, from %q", i, len(text), text[:1])
		}
	}
	must(t, WriteFile(path, []byte("short"), 0o644))
	if text, _ := os.ReadFile(path); string(text) != "short" {
		t.Errorf("%d bytes", len(text))
	}
	alone(t, path)
}

// alone makes sure that nothing is left beside a file.
func alone(t *testing.T, path string) {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if len(names) != 1 || names[0] != path {
		t.Errorf("left behind: %v", names)
	}
}

// TestWriteTogether: readers and writers at the same time see whole contents.
func TestWriteTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must(t, WriteFile(path, content(0), 0o644))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 10 {
				if err := WriteFile(path, content(byte(10*w+i)), 0o644); err != nil {
					t.Error(err)
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	for again := true; again; {
		select {
		case <-ended:
			again = false
		default:
		}
		if text, err := os.ReadFile(path); err != nil || !whole(text) {
			t.Fatalf("%d bytes, %v", len(text), err)
		}
	}
	alone(t, path)
}

// TestWriteFails: the old contents stay.
func TestWriteFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must(t, WriteFile(path, []byte("old"), 0o600))
	err := Write(path, 0o600, func(w io.Writer) error {
		w.Write([]byte("half"))
		return errors.ErrUnsupported
	})
	if text, _ := os.ReadFile(path); !errors.Is(err, errors.ErrUnsupported) || string(text) != "old" {
		t.Errorf("%v, %q", err, text)
	}
	alone(t, path)
}

// TestWriteMode: it is what was asked for, and a link is replaced, not followed.
func TestWriteMode(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "file"), filepath.Join(dir, "victim")
	must(t, os.WriteFile(victim, []byte("v"), 0o600))
	must(t, os.Symlink(victim, path))
	must(t, WriteFile(path, []byte("x"), 0o644))
	if st, err := os.Lstat(path); err != nil || st.Mode() != 0o644 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if text, _ := os.ReadFile(victim); string(text) != "v" {
		t.Errorf("through the link: %q", text)
	}
}

// TestWriteRefuses: what is no file is not replaced by one, and what others have put in
// the way is not written to.
func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "file"), filepath.Join(dir, "victim")
	must(t, os.WriteFile(victim, []byte("v"), 0o600))
	must(t, syscall.Mkfifo(path, 0o600))
	if err := WriteFile(path, []byte("x"), 0o600); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a FIFO: %v", err)
	}
	must(t, os.Remove(path))
	for name, put := range map[string]func(string) error{
		"symbolic link": func(p string) error { return os.Symlink(victim, p) },
		"hard link":     func(p string) error { return os.Link(victim, p) },
		"FIFO":          func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"directory":     func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		must(t, put(path+Suffix))
		if err := WriteFile(path, []byte("x"), 0o600); err == nil {
			t.Errorf("%s: written to", name)
		}
		if text, _ := os.ReadFile(victim); string(text) != "v" {
			t.Errorf("%s: %q", name, text)
		}
		must(t, os.Remove(path+Suffix))
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := Replace(from, to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	must(t, WriteFile(from, []byte("x"), 0o600))
	must(t, Replace(from, to))
	alone(t, to)
	must(t, os.Remove(to))
	must(t, os.MkdirAll(filepath.Join(from, "below"), 0o755))
	must(t, ReplaceTree(from, to))
	if _, err := os.Stat(filepath.Join(to, "below")); err != nil {
		t.Error(err)
	}
}
