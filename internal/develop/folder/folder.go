// SPDX-License-Identifier: BSD-3-Clause

// Package folder finds, writes and removes the files of a tree of source.
package folder

import (
	"errors"
	"os"
	"path/filepath"
)

// Exists reports that there is something of that name, be it a link to nowhere.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Files lists the regular files below a directory, with its path in front.
func Files(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			out = append(out, path)
		}
		return err
	})
	return out, err
}

// Write writes a file, and nowhere but below a directory: links there may lead out of it. What is missing
// of directories is made.
func Write(dir, rel string, text []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(rel), 0o755); err != nil {
		return err
	}
	return root.WriteFile(rel, text, 0o644)
}

// Remove removes files, of which any may be gone already.
func Remove(paths ...string) error {
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
