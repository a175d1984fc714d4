// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/develop/edits"
)

// Sources is what the checks of the source look at, besides the edits.
type Sources struct {
	Tree     string // the developer's tree
	SchedDir string // the scheduler's own directory in it
	Kernel   string // the kernel's source, as far as it is at hand
	// Dirs are its directories that are looked through for others who know what changed,
	// code first.
	Dirs []string
	// Compiled are the files, absolute, that the units were compiled from.
	Compiled []string
	// Listed is what the Makefile in SchedDir lists that is no object of its own directory,
	// ListedBefore what the pristine one does.
	Listed, ListedBefore []string
	// Ours are names that the project says only the scheduler uses, with the line that
	// says so.
	Ours map[string]string
	// Macros returns the macros that are known at the end of the units, the pristine ones or
	// the developer's, when some files have other texts and the macros of define are 1 (module.Macros).
	Macros func(pristine bool, texts map[string]string, define []string) (map[string]bool, error)
	// Config is the path of the kernel's configuration.
	Config string
	// Flags are the compiler's options that units have got or lost, with + or - before each.
	Flags map[string][]string
	// Makefile is the text of SchedDir's as it was.
	Makefile string
}

// CompareSources refuses what the compiled units do not show: files that are not compiled,
// exports, and what others have compiled too.
func (k *Kernel) CompareSources(ctx context.Context, src *edits.Set, s *Sources) (*Changes, error) {
	out := &Changes{}
	makefile, err := os.ReadFile(filepath.Join(s.Tree, s.SchedDir, "Makefile"))
	if err != nil {
		return nil, err
	}
	out.Refusals = s.unbuilt(string(makefile))
	refusals, unseen := s.uncompiled(src)
	out.Add(&Changes{Refusals: append(refusals, k.CompareExports(src)...), Unseen: unseen})
	found, err := s.compiledOut(ctx, src)
	if err != nil {
		return nil, err
	}
	out.Add(found)
	h := &Headers{Ours: s.Ours}
	if h.Includers, err = k.includers(ctx, src, s); err != nil {
		return nil, err
	}
	changes := k.HeaderChanges(src, h.Includers)
	if h.Users, err = k.headerUsers(ctx, changes, s); err != nil {
		return nil, err
	}
	out.Refusals = append(out.Refusals, k.CompareHeaders(changes, h)...)
	return out, nil
}

// unbuilt refuses what the Makefile has got that is no part of the scheduler's
// objects.
func (s *Sources) unbuilt(text string) (out []Refusal) {
	makefile := filepath.Join(s.SchedDir, "Makefile")
	for _, name := range s.Listed {
		if slices.Contains(s.ListedBefore, name) {
			continue
		}
		r := Refusal{Class: NotCompiled, Name: name, File: makefile, Line: 1,
			Why: "is a directory or a module of its own, which is not built into the scheduler",
			Do:  "list its files here as obj-y += FILE.o"}
		if before, _, ok := strings.Cut(text, name); ok {
			r.Line += strings.Count(before, "\n")
		}
		out = append(out, r)
	}
	return out
}

// uncompiled refuses new code that nothing compiles, and finds other changes that nothing
// compiles: of what the kernel's configuration leaves out.
func (s *Sources) uncompiled(src *edits.Set) (refusals, unseen []Refusal) {
	for _, file := range src.Files {
		isCode := strings.HasSuffix(file, ".c") || strings.HasSuffix(file, ".S")
		isNew := slices.Contains(src.New, file)
		r := Refusal{Class: NotCompiled, Name: filepath.Base(file), File: file, Line: 1,
			Why: "is compiled by nothing, so that it would not take effect"}
		switch {
		case s.compiles(file) || !isCode && !strings.HasSuffix(file, ".h") || src.OnlyRemarks(file):
		case isCode && isNew && filepath.Dir(file) == s.SchedDir:
			object := strings.TrimSuffix(r.Name, filepath.Ext(file)) + ".o"
			r.Do = "add it to " + s.SchedDir + "/Makefile (obj-y += " + object + "), or include it in a file that is compiled"
			refusals = append(refusals, r)
		case isCode && isNew:
			r.Do = "only " + s.SchedDir + " is built: put the code there"
			refusals = append(refusals, r)
		default:
			r.Why = "is changed, but no unit of this kernel's scheduler includes it" + s.whoIncludes(r.Name) + ": the change has no effect"
			r.Do = "undo the change, or make it in a file that is compiled"
			unseen = append(unseen, r)
		}
	}
	return refusals, unseen
}

// compiles reports a file of the tree that some unit was compiled from.
func (s *Sources) compiles(file string) bool {
	return slices.Contains(s.Compiled, filepath.Join(s.Tree, file))
}

// whoIncludes says on which condition the scheduler would include a file.
func (s *Sources) whoIncludes(name string) string {
	for _, path := range s.Compiled {
		rel, err := filepath.Rel(s.Tree, path)
		if err != nil || filepath.Dir(rel) != s.SchedDir {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if g := edits.Include(rel, string(text), name); g != nil {
			return fmt.Sprintf(" (%s does only on %s, line %d)", rel, g.Condition, g.Line)
		}
	}
	return ""
}

// includers finds who includes the changed headers of the scheduler's directory
// from outside.
func (k *Kernel) includers(ctx context.Context, src *edits.Set, s *Sources) (map[string][]string, error) {
	want := map[string]string{} // "sched/smp.h" to the path
	for _, file := range src.Files {
		if strings.HasPrefix(file, s.SchedDir+"/") && strings.HasSuffix(file, ".h") {
			want[filepath.Base(s.SchedDir)+"/"+filepath.Base(file)+`"`] = file
		}
	}
	out := map[string][]string{}
	if len(want) == 0 {
		return out, nil
	}
	err := k.eachOutside(ctx, s, func(rel, text string) (enough bool) {
		for suffix, file := range want {
			for l := range strings.Lines(text) {
				if strings.HasPrefix(l, "#include") && strings.Contains(l, suffix) {
					out[file] = append(out[file], rel)
				}
			}
		}
		return false
	})
	return out, err
}

// headerUsers finds who mentions the changed names outside of the scheduler.
func (k *Kernel) headerUsers(ctx context.Context, changes []*edits.Change, s *Sources) (map[string][]string, error) {
	files := map[string]string{} // name to the file that defines it
	for _, e := range changes {
		if e.Name != "" {
			files[e.Name] = e.File
		}
	}
	out := map[string][]string{}
	if len(files) == 0 {
		return out, nil
	}
	err := k.eachOutside(ctx, s, func(rel, text string) (enough bool) {
		for name, file := range files {
			if line := edits.Mention(text, name); line > 0 && rel != file {
				out[name] = append(out[name], fmt.Sprintf("%s:%d", rel, line))
			}
		}
		return false
	})
	return out, err
}

// eachOutside reads the C files of the kernel's source at hand that do not belong to the
// scheduler, until f has enough.
func (k *Kernel) eachOutside(ctx context.Context, s *Sources, f func(rel, text string) (enough bool)) error {
	enough := false
	for _, dir := range s.Dirs {
		if enough {
			break
		}
		err := filepath.WalkDir(filepath.Join(s.Kernel, dir), func(path string, e fs.DirEntry, err error) error {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil || !e.Type().IsRegular() || !strings.HasSuffix(path, ".c") && !strings.HasSuffix(path, ".h") {
				return err
			}
			rel, err := filepath.Rel(s.Kernel, path)
			if err != nil || k.Boundary.Owns(rel) {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if enough = f(rel, string(text)); enough {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
