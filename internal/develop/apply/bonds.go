// SPDX-License-Identifier: BSD-3-Clause

package apply

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"plugsched/internal/develop/edits"
	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/patch"
	"plugsched/internal/develop/project"
	"plugsched/internal/kernel/fetch"
)

// leave leaves pieces out, and what belongs to them. It reports that there was such.
func (s *series) leave(some []*piece) (more bool, err error) {
	bound, err := s.bound(some)
	if err != nil {
		return false, err
	}
	for _, x := range some {
		x.dropped = true
	}
	for x, to := range bound {
		x.dropped, x.Applied = true, false
		x.Verdict, x.Why, x.Do, x.Sidecars, x.Setting = Cannot, fmt.Sprintf("belongs to %s:%d", to.File, to.Line), "", nil, ""
	}
	return len(bound) > 0, nil
}

// settle is replay until nothing is left of changes of which the text has no place for a part. What is gone with one can be
// what another patch goes on from.
func (s *series) settle() error {
	for {
		if err := s.replay(); err != nil {
			return err
		}
		var lost []*piece
		for _, x := range s.pieces {
			if x.hunk != nil && !x.elsewhere && !x.dropped && x.Verdict.lacks() {
				lost = append(lost, x)
			}
		}
		if more, err := s.leave(lost); err != nil || !more {
			return err
		}
	}
}

// bound are the applied pieces that only make sense with one of some: those of the same patch that Connect finds, each with
// the one that it belongs to.
func (s *series) bound(some []*piece) (map[*piece]*piece, error) {
	out := map[*piece]*piece{}
	for n, p := range s.patches {
		var hunks []*patch.Hunk
		of := map[*patch.Hunk]*piece{}
		wanted := false
		for _, x := range s.pieces {
			if x.patch == p && x.hunk != nil && !x.elsewhere && !x.dropped {
				hunks = append(hunks, x.hunk)
				of[x.hunk] = x
				wanted = wanted || slices.Contains(some, x)
			}
		}
		if !wanted {
			continue
		}
		others, err := wordsBut(s.p, func(rel string) bool { _, changed := s.changed[n][rel]; return changed })
		if err != nil {
			return nil, err
		}
		at := map[*patch.Hunk][]span{}
		for h, x := range of {
			if x.place != nil {
				at[h] = []span{{x.File, x.place.From, x.place.To}}
			} else if at[h], err = s.meant(x, s.changed[n]); err != nil {
				return nil, err
			}
		}
		keys := bonds(s.changed[n], func(h *patch.Hunk) []span { return at[h] })
		versions := slices.Collect(maps.Values(s.changed[n]))
		for _, group := range patch.Connect(hunks, versions, keys, others) {
			i := slices.IndexFunc(group, func(h *patch.Hunk) bool { return slices.Contains(some, of[h]) })
			for _, h := range group {
				if i >= 0 && of[h].Applied && !slices.Contains(some, of[h]) {
					out[of[h]] = of[group[i]]
				}
			}
		}
	}
	return out, nil
}

// span is lines of a file.
type span struct {
	file     string
	from, to int
}

// meant are the functions that a piece would edit whose hunk went nowhere, as they are in the files that the patch changes:
// those that the hunk names, or else what is at its line. Of a file that this kernel does not have, they are in others.
func (s *series) meant(x *piece, files map[string]patch.Version) (out []span, err error) {
	names, told := edited(x.hunk)
	if !told {
		return []span{{x.File, x.Line, x.Line}}, nil
	}
	here, err := s.tree(x.File)
	if err != nil {
		return nil, err
	}
	for path, v := range files {
		if here != nil && path != x.File {
			continue
		}
		for _, it := range edits.Scan(path, v.Is) {
			if it.Kind == edits.Function && (slices.Contains(names, it.Name) || slices.Contains(names, it.Macro+"("+it.Name)) {
				out = append(out, span{path, it.Line, it.Last()})
			}
		}
	}
	return out, nil
}

var (
	functionHeadRE = regexp.MustCompile(`^(?:[A-Za-z_][\w\s*]*[\s*])?(\w+)\s*\((\w*)`)
	callRE         = regexp.MustCompile(`\)\s*;\s*$`) // or a declaration
)

// edited are the functions that a hunk says that it edits, one that a macro makes as MACRO(name. A hunk without a function's
// head or end in front of an edit does not tell.
func edited(h *patch.Hunk) (names []string, told bool) {
	in := headOf(h.Section)
	told = true
	for _, l := range h.Lines {
		if head := headOf(l.Text); head != nil {
			in = head
		}
		if l.Op != ' ' {
			names, told = append(names, in...), told && in != nil
		}
		if strings.HasPrefix(l.Text, "}") {
			in = []string{}
		}
	}
	return names, told
}

// headOf are the names that a function can have whose head begins in a line, nil if none does.
func headOf(line string) []string {
	m := functionHeadRE.FindStringSubmatch(line)
	if m == nil || callRE.MatchString(line) {
		return nil
	}
	return []string{m[1], m[1] + "(" + m[2]}
}

// bonds tells what connects a hunk with others of a change: the functions that it edits, and those that it mentions
// and that get other arguments or results. where is what it edits, behind the change.
func bonds(files map[string]patch.Version, where func(*patch.Hunk) []span) func(*patch.Hunk) []string {
	changed := map[string][]*edits.Change{}
	var heads []string
	for path, v := range files {
		src := &edits.Set{}
		src.Compare(path, v.Was, v.Is)
		changed[path] = src.Changes
		for _, c := range src.Changes {
			if c.HeadDiffers() {
				heads = append(heads, c.Name)
			}
		}
	}
	return func(h *patch.Hunk) (out []string) {
		for _, at := range where(h) {
			for _, c := range changed[at.file] {
				if c.Kind == edits.Function && !c.Gone && c.Line <= at.to && at.from <= c.Last() {
					out = append(out, at.file+":"+c.Name)
				}
			}
		}
		for _, l := range slices.Concat(h.Edits('+'), h.Edits('-')) {
			for _, w := range namesRE.FindAllString(l, -1) {
				if slices.Contains(heads, w) {
					out = append(out, w)
				}
			}
		}
		return out
	}
}

// wordsBut tells which words the tree's files have, but for some.
func wordsBut(p *project.Project, not func(rel string) bool) (func(word string) bool, error) {
	known := map[string]bool{}
	for _, dir := range fetch.CoreDirs {
		files, err := folder.Files(filepath.Join(p.Dir, dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		for _, path := range files {
			rel, err := filepath.Rel(p.Dir, path)
			if err != nil {
				return nil, err
			}
			if not(rel) {
				continue
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			for _, w := range namesRE.FindAllString(string(text), -1) {
				known[w] = true
			}
		}
	}
	return func(w string) bool { return known[w] }, nil
}
