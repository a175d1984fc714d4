// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/edits"
	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/module"
	"plugsched/internal/kernel/fetch"
)

// changes compares the developer's tree with the pristine source.
func (p *Project) changes(ctx context.Context, t *fetch.Target) (*edits.Set, error) {
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			dirs = append(dirs, e.Name())
		}
	}
	pristine := func(rel string) (string, error) {
		for _, dir := range []string{p.state("source"), t.HeadersCommon} {
			path := filepath.Join(dir, rel)
			_, err := os.Lstat(path)
			// What may not be seen is not absent: all of the tree would look new.
			if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
				return path, err
			}
		}
		return "", nil
	}
	src, err := edits.Load(ctx, p.Dir, dirs, pristine)
	if err != nil || len(src.Changes) == 0 {
		return src, err
	}
	// The scheduler's other files lead from what was refused to the edit.
	own, err := folder.Files(p.path(SchedDir))
	if err != nil {
		return nil, err
	}
	for _, path := range own {
		rel, _ := filepath.Rel(p.Dir, path)
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

// sources says where the checks of the source look.
func (p *Project) sources(ctx context.Context, in *inputs, units []module.Unit) (*bind.Sources, error) {
	s := &bind.Sources{Tree: p.Dir, SchedDir: SchedDir, Kernel: in.target.Source, Ours: in.config.HeaderLines(),
		Dirs: in.target.CodeDirs(), Config: in.target.Config}
	s.Macros = func(pristine bool, texts map[string]string, define []string) (map[string]bool, error) {
		if pristine {
			tree, err := p.tree(in.target, p.state("source"))
			if err != nil {
				return nil, err
			}
			before := slices.Collect(maps.Values(in.pristine))
			return module.Macros(ctx, tree, p.state("macros"), before, texts, define)
		}
		return module.Macros(ctx, in.tree, p.state("macros"), units, texts, define)
	}
	for _, u := range units {
		s.Compiled = append(s.Compiled, u.Deps...)
	}
	s.Flags = p.flags(in, units)
	text, err := os.ReadFile(p.state("source", SchedDir, "Makefile"))
	if err != nil {
		return nil, err
	}
	s.Makefile = string(text)
	if s.ListedBefore, err = module.Others(p.state("pristine")); err != nil {
		return nil, err
	}
	s.Listed, err = module.Others(p.state("edited"))
	return s, err
}

// flags are the options that units are compiled with and were not, and the other way round. What
// differs because the module's units and the kernel's lie in different places is no option.
func (p *Project) flags(in *inputs, units []module.Unit) map[string][]string {
	options := func(u module.Unit) map[string]bool {
		m := map[string]bool{}
		for i, a := range u.Command {
			if strings.HasPrefix(a, "-") && a != "-include" && !strings.Contains(a, p.Dir) && i > 0 && makesCode(a) {
				m[a] = true
			}
		}
		return m
	}
	out := map[string][]string{}
	for _, u := range units {
		was, ok := in.pristine[u.Name]
		if !ok {
			continue
		}
		before, now := options(was), options(u)
		for o := range now {
			if !before[o] {
				out[u.Name] = append(out[u.Name], "+"+o)
			}
		}
		for o := range before {
			if !now[o] {
				out[u.Name] = append(out[u.Name], "-"+o)
			}
		}
		slices.Sort(out[u.Name])
	}
	return out
}

// makesCode reports an option that can be why code differs: warnings are not, nor where headers are sought, of
// which the edits of headers tell.
func makesCode(option string) bool {
	if strings.HasPrefix(option, "-Wp,") || strings.HasPrefix(option, "-Wa,") {
		return true
	}
	return !strings.HasPrefix(option, "-W") && !strings.HasPrefix(option, "-I")
}
