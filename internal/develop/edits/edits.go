// SPDX-License-Identifier: BSD-3-Clause

// Package edits says what a developer changed in C source, definition by
// definition and with the line, so that a refusal can point at the edit that
// caused it. What code came of it only the compiler knows: nothing here decides
// whether a change takes effect, but for definitions that leave no code, macros
// and exports among them.
package edits

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Change is an item that is new, gone or different.
type Change struct {
	*Item     // as it is now; as it was, if it is gone
	At    int // the first line that differs, in the old file if the item is gone
	New   bool
	Gone  bool
	was   []*Item
	is    []*Item
}

// Set is everything that differs between a developer's tree and the pristine one.
type Set struct {
	Files   []string // changed or new, relative to the tree; sorted
	New     []string // of these, without a pristine counterpart
	Changes []*Change
	Diffs   []*Diff // of those that are C

	items map[string][]*Item // of the changed files, and of what Add gave, by name
}

// Load compares the files below dirs of a tree with their pristine counterparts.
// pristine returns the path of a file's, "" if it has none.
func Load(ctx context.Context, tree string, dirs []string, pristine func(rel string) (string, error)) (*Set, error) {
	s := &Set{items: map[string][]*Item{}}
	for _, d := range dirs {
		err := filepath.WalkDir(filepath.Join(tree, d), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(tree, path)
			if err != nil {
				return err
			}
			was, err := pristine(rel)
			if err = errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			return s.file(path, rel, was)
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	slices.Sort(s.Files)
	return s, nil
}

func (s *Set) file(path, rel, pristine string) error {
	is, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var was []byte
	if pristine != "" {
		if was, err = os.ReadFile(pristine); err != nil {
			return err
		}
		if string(was) == string(is) {
			return nil
		}
	} else {
		s.New = append(s.New, rel)
	}
	s.Files = append(s.Files, rel)
	if isC(rel) {
		s.Compare(rel, string(was), string(is))
		s.Diffs = append(s.Diffs, NewDiff(rel, string(was), string(is)))
	}
	return nil
}

// OnlyRemarks reports a changed file of C in which only comments and white space differ.
func (s *Set) OnlyRemarks(file string) bool {
	return slices.ContainsFunc(s.Diffs, func(d *Diff) bool { return d.File == file && d.Same() })
}

func isC(name string) bool { return strings.HasSuffix(name, ".c") || strings.HasSuffix(name, ".h") }

// Compare adds the differences between two texts of a file.
func (s *Set) Compare(file, was, is string) {
	if s.items == nil {
		s.items = map[string][]*Item{}
	}
	type key struct {
		kind        Kind
		name, macro string
	}
	old, now := map[key][]*Item{}, map[key][]*Item{}
	var order []key
	for _, it := range Scan(file, was) {
		k := key{it.Kind, it.Name, it.Macro}
		old[k] = append(old[k], it)
	}
	for _, it := range Scan(file, is) {
		k := key{it.Kind, it.Name, it.Macro}
		if now[k] == nil {
			order = append(order, k)
		}
		now[k] = append(now[k], it)
		s.items[it.Name] = append(s.items[it.Name], it)
	}
	for _, k := range order {
		if c := compare(old[k], now[k]); c != nil {
			s.Changes = append(s.Changes, c)
		}
	}
	for _, it := range Scan(file, was) {
		k := key{it.Kind, it.Name, it.Macro}
		if old[k] != nil && now[k] == nil {
			s.Changes = append(s.Changes, &Change{Item: it, At: it.Line, Gone: true, was: old[k]})
			delete(old, k)
		}
	}
}

// Add makes the items of an unchanged file known to Cause.
func (s *Set) Add(file, text string) {
	for _, it := range Scan(file, text) {
		s.items[it.Name] = append(s.items[it.Name], it)
	}
}

// compare returns the change between the items of one name, nil if there is none.
func compare(was, is []*Item) *Change {
	if len(was) == 0 {
		return &Change{Item: is[0], At: is[0].Line, New: true, is: is}
	}
	for i, it := range is {
		if i >= len(was) {
			return &Change{Item: it, At: it.Line, was: was, is: is}
		}
		if line, differs := firstDifference(was[i], it); differs {
			return &Change{Item: it, At: line, was: was, is: is}
		}
	}
	if len(was) > len(is) {
		return &Change{Item: is[0], At: is[0].Line, was: was, is: is}
	}
	return nil
}

func firstDifference(was, is *Item) (line int, differs bool) {
	for i, t := range is.tokens {
		if i >= len(was.tokens) || was.tokens[i].text != t.text {
			return t.line, true
		}
	}
	if n := len(is.tokens); n < len(was.tokens) {
		return is.tokens[n-1].line, true
	}
	return is.Line, was.condition != is.condition
}

// Designated returns the members of a variable whose initializer gives them a word: m of `.m = word`.
func (s *Set) Designated(variable, word string) (out []string) {
	for _, it := range s.items[variable] {
		for i := 3; it.Kind == Variable && i < len(it.tokens); i++ {
			if t := it.tokens[i-3:]; t[0].text == "." && t[2].text == "=" && t[3].text == word {
				out = append(out, t[1].text)
			}
		}
	}
	return out
}

// Find returns the change of a name: of one of the given kinds if there is one,
// else of a macro's call that mentions it (DEFINE_PER_CPU(int, name)).
func (s *Set) Find(name string, kinds ...Kind) *Change {
	for _, c := range s.Changes {
		if c.Name == name && slices.Contains(kinds, c.Kind) {
			return c
		}
	}
	for _, c := range s.Changes {
		if (c.Kind == Call || c.Macro != "") && c.Mentions(name) {
			return c
		}
	}
	return nil
}

// Knows reports a function whose text the set has: without a Cause of its own, it
// is as it was.
func (s *Set) Knows(function string) bool {
	return slices.ContainsFunc(s.items[function], func(i *Item) bool { return i.Kind == Function })
}

// Cause is a change that makes the code of a function differ.
type Cause struct {
	*Change
	Path []string // from the function to what changed, through macros and inlined functions; nil for its own change
}

// Causes finds what can have made the code of a function differ: its own change, and
// those of what its text mentions, directly or through macros and functions that are
// inlined into it. A function that is only called, or whose address is taken, is none.
// Whether something that was found really made a difference only the compiler knows.
func (s *Set) Causes(function string, inlined func(name string) bool) []Cause {
	var out []Cause
	if c := s.Find(function, Function); c != nil && !c.Gone {
		out = append(out, Cause{c, nil})
	}
	type step struct {
		name string
		from *step
	}
	seen := map[string]bool{function: true}
	work := []*step{{name: function}}
	for len(work) > 0 {
		at := work[0]
		work = work[1:]
		copied := at.from == nil || inlined(at.name)
		if at.from != nil {
			if c := s.changed(at.name, copied); c != nil {
				var path []string
				for p := at; p.from != nil; p = p.from {
					path = append([]string{p.name}, path...)
				}
				out = append(out, Cause{c, path})
			}
		}
		for _, it := range s.items[at.name] {
			if it.Kind == Function && !copied {
				continue
			}
			it.Words(func(w string) bool {
				if !seen[w] {
					seen[w] = true
					work = append(work, &step{w, at})
				}
				return true
			})
		}
	}
	return out
}

// changed returns a change that a mention of name makes felt: a function's only where the
// function is inlined.
func (s *Set) changed(name string, inlined bool) *Change {
	for _, c := range s.Changes {
		if c.New || c.Gone || c.Kind == Declaration || c.Kind == Call || c.Kind == Function && !inlined {
			continue
		}
		if c.Name == name || c.Kind == Type && strings.HasSuffix(c.Name, " "+name) || c.Kind == Enum && c.Mentions(name) {
			return c
		}
	}
	return nil
}

// HeadDiffers reports a function that is called in another way than it was: its result, name or arguments are others.
func (c *Change) HeadDiffers() bool {
	if c.Kind != Function || len(c.was) == 0 || len(c.is) == 0 {
		return false
	}
	head := func(i *Item) string {
		n := slices.IndexFunc(i.tokens, func(t token) bool { return t.text == "{" })
		return joined(i.tokens[:max(n, 0)])
	}
	return head(c.was[0]) != head(c.is[0])
}

// Appended reports an enum that only got new constants behind the old ones, whose
// values therefore stay.
func (c *Change) Appended() bool {
	if c.Kind != Enum || len(c.was) != 1 || len(c.is) != 1 || c.was[0].condition != c.is[0].condition {
		return false
	}
	was, is := constants(c.was[0]), constants(c.is[0])
	return len(was) < len(is) && slices.Equal(was, is[:len(was)])
}

// constants are an enum's constants with their values.
func constants(i *Item) []string {
	var out []string
	var cur []token
	depth := 0
	for _, t := range i.tokens {
		switch {
		case t.text == "{" || t.text == "(":
			depth++
		case t.text == ")":
			depth--
		}
		if depth == 0 {
			continue
		}
		if depth == 1 && (t.text == "," || t.text == "}") {
			if len(cur) > 0 {
				out = append(out, joined(cur))
			}
			cur = nil
			if t.text == "}" {
				break
			}
		} else if t.text != "{" {
			cur = append(cur, t)
		}
	}
	return out
}

// Plain reports a typedef of something that is no structure, which has no layout of
// its own.
func (c *Change) Plain() bool {
	return c.Kind == Type && c.tokens[0].text == "typedef" && !slices.ContainsFunc(c.tokens, func(t token) bool { return t.text == "{" })
}

// Mention returns the line of the first use of a word in C text, 0 if there is
// none. Comments and strings are no use.
func Mention(text, word string) int {
	if !strings.Contains(text, word) {
		return 0
	}
	l := lexer{text: text, line: 1}
	for {
		t, directive := l.next()
		if t.text == "" && directive == nil {
			return 0
		}
		for _, t := range append(directive, t) {
			if t.text == word {
				return t.line
			}
		}
	}
}

// Held reports whether C text mentions a structure, by its tag, in another way than to define
// or declare it, to have a variable of it, or a parameter that points at one and keeps its value:
// in a cast, say, in sizeof or as the argument of a macro. Local pointers are not told from
// parameters: debug information does that.
func Held(text, tag string) bool {
	if !strings.Contains(text, tag) {
		return false
	}
	for _, i := range Scan("", text) {
		for n, t := range i.tokens {
			if n == 0 || t.text != tag || !tagged(i.tokens[n-1]) {
				continue
			}
			next := append(slices.Clone(i.tokens[n+1:min(n+3, len(i.tokens))]), token{}, token{})
			if i.Kind == Macro || !plain(next[0].text, next[1].text) || next[0].text == "*" && i.sets(next[1].text) {
				return true
			}
		}
	}
	return false
}

func tagged(t token) bool { return t.text == "struct" || t.text == "union" }

// plain reports what may follow a structure's tag where nothing is converted.
func plain(a, b string) bool {
	switch a {
	case "{", ";":
		return true
	case "*":
		return isWord(b)
	}
	return isWord(a) && a != "const"
}

// sets reports whether something in the item gives a pointer another value: an assignment, who
// gets its address, a macro that walks a list with it.
func (i *Item) sets(pointer string) bool {
	at := func(n int) string {
		if n < 0 || n >= len(i.tokens) {
			return ""
		}
		return i.tokens[n].text
	}
	for n := range i.tokens {
		if at(n) != pointer || at(n-1) == "." || at(n-1) == ">" {
			continue
		}
		switch {
		case at(n+1) == "=" && at(n+2) != "=",
			at(n-1) == "&" && at(n-2) != "&" && at(n+1) != "-" && at(n+1) != ".",
			at(n-1) == "(" && strings.Contains(at(n-2), "for_each"):
			return true
		}
	}
	return false
}
