// SPDX-License-Identifier: BSD-3-Clause

package patch

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"plugsched/internal/outcome"
)

// Text is a file's text into which hunks are put, one after the other.
type Text struct {
	lines  []string // with their ends
	shift  int      // by which what follows is away from where a patch has it before its change
	moved  int      // and from where it has it behind its change
	placed []*Place
}

// Outcome implements outcome.Error.
func (*MismatchError) Outcome() outcome.Outcome { return outcome.Precondition }

// Place is where a hunk went.
type Place struct {
	Hunk     *Hunk
	From, To int // lines, those around it aside; kept up to date with what is put in before them
	// Already says that the text has the change, and nothing was done.
	Already bool
}

// MismatchError says where a text is not what a hunk expects.
type MismatchError struct {
	Line     int // of the text; 0 if nothing in it is like what is expected
	Expected string
	Found    string // "" at the end
	Blind    bool   // the hunk has no lines that could be here or not
}

func (e *MismatchError) Error() string {
	switch {
	case e.Blind:
		return "the patch only adds lines and has none around them, by which to know the place"
	case e.Line == 0:
		return fmt.Sprintf("nothing here is like what the patch expects (%q)", e.Expected)
	case e.Found == "":
		return fmt.Sprintf("the patch expects %q where the file ends", e.Expected)
	}
	return fmt.Sprintf("the patch expects %q, and here is %q", e.Expected, e.Found)
}

// NewText begins with a text.
func NewText(s string) *Text {
	t := &Text{lines: strings.SplitAfter(s, "\n")}
	if t.lines[len(t.lines)-1] == "" {
		t.lines = t.lines[:len(t.lines)-1]
	}
	return t
}

func (t *Text) String() string { return strings.Join(t.lines, "") }

// Next begins another patch, whose numbers of lines count what those before it have added.
func (t *Text) Next() { t.shift = t.moved }

// Put makes the change of a hunk where the text is exactly as the hunk expects: in the function that the hunk names
// before any other, and there at its line or the nearest place.
func (t *Text) Put(h *Hunk) (*Place, error) {
	was, is := h.side('+'), h.side('-')
	old, now := begin(h.Old, was), begin(h.New, is)
	here, done := t.find(was, old+t.shift, h), t.find(is, now+t.moved, h)
	blind := len(was) == 0 && len(t.lines) > 0 // it would go anywhere
	here.found = here.found && !blind
	if done.found && len(is) > 0 && t.already(here, done, is) {
		t.shift, t.moved = done.at+len(is)-len(was)-old, done.at-now
		p := &Place{Hunk: h, Already: true}
		p.From, p.To = h.edited(done.at + 1)
		return p, nil
	}
	switch {
	case blind && h.Old == 0:
		return nil, &MismatchError{Line: 1, Expected: "an empty file", Found: strings.TrimSpace(t.lines[0])}
	case blind:
		return nil, &MismatchError{Line: h.Old, Blind: true}
	case !here.found:
		return nil, t.mismatch(was, old+t.shift)
	}
	t.lines = slices.Replace(t.lines, here.at, here.at+len(was), is...)
	grown := len(is) - len(was)
	for _, p := range t.placed {
		if p.From > here.at {
			p.From, p.To = p.From+grown, p.To+grown
		}
	}
	t.shift, t.moved = here.at+grown-old, here.at-now
	p := &Place{Hunk: h}
	p.From, p.To = h.edited(here.at + 1)
	t.placed = append(t.placed, p)
	return p, nil
}

// begin is the index of the first line, where a head has line for these. Of none it has the line before.
func begin(line int, lines []string) int {
	if len(lines) == 0 {
		return line
	}
	return line - 1
}

// already decides whether the text has a change, which is done where it has the lines behind the change, and not still
// to be made here. Such lines can be anywhere: those in another function than the hunk's are only meant
// if they are at its line, or in no other place.
func (t *Text) already(here, done spot, is []string) bool {
	switch {
	case here.found && here.named != done.named:
		return done.named
	case here.found && done.far >= here.far:
		return false
	}
	return done.named || done.far == 0 || t.only(is)
}

