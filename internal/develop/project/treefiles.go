// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"plugsched/internal/develop/folder"
	"plugsched/internal/durable"
	"plugsched/internal/kernel/fetch"
)

// A treeFile is a file of the kernel's tree as init found it. Size and time are looked at
// first; the hash says whether a file with another time is another one.
type treeFile struct {
	size int64
	time int64  // ns since 1970
	hash string // SHA-256, hexadecimal
}

func (f treeFile) seemsLike(st fs.FileInfo) bool {
	return f.size == st.Size() && f.time == st.ModTime().UnixNano()
}

// treeFiles are files by path.
type treeFiles map[string]treeFile

func (files treeFiles) format() []byte {
	var b bytes.Buffer
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f := files[path]
		fmt.Fprintf(&b, "%d %d %s %s\n", f.size, f.time, f.hash, path)
	}
	return b.Bytes()
}

func parseTreeFiles(text []byte) (treeFiles, error) {
	files := treeFiles{}
	for line := range strings.Lines(string(text)) {
		w := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(w) != 4 {
			return nil, fmt.Errorf("no file: %q", line)
		}
		size, err := strconv.ParseInt(w[0], 10, 64)
		if err != nil {
			return nil, err
		}
		time, err := strconv.ParseInt(w[1], 10, 64)
		if err != nil {
			return nil, err
		}
		files[w[3]] = treeFile{size, time, w[2]}
	}
	return files, nil
}

// sum changes with what is in any of the files.
func (files treeFiles) sum() string {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s %s\n", files[path].hash, path)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// treePaths are the files that a build reads where the kernel was built, besides the source that
// init has copied: headers for the runtime, and what kbuild is steered by. Directories in a tree
// of packages are links.
func treePaths(t *fetch.Target) (paths []string, err error) {
	roots := []string{t.KernelBuild, t.HeadersCommon}
	for _, root := range slices.Compact(roots) {
		for _, name := range []string{".config", "Makefile", "Module.symvers"} {
			if _, err := os.Stat(filepath.Join(root, name)); err == nil {
				paths = append(paths, filepath.Join(root, name))
			}
		}
		for _, dir := range []string{"include", filepath.Join("arch", t.KernelArch, "include")} {
			dir, err := filepath.EvalSymlinks(filepath.Join(root, dir))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			below, err := folder.Files(dir)
			if err != nil {
				return nil, err
			}
			paths = append(paths, below...)
		}
	}
	return paths, nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// lookAtTree reads the files of the kernel's tree. What was noted before saves reading those that
// have not changed.
func (p *Project) lookAtTree(t *fetch.Target) (treeFiles, error) {
	paths, err := treePaths(t)
	if err != nil {
		return nil, err
	}
	text, _ := os.ReadFile(p.state(treeListFile))
	was, err := parseTreeFiles(text)
	if err != nil {
		was = nil // it is made anew
	}
	files := make(treeFiles, len(paths))
	for _, path := range paths {
		st, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		f, known := was[path]
		if !known || !f.seemsLike(st) {
			f = treeFile{size: st.Size(), time: st.ModTime().UnixNano()}
			if f.hash, err = hashFile(path); err != nil {
				return nil, err
			}
		}
		files[path] = f
	}
	return files, nil
}

// noteTree keeps what builds hold the tree against.
func (p *Project) noteTree(files treeFiles) error {
	return durable.WriteFile(p.state(treeListFile), files.format(), 0o644)
}

// sameTree refuses a tree of which a file that builds read is another one than at init: the module
// would be made for another kernel than the one that runs.
func (p *Project) sameTree(t *fetch.Target) error {
	text, err := os.ReadFile(p.state(treeListFile))
	if err != nil {
		return Errorf("%s: was initialised by another version of plugsched: run `plugsched init` again", p.Dir)
	}
	was, err := parseTreeFiles(text)
	if err != nil {
		return damaged(p.state(treeListFile), err)
	}
	paths, err := treePaths(t)
	if err != nil {
		return err
	}
	for _, path := range paths {
		f, known := was[path]
		delete(was, path)
		if !known {
			return changedTree(path, "is new")
		}
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		if f.seemsLike(st) {
			continue
		}
		if is, err := hashFile(path); err != nil || is != f.hash {
			return changedTree(path, "has changed")
		}
	}
	for _, path := range slices.Sorted(maps.Keys(was)) {
		return changedTree(path, "is gone")
	}
	return nil
}

func changedTree(path, how string) error {
	return Errorf("%s: %s since `plugsched init`, and the kernel was built without that: take it back, or run `plugsched init` again",
		path, how)
}
