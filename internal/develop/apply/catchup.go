// SPDX-License-Identifier: BSD-3-Clause

package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/develop/edits"
	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/patch"
	"plugsched/internal/develop/project"
	"plugsched/internal/kernel/fetch"
)

// CatchUp takes over what a later kernel of the same series changed in the scheduler, whose source is in a directory: as one
// commit, without what cannot be applied.
func CatchUp(ctx context.Context, p *project.Project, source string, o Options) (*Application, error) {
	t, err := p.Target()
	if err != nil {
		return nil, err
	}
	from, err := fetch.SourceVersion(t.Source)
	if err != nil {
		return nil, err
	}
	to, err := fetch.SourceVersion(source)
	if err != nil {
		return nil, err
	}
	if fetch.Series(from) != fetch.Series(to) {
		return nil, project.Errorf("%s: is Linux %s, of another series than %s: `plugsched apply` takes single changes of such a kernel", source,
			to, t.Release)
	}
	if fetch.CompareVersions(from, to) > 0 {
		return nil, project.Errorf("%s: is Linux %s, and the kernel at hand is later: %s", source, to, from)
	}
	pt, files, err := difference(ctx, p, t.Source, source)
	if err != nil {
		return nil, err
	}
	pt.From, pt.Subject = source, "Catch up with Linux "+to
	pt.Body = fmt.Sprintf("What changed in the scheduler since %s, from the source of both.", from)
	if len(pt.Files) == 0 {
		same := "the scheduler of Linux " + to + " is that of " + from
		return &Application{Release: t.Release, Patches: []*PatchReport{}, Notes: []string{same}}, nil
	}
	o.Partial = true
	o.foreign, err = foreign(ctx, p, pt, files)
	if err != nil {
		return nil, err
	}
	return Patches(ctx, p, []*patch.Patch{pt}, o)
}

// difference is what two sources differ by, in the scheduler's directory and in what else the tree has of
// the kernel's source.
func difference(ctx context.Context, p *project.Project, from, to string) (*patch.Patch, map[string]patch.Version, error) {
	listed, err := p.Git().Output(ctx, "ls-files", "-z")
	if err != nil {
		return nil, nil, err
	}
	paths := strings.Split(strings.TrimSuffix(listed, "\x00"), "\x00")
	for _, dir := range []string{from, to} {
		own, err := folder.Files(filepath.Join(dir, project.SchedDir))
		if err != nil {
			return nil, nil, err
		}
		for _, path := range own {
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return nil, nil, err
			}
			paths = append(paths, rel)
		}
	}
	slices.Sort(paths)
	out, files := &patch.Patch{}, map[string]patch.Version{}
	for _, rel := range slices.Compact(paths) {
		v, differs, err := versionsOf(filepath.Join(from, rel), filepath.Join(to, rel))
		if err != nil {
			return nil, nil, err
		}
		if !differs {
			continue
		}
		text, err := diff(ctx, rel, filepath.Join(from, rel), filepath.Join(to, rel))
		if err != nil {
			return nil, nil, err
		}
		list, err := patch.Parse(rel, text, 1)
		if err != nil {
			return nil, nil, err
		}
		out.Files = append(out.Files, list...)
		files[rel] = v
	}
	return out, files, nil
}

// versionsOf reads a file of two sources. What is in neither, or not in both outside of the scheduler, is none of theirs.
func versionsOf(from, to string) (v patch.Version, differs bool, err error) {
	was, errWas := os.ReadFile(from)
	is, errIs := os.ReadFile(to)
	for _, err := range []error{errWas, errIs} {
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return v, false, err
		}
	}
	v = patch.Version{Was: string(was), Is: string(is)}
	return v, v.Was != v.Is, nil
}

// diff compares two files, of which one need not be there.
func diff(ctx context.Context, name, from, to string) (string, error) {
	label := func(path, side string) string {
		if !folder.Exists(path) {
			return "/dev/null"
		}
		return side + "/" + name
	}
	cmd := exec.CommandContext(ctx, "diff", "-upN", "--label", label(from, "a"), "--label", label(to, "b"), "--", from, to)
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	var differ *exec.ExitError
	if err != nil && !(errors.As(err, &differ) && differ.ExitCode() == 1) {
		return "", fmt.Errorf("diff %s %s: %w", from, to, err)
	}
	return string(out), nil
}

