// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/develop/module"
	"plugsched/internal/kernel/fetch"
)

// changes compares the developer's tree with the pristine source.
func (b *build) changes() (*edits.Set, error) {
	t, err := b.Target()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(b.Dir)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			dirs = append(dirs, e.Name())
		}
	}
	pristine := func(rel string) string {
		for _, dir := range []string{b.state("source"), t.HeadersCommon} {
			if path := filepath.Join(dir, rel); exists(path) {
				return path
			}
		}
		return ""
	}
	src, err := edits.Load(b.Dir, dirs, pristine)
	if err != nil || len(src.Changes) == 0 {
		return src, err
	}
	// The scheduler's other files lead from what was refused to the edit.
	own, err := filesBelow(b.path(schedDir))
	if err != nil {
		return nil, err
	}
	for _, path := range own {
		rel, _ := filepath.Rel(b.Dir, path)
		if (strings.HasSuffix(rel, ".c") || strings.HasSuffix(rel, ".h")) && !slices.Contains(src.Files, rel) {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			src.Add(rel, string(text))
		}
	}
	return src, nil
}

// compareSources refuses what the compiled units do not show: files that are not
// compiled, exports, and what others have compiled too.
func (b *build) compareSources(kernel *bind.Kernel, src *edits.Set) ([]bind.Refusal, error) {
	refusals, err := b.unbuilt()
	if err != nil {
		return nil, err
	}
	refusals = append(append(refusals, b.uncompiled(src)...), kernel.CompareExports(src)...)
	t, err := b.Target()
	if err != nil {
		return nil, err
	}
	cfg, err := boundary.LoadConfig(b.path(configFile))
	if err != nil {
		return nil, &Error{err.Error()}
	}
	h := &bind.Headers{Ours: cfg.HeaderLines()}
	if h.Includers, err = b.includers(t, src); err != nil {
		return nil, err
	}
	changes := kernel.HeaderChanges(src, h.Includers)
	if h.Users, err = b.users(t, changes); err != nil {
		return nil, err
	}
	return append(refusals, kernel.CompareHeaders(changes, h)...), nil
}

// unbuilt refuses what the Makefile has got that is no part of the scheduler's
// objects.
func (b *build) unbuilt() ([]bind.Refusal, error) {
	was, err := module.Others(b.state("pristine"))
	if err != nil {
		return nil, err
	}
	is, err := module.Others(b.state("edited"))
	if err != nil {
		return nil, err
	}
	makefile := filepath.Join(schedDir, "Makefile")
	text, err := os.ReadFile(b.path(makefile))
	if err != nil {
		return nil, err
	}
	var out []bind.Refusal
	for _, name := range is {
		if slices.Contains(was, name) {
			continue
		}
		r := bind.Refusal{Class: bind.NotCompiled, Name: name, File: makefile, Line: 1,
			Why: "is a directory or a module of its own, which is not built into the scheduler", Do: "list its files here as obj-y += FILE.o"}
		if before, _, ok := strings.Cut(string(text), name); ok {
			r.Line += strings.Count(before, "\n")
		}
		out = append(out, r)
	}
	return out, nil
}

// uncompiled refuses new code that nothing compiles, and warns of other changes
// that nothing compiles: of what the kernel's configuration leaves out.
func (b *build) uncompiled(src *edits.Set) []bind.Refusal {
	compiled := map[string]bool{}
	for _, u := range b.units {
		for _, dep := range u.Deps {
			if rel, err := filepath.Rel(b.Dir, dep); err == nil {
				compiled[rel] = true
			}
		}
	}
	var out []bind.Refusal
	for _, file := range src.Files {
		isCode := strings.HasSuffix(file, ".c") || strings.HasSuffix(file, ".S")
		isNew := slices.Contains(src.New, file)
		r := bind.Refusal{Class: bind.NotCompiled, Name: filepath.Base(file), File: file, Line: 1, Why: "is compiled by nothing, so that it would not take effect"}
		switch {
		case compiled[file] || !isCode && !strings.HasSuffix(file, ".h"):
		case isCode && isNew && filepath.Dir(file) == schedDir:
			r.Do = "add it to " + schedDir + "/Makefile (obj-y += " + strings.TrimSuffix(r.Name, filepath.Ext(file)) + ".o), or include it in a file that is compiled"
			out = append(out, r)
		case isCode && isNew:
			r.Do = "only " + schedDir + " is built: put the code there"
			out = append(out, r)
		default:
			b.desc.Warnings = append(b.desc.Warnings, file+": is changed, but this kernel's scheduler does not include it: the change has no effect")
		}
	}
	return out
}

// includers finds who includes the changed headers of the scheduler's directory
// from outside.
func (b *build) includers(t *fetch.Target, src *edits.Set) (map[string][]string, error) {
	want := map[string]string{} // "sched/smp.h" to the path
	for _, file := range src.Files {
		if strings.HasPrefix(file, schedDir+"/") && strings.HasSuffix(file, ".h") {
			want[filepath.Base(schedDir)+"/"+filepath.Base(file)+`"`] = file
		}
	}
	out := map[string][]string{}
	if len(want) == 0 {
		return out, nil
	}
	err := b.eachOutside(t, func(rel, text string) {
		for suffix, file := range want {
			for l := range strings.Lines(text) {
				if strings.HasPrefix(l, "#include") && strings.Contains(l, suffix) {
					out[file] = append(out[file], rel)
				}
			}
		}
	})
	return out, err
}

// users finds who mentions the changed names outside of the scheduler.
func (b *build) users(t *fetch.Target, changes []*edits.Change) (map[string][]string, error) {
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
	err := b.eachOutside(t, func(rel, text string) {
		for name, file := range files {
			if line := edits.Mention(text, name); line > 0 && rel != file {
				out[name] = append(out[name], fmt.Sprintf("%s:%d", rel, line))
			}
		}
	})
	return out, err
}

// eachOutside reads every C file of the kernel's source at hand that belongs to
// this architecture and not to the scheduler, code first. Of a source that was fetched most
// drivers are not at hand (fetch.Target.CodeDirs).
func (b *build) eachOutside(t *fetch.Target, f func(rel, text string)) error {
	for _, dir := range t.CodeDirs() {
		err := filepath.WalkDir(filepath.Join(t.Source, dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() || !strings.HasSuffix(path, ".c") && !strings.HasSuffix(path, ".h") {
				return err
			}
			rel, err := filepath.Rel(t.Source, path)
			if err != nil || b.boundary.Owns(rel) {
				return err
			}
			text, err := os.ReadFile(path)
			if err == nil {
				f(rel, string(text))
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
