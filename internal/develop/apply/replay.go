// SPDX-License-Identifier: BSD-3-Clause

package apply

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/patch"
	"plugsched/internal/develop/project"
	"plugsched/internal/kernel/fetch"
)

// piece is a part of a patch while it is decided on.
type piece struct {
	Part
	patch *patch.Patch
	file  *patch.File
	hunk  *patch.Hunk // nil: all that the patch does to the file
	place *patch.Place
	// dropped pieces are left out, for the reason that their verdict says.
	dropped bool
	// elsewhere is a piece of a file that the tree does not have: its verdict stands.
	elsewhere bool
}

// content is what a file of the tree becomes.
type content struct {
	text *patch.Text
	gone bool
}

// series is patches on their way into a tree.
type series struct {
	p       *project.Project // the copy that is worked on
	target  *fetch.Target
	kernel  *bind.Kernel
	patches []*patch.Patch
	pieces  []*piece
	// foreign are hunks that are left out from the start, with their verdicts.
	foreign map[*patch.Hunk]Part
	// options are the lines that options add to the header that all files get.
	options string
	// was are the texts of the copy's files that were written, as they were before; nil for none.
	was map[string]*string
	// outer are the files that the tree does not have, by the paths that the patches have given them; nil for none any more.
	outer map[string]*outer

	files   map[string]*content        // that have been touched
	changed []map[string]patch.Version // by each patch
	gone    []map[string]bool          // files that it removes
	rest    []bind.Refusal             // of a build, about no piece in particular
}

// tree returns a file of the tree as it is by now, nil if there is none.
func (s *series) tree(path string) (*content, error) {
	if c := s.files[path]; c != nil {
		if c.gone {
			return nil, nil
		}
		return c, nil
	}
	was, err := s.pristine(path)
	if was == nil || err != nil {
		return nil, err
	}
	t := *was
	if path == optionsHeader && s.options != "" {
		t = withOptions(t, s.options)
	}
	return &content{text: patch.NewText(t)}, nil
}

// pristine returns a file's text before the patches, nil if there is none.
func (s *series) pristine(path string) (*string, error) {
	if was, written := s.was[path]; written {
		return was, nil
	}
	if there, err := s.regular(path); !there || err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(s.p.Dir, path))
	t := string(text)
	return &t, err
}

// regular reports that there is a file. What a link leads to, there or on the way, is nothing of the copy's, and its text is none
// of the tree's.
func (s *series) regular(path string) (bool, error) {
	for at, rest, more := "", path, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		at = filepath.Join(at, name)
		st, err := os.Lstat(filepath.Join(s.p.Dir, at))
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			return false, nil
		case err != nil:
			return false, err
		case !more && !st.Mode().IsRegular(), more && st.Mode()&os.ModeSymlink != 0:
			return false, project.Errorf("%s: is no regular file, and %s is to be patched: put one there", at, path)
		}
	}
	return true, nil
}