// foreign are the hunks of headers that no change of the scheduler's own files needs, with their verdicts. One of what the
// scheduler uses may be the half of a change whose other half is in the rest of that kernel: it is not taken, but told.
func foreign(ctx context.Context, p *project.Project, pt *patch.Patch, files map[string]patch.Version) (map[*patch.Hunk]Part, error) {
	var hunks []*patch.Hunk
	of := map[*patch.Hunk]*patch.File{}
	for _, f := range pt.Files {
		for _, h := range f.Hunks {
			hunks = append(hunks, h)
			of[h] = f
		}
	}
	groups, err := connected(p, hunks, of, files)
	if err != nil {
		return nil, err
	}
	used, err := usedWords(ctx, p)
	if err != nil {
		return nil, err
	}
	out := map[*patch.Hunk]Part{}
	for _, group := range groups {
		if slices.ContainsFunc(group, func(h *patch.Hunk) bool {
			path := of[h].Path()
			return strings.HasPrefix(path, project.SchedDir+"/") || strings.HasSuffix(path, ".c")
		}) {
			continue
		}
		for _, h := range group {
			path := of[h].Path()
			out[h] = Part{Verdict: Irrelevant, Why: "is for other parts of the kernel"}
			if name := uses(used, path, files[path], h); name != "" {
				out[h] = Part{Verdict: Cannot, Why: "changes what the scheduler uses (" + name + "), but goes with none of its own changes",
					Do: "look whether it is whole without the rest of that kernel, and give it to `plugsched apply`"}
			}
		}
	}
	return out, nil
}

// usedWords are the words that the code of the scheduler and of sidecars has.
func usedWords(ctx context.Context, p *project.Project) (map[string]bool, error) {
	listed, err := p.Git().Output(ctx, "ls-files", "-z")
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, rel := range strings.Split(listed, "\x00") {
		ext := filepath.Ext(rel)
		if ext != ".c" && (ext != ".h" || !strings.HasPrefix(rel, project.SchedDir+"/")) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(p.Dir, rel))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, it := range edits.Scan(rel, string(text)) {
			it.Words(func(w string) bool { used[w] = true; return true })
		}
	}
	return used, nil
}

// uses returns what of a header is used among what a hunk changes, or what else of the header needs that; "" if nothing is.
func uses(used map[string]bool, path string, v patch.Version, h *patch.Hunk) string {
	src := &edits.Set{}
	src.Compare(path, v.Was, v.Is)
	from, to := h.Edited()
	var names []string
	for _, c := range src.Changes {
		switch {
		case c.New:
		case c.Gone: // its lines are those of the old text
			if slices.ContainsFunc(h.Edits('-'), func(l string) bool { return edits.Mention(l, tag(c.Name)) > 0 }) {
				names = append(names, c.Name)
			}
		case c.Line <= to && from <= c.Last():
			names = append(names, c.Name)
			if c.Kind == edits.Enum { // each of its constants is used by itself
				names = append(names, namesRE.FindAllString(strings.Join(slices.Concat(h.Edits('+'), h.Edits('-')), " "), -1)...)
			}
		}
	}
	items := edits.Scan(path, v.Is)
	seen := map[string]bool{}
	for ; len(names) > 0; names = names[1:] {
		name := tag(names[0])
		switch {
		case seen[name], name == "":
			continue
		case used[name]:
			return name
		}
		seen[name] = true
		for _, it := range items {
			if it.Mentions(name) {
				names = append(names, it.Name)
			}
		}
	}
	return ""
}

// tag is the x of "struct x", and any other name itself.
func tag(name string) string { return name[strings.LastIndexByte(name, ' ')+1:] }

// connected parts the hunks of a difference of two sources into its changes.
func connected(p *project.Project, hunks []*patch.Hunk, of map[*patch.Hunk]*patch.File,
	files map[string]patch.Version) ([][]*patch.Hunk, error) {
	others, err := wordsBut(p, func(rel string) bool { _, changed := files[rel]; return changed })
	if err != nil {
		return nil, err
	}
	keys := bonds(files, func(h *patch.Hunk) []span {
		from, to := h.Edited()
		return []span{{of[h].Path(), from, to}}
	})
	return patch.Connect(hunks, slices.Collect(maps.Values(files)), keys, others), nil
}
