// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var sample = []entry{
	content("b/c/file", "12345"),
	content("/a", ""),
	{name: "b/link", mode: unix.S_IFLNK | 0o777, size: 1, content: strings.NewReader("a")},
	{name: "dev/console", mode: unix.S_IFCHR | 0o600, major: 5, minor: 1},
	{name: "b", mode: unix.S_IFDIR | 0o700},
}

func archive(t *testing.T, entries []entry) []byte {
	t.Helper()
	for i := range entries {
		if r, ok := entries[i].content.(*strings.Reader); ok {
			r.Seek(0, 0)
		}
	}
	var b bytes.Buffer
	if err := writeCPIO(&b, entries); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The archive is read by another program than ours.
func TestCPIO(t *testing.T) {
	tool, err := exec.LookPath("cpio")
	args := []string{"-itv", "--quiet", "-n"}
	if err != nil {
		t.Skip("no cpio on this host; the boot tests read archives with the kernel")
	}
	cmd := exec.Command(tool, args...)
	cmd.Stdin = bytes.NewReader(archive(t, sample))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		// Mode, and what is behind the date: the name and a link's target.
		got = append(got, f[0]+" "+strings.Join(f[8:], " "))
	}
	want := []string{
		"-rw-r--r-- a", "drwx------ b", "drwxr-xr-x b/c", "-rw-r--r-- b/c/file", "lrwxrwxrwx b/link -> a",
		"drwxr-xr-x dev", "crw------- 1970 dev/console",
	}
	if len(got) == len(want) {
		// A device node has two number columns instead of a size.
		got[6] = "crw------- 1970 " + got[6][strings.LastIndex(got[6], " ")+1:]
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	dir := t.TempDir()
	cmd = exec.Command(tool, "-i", "--quiet", "-d", "b/c/file", "b/link")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(archive(t, sample))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "b/c/file")); err != nil || string(b) != "12345" {
		t.Errorf("unpacked file: %q, %v", b, err)
	}
}

func TestCPIOIsReproducible(t *testing.T) {
	a := archive(t, sample)
	reversed := make([]entry, len(sample))
	for i, e := range sample {
		reversed[len(sample)-1-i] = e
	}
	if !bytes.Equal(a, archive(t, reversed)) {
		t.Error("the order of entries changes the archive")
	}
}

func TestCPIOErrors(t *testing.T) {
	for name, entries := range map[string][]entry{
		"given twice":     {content("a/b", ""), content("/a//b", "")},
		"no name":         {content("/", "")},
		"not a directory": {content("a", ""), content("a/b", "")},
		"shrank":          {{name: "a", mode: unix.S_IFREG, size: 9, content: strings.NewReader("short")}},
		"do not fit":      {{name: "a", mode: unix.S_IFREG, size: 1 << 32}},
	} {
		if err := writeCPIO(&bytes.Buffer{}, entries); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