// write brings the copy of the tree to where the patches lead.
func (s *series) write() error {
	paths := map[string]bool{}
	for path := range s.files {
		paths[path] = true
	}
	if s.options != "" {
		paths[optionsHeader] = true
	}
	for path := range s.was {
		paths[path] = true
	}
	for path := range paths {
		was, err := s.pristine(path)
		if err != nil {
			return err
		}
		if s.was == nil {
			s.was = map[string]*string{}
		}
		s.was[path] = was
		c, err := s.tree(path)
		switch {
		case err != nil:
		case c == nil:
			err = folder.Remove(filepath.Join(s.p.Dir, path))
		default:
			err = folder.Write(s.p.Dir, path, []byte(c.text.String()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replay puts into the tree's texts what is not dropped, patch by patch.
func (s *series) replay() error {
	s.files, s.changed, s.gone = map[string]*content{}, nil, nil
	for _, p := range s.patches {
		before := map[string]string{}
		gone := map[string]bool{}
		for _, c := range s.files {
			if !c.gone {
				c.text.Next()
			}
		}
		for _, f := range p.Files {
			list, err := s.of(p, f)
			if err != nil {
				return err
			}
			if err := s.change(f, list, before); err != nil {
				return err
			}
		}
		versions := map[string]patch.Version{}
		for path, was := range before {
			v := patch.Version{Was: was}
			if c := s.files[path]; c.gone {
				gone[path] = true
			} else {
				v.Is = c.text.String()
			}
			if v.Was != v.Is {
				versions[path] = v
			}
		}
		s.changed, s.gone = append(s.changed, versions), append(s.gone, gone)
	}
	return nil
}

// of returns the pieces of a file's change, which are made the first time.
func (s *series) of(p *patch.Patch, f *patch.File) (out []*piece, err error) {
	for _, x := range s.pieces {
		if x.file == f {
			out = append(out, x)
		}
	}
	if out != nil {
		return out, nil
	}
	ours, err := s.ours(f)
	if err != nil {
		return nil, err
	}
	switch {
	case !ours:
		if out, err = s.outside(f); err != nil {
			return nil, err
		}
		for _, x := range out {
			x.elsewhere = true
		}
	case f.Binary:
		out = []*piece{{Part: Part{File: f.Path(), Verdict: Cannot, Why: "is no text", Do: "add the file by hand"}, elsewhere: true}}
	case !slices.ContainsFunc(f.Hunks, func(h *patch.Hunk) bool { return s.foreign[h].Verdict != Irrelevant }) && len(f.Hunks) > 0:
		out = []*piece{{Part: Part{File: f.Path(), Verdict: Irrelevant, Why: s.foreign[f.Hunks[0]].Why}, elsewhere: true}}
	case len(f.Hunks) == 0:
		out = []*piece{{Part: Part{File: f.Path()}}}
	}
	for _, h := range f.Hunks {
		if !ours || len(out) > 0 && out[0].hunk == nil {
			break
		}
		x := &piece{Part: Part{File: f.Path()}, hunk: h}
		if is, foreign := s.foreign[h]; foreign {
			x.Line, x.Verdict, x.Why, x.Do, x.dropped = h.Old, is.Verdict, is.Why, is.Do, true
		}
		out = append(out, x)
	}
	for _, x := range out {
		x.patch, x.file = p, f
	}
	s.pieces = append(s.pieces, out...)
	return out, nil
}

// ours reports a file that the tree has, or gets: one of the scheduler's own directory, or a new header.
func (s *series) ours(f *patch.File) (bool, error) {
	for _, path := range []string{f.Old, f.New} {
		if path == "" {
			continue
		}
		if strings.HasPrefix(path, project.SchedDir+"/") {
			return true, nil
		}
		if c, err := s.tree(path); c != nil || err != nil {
			return c != nil, err
		}
	}
	header := strings.HasPrefix(f.New, "include/") || strings.HasPrefix(f.New, "arch/"+s.target.KernelArch+"/include/")
	return f.Old == "" && header && strings.HasSuffix(f.New, ".h") && !folder.Exists(filepath.Join(s.target.Source, f.New)), nil
}

// change makes a file's change.
func (s *series) change(f *patch.File, list []*piece, before map[string]string) error {
	if len(list) == 0 || list[0].elsewhere {
		return nil
	}
	if !slices.ContainsFunc(list, func(x *piece) bool { return !x.dropped }) {
		for _, x := range list {
			x.Applied = false
		}
		return nil
	}
	c, err := s.tree(cmp.Or(f.Old, f.New))
	if err != nil {
		return err
	}
	if c == nil && f.Old != "" {
		if moved, err := s.tree(f.New); f.New != f.Old && f.New != "" && moved != nil && err == nil && len(f.Hunks) == 0 {
			list[0].Verdict, list[0].Applied = Already, false
			return nil
		}
		return s.moved(f, list, before)
	}
	was := ""
	if c == nil {
		c = &content{text: patch.NewText("")}
	} else {
		was = c.text.String()
	}
	touch := func(path, text string) {
		if _, ok := before[path]; !ok {
			before[path] = text
		}
	}
	another := f.Old != "" && f.New != "" && f.Old != f.New
	if another {
		if there, err := s.tree(f.New); there != nil || err != nil {
			if err == nil {
				taken(list, f, was, there.text.String())
			}
			return err
		}
	}
	next := &content{text: c.text}
	if f.New == "" || f.Copy {
		next.text = patch.NewText(was)
	}
	for _, x := range list {
		if x.hunk != nil {
			x.put(next.text, f.Path())
		}
	}
	whole := !slices.ContainsFunc(list, func(x *piece) bool { return x.Verdict.lacks() })
	switch {
	case f.New == "" && f.Old != "":
		if whole && !slices.ContainsFunc(list, func(x *piece) bool { return x.dropped }) {
			touch(f.Old, was)
			s.files[f.Old] = &content{gone: true}
			return nil
		}
		// A file of which something is left stays as it is.
		for _, x := range list {
			x.Applied = false
		}
		return nil
	case another:
		if x := list[0]; x.hunk == nil || x.Verdict == Applies {
			x.Verdict, x.Applied, x.Why = Applies, true, "was "+f.Old
			if f.Copy {
				x.Why = "is a copy of " + f.Old
			}
		}
		touch(f.New, "")
		s.files[f.New] = next
		if !f.Copy {
			touch(f.Old, was)
			s.files[f.Old] = &content{gone: true}
		}
		return nil
	}
	if x := list[0]; x.hunk == nil && !x.dropped { // a file without a text, or one that gets another mode
		x.Verdict = Irrelevant
		x.Why = "changes no text"
		return nil
	}
	touch(f.Path(), was)
	s.files[f.Path()] = next
	return nil
}

// taken judges the pieces of a file that is to get another name, or a copy, where there is a file of that name: a copy can be
// there already, and anything else would be lost.
func taken(list []*piece, f *patch.File, was, there string) {
	t := patch.NewText(was)
	for _, x := range list {
		if x.hunk != nil {
			x.put(t, f.New)
		}
	}
	done := f.Copy && t.String() == there
	for _, x := range list {
		if x.Applied, x.place = false, nil; x.dropped {
			continue
		}
		if x.File, x.Verdict, x.Why, x.Do = f.New, Already, "", ""; !done {
			x.Verdict, x.Why, x.Do = Rejected, "is to come from "+f.Old+", and there is such a file", "adapt the patch to this kernel's files"
		}
	}
}

// put puts a piece's hunk into a text.
func (x *piece) put(t *patch.Text, path string) {
	if x.dropped {
		x.Applied = false
		return
	}
	place, err := t.Put(x.hunk)
	x.at(place, err, path)
}

// at notes where a hunk went.
func (x *piece) at(place *patch.Place, err error, path string) {
	x.File, x.place, x.Applied, x.Line = path, place, false, x.hunk.Old
	var mismatch *patch.MismatchError
	switch {
	case errors.As(err, &mismatch):
		x.Verdict, x.Why = Rejected, mismatch.Error()
		x.Function, x.place = x.hunk.Function(), nil
		if mismatch.Line > 0 {
			x.Line = mismatch.Line
		}
		x.Do = "adapt the patch to this kernel's text"
	case place.Already:
		x.Verdict, x.Line, x.Why = Already, place.From, ""
	default:
		x.Verdict, x.Line, x.Applied, x.Why = Applies, place.From, true, ""
	}
}

// moved deals with a file of the scheduler that this kernel does not have. A later kernel may have put a part of
// another file there: what is to be found in one place alone is changed in that.
func (s *series) moved(f *patch.File, list []*piece, before map[string]string) error {
	own, err := folder.Files(filepath.Join(s.p.Dir, project.SchedDir))
	if err != nil {
		return err
	}
	for _, x := range list {
		if x.dropped {
			x.Applied = false
			continue
		}
		x.File, x.Line, x.Verdict, x.Why = f.Old, 0, Rejected, "this kernel has no such file"
		x.Do = "adapt the patch to this kernel's text"
		if x.hunk == nil {
			continue
		}
		type spot struct {
			path string
			c    *content
		}
		var spots []spot
		for _, abs := range own {
			rel, _ := filepath.Rel(s.p.Dir, abs)
			if filepath.Ext(rel) != filepath.Ext(f.Old) {
				continue
			}
			c, err := s.tree(rel)
			if err != nil {
				return err
			}
			if c != nil && c.text.Only(x.hunk) {
				spots = append(spots, spot{rel, c})
			}
		}
		if len(spots) != 1 {
			if at := s.home(x.hunk.Function()); at != "" {
				x.Why += ": its " + x.hunk.Function() + " is in " + at
			}
			continue
		}
		at := spots[0]
		if _, ok := before[at.path]; !ok {
			before[at.path] = at.c.text.String()
		}
		s.files[at.path] = at.c
		place, err := at.c.text.Anywhere(x.hunk)
		x.at(place, err, at.path)
		if x.Verdict == Applies || x.Verdict == Already {
			x.Why = "this kernel has no " + f.Old + ", and that part of it there"
			x.Do = ""
		}
	}
	return nil
}

// home is where this kernel has a function of the scheduler, "" if it has none of that name.
func (s *series) home(function string) string {
	if function == "" {
		return ""
	}
	b := s.kernel.Boundary
	for _, f := range b.Find(function) {
		return f.DeclFile
	}
	for _, a := range b.FindAbsent(function) {
		return a.DeclFile
	}
	return ""
}
