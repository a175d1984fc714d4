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
	shift  int      // by which what follows has moved, in the mind of who made the patch
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
}

func (e *MismatchError) Error() string {
	switch {
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

// Put makes the change of a hunk where the text is exactly as the hunk expects: at its line, or else at the
// nearest place, one in the function that the hunk names before any other.
func (t *Text) Put(h *Hunk) (*Place, error) {
	was, is := h.side('+'), h.side('-')
	want := h.Old - 1 + t.shift
	if len(was) == 0 {
		want++ // diff names the line before
	}
	at, ok := t.find(was, want, h)
	fresh := h.Old == 0 && len(was) == 0 && len(t.lines) > 0 // a new file, and there is one
	ok = ok && !fresh
	if done, there := t.find(is, h.New-1, h); there && len(is) > 0 && (!ok || distance(done, h.New-1) < distance(at, want)) {
		p := &Place{Hunk: h, Already: true}
		p.From, p.To = h.edited(done + 1)
		return p, nil
	}
	switch {
	case fresh:
		return nil, &MismatchError{Line: 1, Expected: "an empty file", Found: strings.TrimSpace(t.lines[0])}
	case !ok:
		return nil, t.mismatch(was, want)
	}
	t.lines = slices.Replace(t.lines, at, at+len(was), is...)
	grown := len(is) - len(was)
	for _, p := range t.placed {
		if p.From > at {
			p.From, p.To = p.From+grown, p.To+grown
		}
	}
	t.shift += grown
	if at != want {
		t.shift += at - want
	}
	p := &Place{Hunk: h}
	p.From, p.To = h.edited(at + 1)
	t.placed = append(t.placed, p)
	return p, nil
}

// Anywhere is Put in a file that the hunk was not made for, whose lines have other numbers.
func (t *Text) Anywhere(h *Hunk) (*Place, error) {
	defer func(shift int) { t.shift = shift }(t.shift)
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

// find returns the index at which lines are in the text.
func (t *Text) find(lines []string, want int, h *Hunk) (int, bool) {
	fits := func(at int) bool {
		return at >= 0 && at+len(lines) <= len(t.lines) && slices.Equal(t.lines[at:at+len(lines)], lines)
	}
	if fits(want) {
		return want, true
	}
	if len(lines) == 0 || !h.bound() {
		return 0, false
	}
	best, found, named := 0, false, false
	for at := range t.lines {
		if !fits(at) {
			continue
		}
		n := h.Section != "" && t.section(at) == strings.TrimSpace(h.Section)
		if !found || n && !named || n == named && distance(at, want) < distance(best, want) {
			best, found, named = at, true, n
		}
	}
	return best, found
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
