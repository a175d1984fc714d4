// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/develop/git"
	"plugsched/internal/develop/patch"
	"plugsched/internal/durable"
)

// BuildPatched is Build with patches applied, one after the other, to a temporary copy of the
// developer's tree: the tree itself, and what git knows of it, stay as they are.
func (p *Project) BuildPatched(ctx context.Context, patches []string) (built *Built, err error) {
	err = p.patched(ctx, patches, func(q *Project) error {
		if built, err = q.Build(ctx); err != nil {
			return err
		}
		for i, path := range built.Packages {
			built.Packages[i] = p.path(filepath.Base(path))
		}
		made := append(slices.Clone(built.Packages), p.Description(), p.DebugInfo(), p.Module())
		for _, to := range made {
			if err := durable.Replace(q.path(filepath.Base(to)), to); err != nil {
				return err
			}
		}
		return nil
	})
	return built, err
}

// CheckPatched is Check in the same way.
func (p *Project) CheckPatched(ctx context.Context, patches []string) (v *Checked, err error) {
	err = p.patched(ctx, patches, func(q *Project) error {
		if v, err = q.Check(ctx); err == nil {
			v.Directory = p.Dir
		}
		return err
	})
	return v, err
}

// patched does work in a patched copy of the tree.
func (p *Project) patched(ctx context.Context, patches []string, work func(q *Project) error) error {
	unlock, err := p.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	texts := make([][]byte, len(patches))
	for i, path := range patches {
		if texts[i], err = patch.ReadText(ctx, path); err != nil {
			return err
		}
	}
	q, remove, err := p.Scratch(ctx)
	if err != nil {
		return err
	}
	defer remove()
	for i, path := range patches {
		if err := q.apply(ctx, path, texts[i]); err != nil {
			return err
		}
	}
	return work(q)
}

// patchedPrefix begins the names of the copies, of which one can be left when a machine goes down.
const patchedPrefix = "patched-"

// Scratch is a copy of the working directory, for trying, until it is removed. Call it locked.
func (p *Project) Scratch(ctx context.Context) (q *Project, remove func(), err error) {
	c := *p
	left, err := filepath.Glob(p.state(patchedPrefix + "*")) // by one that was killed: who has the lock is alone here
	if err != nil {
		return nil, nil, err
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return nil, nil, err
		}
	}
	if c.Dir, err = os.MkdirTemp(p.state(), patchedPrefix); err != nil {
		return nil, nil, err
	}
	remove = func() { os.RemoveAll(c.Dir) }
	if err := p.copyTo(ctx, c.Dir); err != nil {
		remove()
		return nil, nil, err
	}
	return &c, remove, nil
}

// copyTo copies the tree and what init left for builds, but not what builds made.
func (p *Project) copyTo(ctx context.Context, dir string) error {
	for from, to := range map[string]string{p.Dir: dir, p.state(): filepath.Join(dir, StateDir)} {
		entries, err := os.ReadDir(from)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		args := []string{"-a", "-t", to, "--"}
		for _, e := range entries {
			name := e.Name()
			built := slices.Contains([]string{lockFile, editedFile, "edited", "edited-sidecar", "module", "module-bench"}, name) ||
				strings.HasPrefix(name, patchedPrefix)
			if from == p.Dir && name != StateDir || from != p.Dir && !built {
				args = append(args, filepath.Join(from, name))
			}
		}
		cmd := exec.CommandContext(ctx, "cp", args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return errors.New("copying the tree: " + strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// apply applies a patch to the tree, all of it or nothing.
func (p *Project) apply(ctx context.Context, path string, text []byte) error {
	// A directory above that is git's is not meant.
	_, err := p.Git().With("GIT_CEILING_DIRECTORIES="+filepath.Dir(p.Dir)).Feed(ctx, text, "apply", "-")
	var failed *git.Error
	if errors.As(err, &failed) && git.ExitCode(err) != 0 {
		why, _, _ := strings.Cut(strings.TrimPrefix(failed.Said, "error: "), "\n")
		return Errorf("%s does not apply: %s", path, strings.Replace(why, "<stdin>", path, 1))
	}
	return err
}
