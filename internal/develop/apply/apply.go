// SPDX-License-Identifier: BSD-3-Clause

// Package apply makes commits of others' patches in a working directory, as far as they concern the scheduler of its kernel, and
// says of each part what becomes of it. The differences between two kernels are such a patch.
package apply

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/edits"
	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/patch"
	"plugsched/internal/develop/project"
	"plugsched/internal/kernel/fetch"
)

// Options say how patches are applied; catching up is always Partial.
type Options struct {
	Partial bool     // leave out what cannot be applied
	DryRun  bool     // only say what would become of them
	Options []string // OPTION or OPTION=VALUE, defined for all files

	foreign map[*patch.Hunk]Part // see series
}

// Read reads what `plugsched apply` names. Patches whose names of files have nothing in front of them
// are told by the tree, and by the kernel's source.
func Read(ctx context.Context, p *project.Project, paths []string) (out []*patch.Patch, err error) {
	t, err := p.Target()
	if err != nil {
		return nil, err
	}
	known := func(path string) bool {
		return folder.Exists(filepath.Join(p.Dir, path)) || folder.Exists(filepath.Join(t.Source, path))
	}
	for _, path := range paths {
		list, err := patch.Read(ctx, path, os.Stdin, known)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// Patches makes commits of patches, as far as they concern the scheduler. All is decided on a copy of the tree, which is
// compiled; the tree itself changes at the end, at once. Patches that cannot be applied whole are an
// *IncompleteError, unless parts may be left out; the report is returned in any case.
func Patches(ctx context.Context, p *project.Project, patches []*patch.Patch, o Options) (*Application, error) {
	unlock, err := p.Lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	lines, err := optionLines(o.Options)
	if err != nil {
		return nil, err
	}
	t, err := p.Target()
	if err != nil {
		return nil, err
	}
	if err := committed(ctx, p, patches, lines != ""); err != nil {
		return nil, err
	}
	base, err := p.Git().Output(ctx, "rev-parse", "HEAD")
	if err != nil {
		return nil, err
	}
	q, remove, err := p.Scratch(ctx)
	if err != nil {
		return nil, err
	}
	defer remove()
	if err := apart(ctx, p, q); err != nil {
		return nil, err
	}
	if len(p.Sidecars) > 0 {
		if err := q.InitLocked(ctx, t); err != nil {
			return nil, err
		}
	}
	s, err := newSeries(q, t, patches, lines)
	if err != nil {
		return nil, err
	}
	s.foreign = o.foreign
	a, err := s.decide(ctx, o.Partial)
	if err != nil || o.DryRun {
		return a, err
	}
	if len(p.Sidecars) == 0 {
		return a, commitAll(ctx, p, s, a)
	}
	return a, commitSidecars(ctx, p, t, s, a, base)
}

// commitSidecars is commitAll behind what makes sidecars of functions. What can be known to be in the way of the commits is
// looked for before that, since the sidecars stay.
func commitSidecars(ctx context.Context, p *project.Project, t *fetch.Target, s *series, a *Application, base string) error {
	if err := committed(ctx, p, s.patches, s.options != ""); err != nil {
		return err
	}
	head, err := p.Git().Output(ctx, "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	if head != base {
		return anotherCommit(p, head)
	}
	if err := p.InitLocked(ctx, t); err != nil {
		return err
	}
	if err := commitAll(ctx, p, s, a); err != nil {
		return fmt.Errorf("no patch was committed, but the sidecars stay in %s, and their files in the tree: %w", project.ConfigFile, err)
	}
	return nil
}

// apart refuses a working directory of which a copy has the same index and branches, as a linked worktree has.
func apart(ctx context.Context, p, q *project.Project) error {
	out, err := q.Git().Output(ctx, "rev-parse", "--absolute-git-dir", "--show-toplevel")
	if err != nil {
		return err
	}
	if out != filepath.Join(q.Dir, ".git")+"\n"+q.Dir {
		where, _, _ := strings.Cut(out, "\n")
		return project.Errorf("%s: its git repository is in another place (%s), which a copy for trying would change: "+
			"use one with a .git of its own", p.Dir, where)
	}
	return nil
}

// committed refuses to touch files with changes that are not committed, or that somebody merges.
func committed(ctx context.Context, p *project.Project, patches []*patch.Patch, options bool) error {
	if made, err := p.Git().Revision(ctx, "HEAD"); err != nil || made == "" {
		if err == nil {
			err = project.Errorf("%s: has no git repository with a commit: patches become commits", p.Dir)
		}
		return err
	}
	args := []string{"status", "--porcelain", "--untracked-files=all", "--", project.SchedDir}
	for _, pt := range patches {
		for _, f := range pt.Files {
			for _, name := range []string{f.Old, f.New} {
				if name != "" && !strings.HasPrefix(name, project.SchedDir+"/") {
					args = append(args, ":(literal)"+name)
				}
			}
		}
	}
	if options {
		args = append(args, optionsHeader)
	}
	out, err := p.Git().Output(ctx, args...)
	if err != nil || out == "" {
		return err
	}
	first, _, _ := strings.Cut(out, "\n")
	_, file, _ := strings.Cut(first, " ") // behind the letters of its state
	return project.Errorf("%s: %s has changes that are not committed: commit or stash them first", p.Dir, strings.TrimSpace(file))
}

// newSeries begins with patches for a tree.
func newSeries(p *project.Project, t *fetch.Target, patches []*patch.Patch, options string) (*series, error) {
	kernel, err := p.Kernel()
	if err != nil {
		return nil, err
	}
	return &series{p: p, target: t, kernel: kernel, patches: patches, options: options}, nil
}

// decide finds out what can be applied: by the text, then by compiling it. With partial it leaves out what cannot
// be, and what belongs to that, until the rest can.
func (s *series) decide(ctx context.Context, partial bool) (*Application, error) {
	var j *project.Judgement
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		begin := s.replay
		if partial {
			begin = s.settle
		}
		if err := begin(); err != nil {
			return nil, err
		}
		if err := s.write(); err != nil {
			return nil, err
		}
		// With another boundary there is nothing to hold it against.
		if j = nil; !s.changes() || s.files[project.ConfigFile] != nil {
			break
		}
		incomplete := s.lacking()
		var err error
		if j, err = s.p.Judge(ctx); err != nil {
			return nil, err
		}
		if !partial {
			j.Refusals = slices.DeleteFunc(j.Refusals, s.told)
		}
		refusals := append(diagnosed(j.Errors), j.Refusals...)
		if len(refusals) == 0 || !partial && incomplete && j.Output != "" {
			break
		}
		refused, rest := s.refuse(refusals)
		s.rest = rest
		if !partial {
			if len(rest) > 0 || len(refused) == 0 {
				a := s.report(j)
				return a, &IncompleteError{a, unexplained(j, rest, s.lacking())}
			}
			break
		}
		if len(refused) == 0 {
			a := s.report(j)
			return a, &IncompleteError{a, "what is left of the patches is refused: " + unexplained(j, rest, false)}
		}
		if _, err := s.leave(refused); err != nil {
			return nil, err
		}
	}
	if j != nil {
		if err := s.leftOut(j.Unseen); err != nil {
			return nil, err
		}
	}
	a := s.report(j)
	if !partial && s.lacking() {
		return a, &IncompleteError{Application: a}
	}
	return a, nil
}

// unexplained is what a build said of no part in particular.
func unexplained(j *project.Judgement, rest []bind.Refusal, lacking bool) string {
	switch {
	case lacking:
		return "" // what is missing may be why
	case len(rest) > 0:
		return rest[0].String()
	}
	first, _, _ := strings.Cut(j.Output, "\n")
	return "it does not compile: " + first
}

// refuse gives the pieces that refusals are about their verdicts, the first one's if there are several, and returns them,
// and the refusals that are about none.
func (s *series) refuse(refusals []bind.Refusal) (refused []*piece, rest []bind.Refusal) {
	first := map[*piece]*bind.Refusal{}
	for i := range refusals {
		hit := s.blamed(&refusals[i])
		for _, x := range hit {
			if first[x] == nil {
				first[x] = &refusals[i]
				refused = append(refused, x)
			}
		}
		if len(hit) == 0 {
			rest = append(rest, refusals[i])
		}
	}
	for x, r := range first {
		x.refuse(r)
	}
	return refused, rest
}

// told reports a refusal for want of an option that a patch's Kconfig file has brought up.
func (s *series) told(r bind.Refusal) bool {
	m := defineRE.FindStringSubmatch(r.Do)
	return m != nil && slices.ContainsFunc(s.pieces, func(x *piece) bool {
		return x.elsewhere && strings.HasPrefix(x.Setting, m[1]+"=")
	})
}

// lacking reports that something is needed and not applied.
func (s *series) lacking() bool {
	return slices.ContainsFunc(s.pieces, func(x *piece) bool { return x.Verdict.lacks() })
}

// changes reports that the patches change the tree.
func (s *series) changes() bool {
	return s.options != "" || slices.ContainsFunc(s.changed, func(m map[string]patch.Version) bool { return len(m) > 0 })
}

// functions finds out which functions the pieces are in: what a patch names is the one that begins before it.
func (s *series) functions() {
	items := map[string][]*edits.Item{}
	for _, x := range s.pieces {
		if x.place == nil || x.elsewhere || filepath.Ext(x.File) != ".c" {
			continue
		}
		c := s.files[x.File]
		if c == nil || c.gone {
			continue
		}
		if items[x.File] == nil {
			items[x.File] = edits.Scan(x.File, c.text.String())
		}
		for _, it := range items[x.File] {
			if it.Kind == edits.Function && it.Line <= x.place.To && x.place.From <= it.Last() {
				x.Function = it.Name
				break
			}
		}
	}
}

// report says what becomes of the patches.
func (s *series) report(j *project.Judgement) *Application {
	s.functions()
	a := &Application{Release: s.target.Release, Effect: j != nil && j.Effect}
	for _, p := range s.patches {
		r := &PatchReport{From: p.From, Subject: p.Subject, Whole: true, Parts: []Part{}}
		for _, x := range s.pieces {
			if x.patch == p {
				r.Parts = append(r.Parts, x.Part)
				r.Whole = r.Whole && !x.Verdict.lacks()
			}
		}
		a.Patches = append(a.Patches, r)
	}
	switch {
	case j == nil && !s.changes():
		a.Notes = append(a.Notes, "nothing of it changes the scheduler's source here")
	case j == nil:
	case j.Output != "" && s.lacking():
		a.Notes = append(a.Notes, "what applies does not compile without the rest: "+unexplained(j, nil, false))
	case j.Output == "" && !j.Effect && len(j.Refusals) == 0:
		a.Notes = append(a.Notes, "nothing of it takes effect on this kernel: `plugsched build` refuses a tree that has no other change")
	}
	for _, r := range s.rest {
		a.Notes = append(a.Notes, "build refuses: "+r.String())
	}
	if slices.ContainsFunc(s.changed, func(m map[string]patch.Version) bool { _, ok := m[project.ConfigFile]; return ok }) {
		a.Notes = append(a.Notes, project.ConfigFile+" changes: run `plugsched init` again")
	}
	return a
}
