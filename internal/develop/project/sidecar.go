// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/module"
	"plugsched/internal/develop/packaging"
	"plugsched/internal/durable"
	"plugsched/internal/kernel/fetch"
)

// addSidecars writes FILE:FUNCTION pairs into plugsched.yaml. undo puts back what
// was there before.
func (p *Project) addSidecars(list []string) (undo func() error, err error) {
	path := p.path(ConfigFile)
	was, err := os.ReadFile(path)
	missing := errors.Is(err, os.ErrNotExist)
	if err != nil && !missing {
		return nil, err
	}
	text := was
	if missing {
		text = []byte(configTemplate)
	}
	for _, s := range list {
		file, function, ok := strings.Cut(s, ":")
		if !ok || file == "" || function == "" {
			return nil, Errorf("--sidecar %s: write FILE:FUNCTION, as in kernel/fork.c:copy_process", s)
		}
		if text, err = boundary.AddSidecar(text, file, function, "named on the command line"); err != nil {
			return nil, Errorf("%s: %v", path, err)
		}
	}
	undo = func() error {
		if missing {
			return os.Remove(path)
		}
		return durable.WriteFile(path, was, 0o644)
	}
	return undo, durable.WriteFile(path, text, 0o644)
}

// loadConfig reads plugsched.yaml, and checks all of it that can be checked without the kernel.
func (p *Project) loadConfig() (*boundary.Config, error) {
	cfg, err := boundary.LoadConfig(p.path(ConfigFile))
	if err != nil {
		return nil, &Error{err.Error()}
	}
	if _, err := packaging.ParseConfig(cfg.Package); err != nil {
		return nil, Errorf("%s: %v", p.path(ConfigFile), err)
	}
	return cfg, nil
}

// config reads plugsched.yaml, and checks its sidecars against the source.
func (p *Project) config(t *fetch.Target) (*boundary.Config, error) {
	cfg, err := p.loadConfig()
	if err != nil {
		return nil, err
	}
	for i := range cfg.Sidecar {
		s := &cfg.Sidecar[i]
		if folder.Exists(filepath.Join(t.Source, s.File)) {
			continue
		}
		why := "the kernel's source has no such file"
		if dir := filepath.Dir(s.File); !folder.Exists(filepath.Join(t.Source, dir)) {
			why = t.Source + " has no " + dir + ": run `plugsched init` again, which fetches more of the source, or give it a whole tree with --source"
		}
		return nil, &Error{cfg.SidecarError(s, "%s", why).Error()}
	}
	return cfg, nil
}

// sidecarFiles are the files outside of the scheduler that a configuration names.
func sidecarFiles(cfg *boundary.Config) []string {
	return slices.DeleteFunc(cfg.Sidecar.Files(), cfg.Source)
}

// SourceDirs lists the top directories of the source that a project's sidecars are
// in, those of plugsched.yaml and more that are given as FILE:FUNCTION.
func (p *Project) SourceDirs(more []string) ([]string, error) {
	cfg, err := p.loadConfig()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range append(cfg.Sidecar.Files(), more...) {
		if top, _, below := strings.Cut(f, "/"); below {
			out = append(out, top)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// compileSidecars compiles the pristine sidecars, beside the scheduler's units.
func (p *Project) compileSidecars(ctx context.Context, t *fetch.Target, files []string, key string) error {
	if len(files) == 0 {
		return folder.Remove(p.state(sidecarFile), p.state("sidecar.done"))
	}
	key = strings.Join(append([]string{key}, files...), " ")
	return p.stage("sidecar", "compiling the pristine sidecars", key, func() (string, error) {
		if _, err := copyClosure(t.Source, p.state("source"), files); err != nil {
			return "", err
		}
		tree, err := p.tree(t, p.state("source"))
		if err != nil {
			return "", err
		}
		units, err := module.CompileSidecars(ctx, tree, p.state("sidecar"), files)
		var wrong *module.CompileError
		if errors.As(err, &wrong) {
			return "", Errorf("sidecar: the pristine source of %s does not compile outside of the kernel's tree:\n%s",
				strings.Join(files, ", "), wrong.Output)
		}
		if err != nil {
			return "", err
		}
		return strings.Join(files, ", "), writeJSON(p.state(sidecarFile), units)
	})
}

// joinTree adds the sidecars' pristine files to the developer's tree, in a commit
// of their own, if they are not there yet.
func (p *Project) joinTree(ctx context.Context, t *fetch.Target, files []string) error {
	if !slices.ContainsFunc(files, func(f string) bool { return !folder.Exists(p.path(f)) }) {
		return nil
	}
	units, err := p.pristine()
	if err != nil {
		return err
	}
	var added []string
	for _, u := range units {
		if !slices.Contains(files, u.Name) {
			continue
		}
		for rel, from := range p.sourcesOf(t, u) {
			if folder.Exists(p.path(rel)) {
				continue
			}
			text, err := os.ReadFile(from)
			if err != nil {
				return err
			}
			if err := folder.Write(p.Dir, rel, text); err != nil {
				return err
			}
			added = append(added, rel)
		}
	}
	slices.Sort(added)
	message := fmt.Sprintf("Sidecars: %s\n\nPristine source of Linux %s, %s.\n", strings.Join(files, ", "), t.Release, whence(t))
	if err := p.Git().Run(ctx, append([]string{"add", "--"}, added...)...); err != nil {
		return err
	}
	commit := append(slices.Clone(asPlugsched), "commit", "-q", "-m", message, "--")
	if err := p.Git().Run(ctx, append(commit, added...)...); err != nil {
		return err
	}
	return p.writeCommands(t, units)
}

// sourcesOf maps the files that a unit was made from, as far as they are source, to
// where they are.
func (p *Project) sourcesOf(t *fetch.Target, u module.Unit) map[string]string {
	out := map[string]string{}
	for _, dep := range u.Deps {
		for _, dir := range []string{p.state("source"), t.HeadersCommon} {
			if rel, err := filepath.Rel(dir, dep); err == nil && !strings.HasPrefix(rel, "..") && !module.Generated(rel) {
				out[rel] = dep
			}
		}
	}
	return out
}

// checkSidecar refuses a sidecar whose source, compiled here, is not the kernel's
// code: what its directory's Makefile says may not be all there is to it.
func checkSidecar(unit string, r *bind.Reproduction) error {
	if len(r.Mismatches) == 0 {
		return nil
	}
	m := r.Mismatches[0]
	return Errorf("sidecar: %s: compiled here it is not the kernel's code: %s %s, and %d more of %d functions: this file cannot be a sidecar",
		unit, m.Function, m.Why, len(r.Mismatches)-1, r.Functions)
}

// sidecarWarnings are about sidecars in which tasks wait.
func sidecarWarnings(b *boundary.Boundary) (list []string) {
	for _, f := range b.Sidecar() {
		for _, fact := range f.Facts {
			if fact.Kind == "waits" {
				list = append(list, f.Name+" "+fact.Text+": while one is in it, an update is busy")
			}
		}
	}
	return list
}
