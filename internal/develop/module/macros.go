// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Macros returns the names of the macros that the preprocessor knows at the end of any of the
// units, with the flags that each was compiled with. texts stand in for files of WorkDir, define
// are macros to begin with. Units that no text is in say nothing, and are not asked. dir is scratch.
func Macros(ctx context.Context, t *Tree, dir string, units []Unit, texts map[string]string, define []string) (map[string]bool, error) {
	defer os.RemoveAll(dir)
	if err := shadow(t.WorkDir, dir, texts); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, u := range units {
		if !slices.ContainsFunc(u.Deps, func(dep string) bool { return t.has(dep, texts) }) {
			continue
		}
		args := preprocessing(u.Command, t.WorkDir, dir)
		for _, d := range define {
			args = append(args, "-D"+d+"=1")
		}
		cmd := t.Env.Command(ctx, args[0], args[1:]...)
		cmd.Dir = t.KernelBuild
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		text, err := cmd.Output()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: preprocess: %w: %s", u.Name, err, lastLines(complaint.String(), 3))
		}
		for l := range bytes.Lines(text) {
			if rest, ok := bytes.CutPrefix(l, []byte("#define ")); ok {
				name := bytes.TrimSpace(rest)
				if end := bytes.IndexAny(name, " ("); end >= 0 {
					name = name[:end]
				}
				out[string(name)] = true
			}
		}
	}
	return out, nil
}

// has reports a file that one of texts is: of the tree, or the kernel's header of the same path.
func (t *Tree) has(path string, texts map[string]string) bool {
	for _, dir := range []string{t.WorkDir, t.Common} {
		if rel, err := filepath.Rel(dir, path); err == nil {
			if _, ok := texts[rel]; ok {
				return true
			}
		}
	}
	return false
}

// preprocessing turns a compiler's command line into one that prints the macros, of the same files
// below another directory. What was generated for the build stays where it is.
func preprocessing(command []string, from, to string) []string {
	out := []string{command[0]}
	for i := 1; i < len(command); i++ {
		a := command[i]
		switch {
		case a == "-c" || strings.HasPrefix(a, "-Wp,-M"):
		case a == "-o":
			i++
		default:
			head, path, ok := strings.Cut(a, from+"/")
			if ok && !strings.HasPrefix(path, ".") && (head == "" || head == "-I") {
				a = head + to + "/" + path
			}
			out = append(out, a)
		}
	}
	return append(out, "-E", "-dM")
}

// shadow makes a directory look like a tree in which some files have other texts.
func shadow(tree, dir string, texts map[string]string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	err := filepath.WalkDir(tree, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(tree, path)
		switch {
		case err != nil:
			return err
		case e.IsDir() && strings.HasPrefix(e.Name(), ".") && rel != ".":
			return filepath.SkipDir
		case e.IsDir():
			return os.MkdirAll(filepath.Join(dir, rel), 0o755)
		}
		return os.Symlink(path, filepath.Join(dir, rel))
	})
	for rel, text := range texts {
		if err != nil {
			return err
		}
		path := filepath.Join(dir, rel)
		os.Remove(path) // not through the link
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
	}
	return err
}