// Anywhere is Put in a file that the hunk was not made for, whose lines have other numbers.
func (t *Text) Anywhere(h *Hunk) (*Place, error) {
	defer func(shift, moved int) { t.shift, t.moved = shift, moved }(t.shift, t.moved)
	return t.Put(h)
}

// Edited are the first and the last line that a hunk changes, by its own count of the text behind the change.
func (h *Hunk) Edited() (from, to int) { return h.edited(h.New) }

// edited are the first and the last line that a hunk changes, if its first line is at one: behind what was
// removed, if nothing came in its place.
func (h *Hunk) edited(line int) (from, to int) {
	for _, l := range h.Lines {
		switch l.Op {
		case '+':
			if from == 0 {
				from = line
			}
			to = line
			line++
		case '-':
			if from == 0 {
				from, to = line, line
			}
		default:
			line++
		}
	}
	return from, to
}

func distance(a, b int) int { return max(a-b, b-a) }

func first(lines []string) string {
	for _, l := range lines {
		if s := strings.TrimSpace(l); s != "" {
			return s
		}
	}
	return ""
}

// spot is where lines of a hunk are in a text.
type spot struct {
	at, far int  // far from where they are expected
	named   bool // in the function that the hunk names
	found   bool
}

// find looks for lines of a hunk in the text.
func (t *Text) find(lines []string, want int, h *Hunk) (best spot) {
	bound := len(lines) > 0 && h.bound()
	for at := range len(t.lines) - len(lines) + 1 {
		if at != want && !bound || !slices.Equal(t.lines[at:at+len(lines)], lines) {
			continue
		}
		s := spot{at, distance(at, want), t.in(h, at), true}
		if !best.found || s.named && !best.named || s.named == best.named && s.far < best.far {
			best = s
		}
	}
	return best
}

// in reports that a line is in the function that a hunk names. Programs cut long heads off.
func (t *Text) in(h *Hunk, at int) bool {
	name := strings.TrimSpace(h.Section)
	return name != "" && strings.HasPrefix(t.section(at), name)
}

// bound reports a hunk that has lines of its surroundings to find a place by.
func (h *Hunk) bound() bool {
	return slices.ContainsFunc(h.Lines, func(l Line) bool { return l.Op == ' ' && strings.TrimSpace(l.Text) != "" })
}

var headRE = regexp.MustCompile(`^[A-Za-z_]`)

// section is the last line before one that diff -p would show: it begins with a letter.
func (t *Text) section(at int) string {
	for at--; at >= 0; at-- {
		if l := t.lines[at]; headRE.MatchString(l) && !strings.HasSuffix(l, ":\n") {
			return strings.TrimSpace(l)
		}
	}
	return ""
}

// Only reports that the text has the lines which a hunk expects, or those that it leaves, in one place and no
// other, and that these are enough to know the place by.
func (t *Text) Only(h *Hunk) bool { return t.only(h.side('+')) || t.only(h.side('-')) }

func (t *Text) only(was []string) bool {
	const enough = 3
	told, n := 0, 0
	for _, l := range was {
		if len(strings.TrimSpace(l)) > 1 {
			told++
		}
	}
	for at := 0; at+len(was) <= len(t.lines); at++ {
		if slices.Equal(t.lines[at:at+len(was)], was) {
			n++
		}
	}
	return told >= enough && n == 1
}

// mismatch finds the place most like what is expected, and the first line that is not.
func (t *Text) mismatch(lines []string, want int) *MismatchError {
	best, most := 0, 0
	for at := range t.lines {
		same := 0
		for i, l := range lines {
			if at+i < len(t.lines) && t.lines[at+i] == l && strings.TrimSpace(l) != "" {
				same++
			}
		}
		if same > most || same == most && distance(at, want) < distance(best, want) {
			best, most = at, same
		}
	}
	e := &MismatchError{Expected: first(lines)}
	if most == 0 || most*3 < len(lines) {
		return e
	}
	for i, l := range lines {
		if best+i < len(t.lines) && t.lines[best+i] == l {
			continue
		}
		e.Line, e.Expected = best+i+1, strings.TrimSpace(l)
		if best+i < len(t.lines) {
			e.Found = strings.TrimSpace(t.lines[best+i])
		}
		break
	}
	return e
}
