// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestShare: what is written to a shared directory on one side is there on the other, a directory that is shared
// for reading cannot be written to by the guest's root, and nothing outlives an interrupted guest.
func TestShare(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("Debian 12's virtiofsd needs root, and the cloud kernels have no 9p")
	}
	dir, kept := t.TempDir(), filepath.Join(t.TempDir(), "of the host")
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(kept, 0o755); err != nil {
		t.Fatal(err)
	}
	put(filepath.Join(kept, "file"), "read only")
	countBoot(t)
	cmd := exec.CommandContext(t.Context(), shared.tool, "vm", "--dir", shared.work, "--cpus", "1", "--share", dir+":/data",
		"--share", kept+":ro", "--", "/bin/sh", "-c", `mount -o remount,rw "/mnt/of the host"; touch "/mnt/of the host/new" && echo written > /data/fault
		cp "/mnt/of the host/file" /data/copy && mv /data/copy /data/guest; until test -e /data/host; do sleep 0.1; done
		cp /data/host /data/copy && mv /data/copy /data/back; sleep 100000`)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	comes := func(name, want string) {
		t.Helper()
		for {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil {
				if strings.TrimSpace(string(text)) != want {
					t.Errorf("%s: %q, expected %q", name, text, want)
				}
				return
			}
			select {
			case err := <-ended:
				t.Fatalf("%s does not come: %v\n%s", name, err, &out)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	comes("guest", "read only")
	put(filepath.Join(dir, "host"), "by the host")
	comes("back", "by the host")
	for _, path := range []string{filepath.Join(kept, "new"), filepath.Join(dir, "fault")} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("the guest has written to what is shared for reading: %s", path)
		}
	}
	if list := serving(t, dir); len(list) == 0 {
		t.Error("nobody serves the directory, so that what follows shows nothing")
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-ended
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d: %s", code, &out)
	}
	for _, d := range []string{dir, kept} {
		if list := serving(t, d); len(list) > 0 {
			t.Errorf("they are still there: %q", list)
		}
	}
}

// serving are the commands that run with a path among their arguments.
func serving(t *testing.T, path string) (list []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte("virtiofsd")) && bytes.Contains(text, []byte(path)) {
			list = append(list, string(bytes.ReplaceAll(text, []byte{0}, []byte{' '})))
		}
	}
	return list
}
