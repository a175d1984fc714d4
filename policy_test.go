// SPDX-License-Identifier: BSD-3-Clause

package plugsched

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tracked lists the files that git knows or would add.
func tracked(t *testing.T) []string {
	out, err := exec.Command("git", "ls-files", "-co", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// TestLicences: every file of ours says its licence in its first lines.
func TestLicences(t *testing.T) {
	// Formats without comments, generated files, and data that tests compare.
	exempt := func(path string) bool {
		switch filepath.Ext(path) {
		case ".patch", ".sum", ".mod", ".txt", ".log":
			return true
		}
		return strings.Contains(path, "testdata/") || filepath.Base(path) == ".gitignore"
	}
	for _, path := range tracked(t) {
		if exempt(path) {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			continue // removed, not yet committed
		}
		want := "SPDX-License-Identifier: BSD-3-Clause"
		if strings.HasPrefix(path, "runtime/") || strings.HasPrefix(path, "test/kmod/") {
			want = "SPDX-License-Identifier: GPL-2.0-only"
		}
		head := strings.Join(strings.SplitN(string(text), "\n", 4)[:min(3, strings.Count(string(text), "\n")+1)], "\n")
		if !strings.Contains(head, want) {
			t.Errorf("%s: no %q in its first lines", path, want)
		}
	}
}

// TestPackageDocs: every package says in a sentence what it is.
func TestPackageDocs(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() || strings.HasPrefix(path, "build") || strings.HasPrefix(e.Name(), ".") && path != "." {
			return err
		}
		files, err := filepath.Glob(filepath.Join(path, "*.go"))
		if err != nil {
			return err
		}
		documented, has := false, false
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			has = true
			text, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			documented = documented || strings.Contains(string(text), "\n// Package ") || strings.Contains(string(text), "\n// Command ")
		}
		if has && !documented {
			t.Errorf("%s: no package comment", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
