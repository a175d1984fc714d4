// SPDX-License-Identifier: BSD-3-Clause

package folder

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWrite: files get below a directory, with what is missing on the way, and never to where a link leads.
func TestWrite(t *testing.T) {
	dir, outside := filepath.Join(t.TempDir(), "a"), t.TempDir()
	must(t, Write(dir, "b/c", []byte("x")))
	must(t, Write(dir, "d", nil))
	must(t, os.Symlink(outside, filepath.Join(dir, "out")))
	if err := Write(dir, "out/e", nil); err == nil {
		t.Error("it went through a link")
	}
	if err := Write(dir, "../f", nil); err == nil {
		t.Error("it went up")
	}
	list, err := Files(dir)
	if want := []string{filepath.Join(dir, "b/c"), filepath.Join(dir, "d")}; !slices.Equal(list, want) || err != nil {
		t.Errorf("%q, %v", list, err)
	}
	if list, err := Files(outside); len(list) != 0 || err != nil {
		t.Errorf("outside: %q, %v", list, err)
	}
	if _, err := Files(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that there is not has files")
	}
}

// TestRemove: what is gone already is no error, a link to nowhere is something, and what cannot be removed is told.
func TestRemove(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	must(t, os.Symlink("nowhere", link))
	if !Exists(link) {
		t.Error("the link does not exist")
	}
	must(t, Remove(filepath.Join(dir, "none"), link))
	if Exists(link) {
		t.Error("the link exists")
	}
	must(t, Write(dir, "full/file", nil))
	if err := Remove(filepath.Join(dir, "full")); err == nil {
		t.Error("a directory was removed")
	}
}
