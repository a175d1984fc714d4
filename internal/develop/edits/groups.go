// SPDX-License-Identifier: BSD-3-Clause

package edits

import (
	"fmt"
	"slices"
	"strings"
)

// Group is text between two conditional directives of the preprocessor, which takes all of it or
// leaves all of it out.
type Group struct {
	File      string
	Line      int    // of the directive that begins it
	Condition string // that directive; of an #else or #elif with those before it
	// Names are the options (CONFIG_*) and macros that decide on it, those of the branches
	// before it too, without macros that take arguments.
	Names  []string
	Parent *Group // nil: the file itself

	after int // the line behind which its text begins
}

// sourceLine is a line with tokens. Lines of comments and white space are none.
type sourceLine struct {
	number int
	text   string // its tokens
	group  *Group
	opens  *Group // by this directive
	ends   bool   // #endif
	same   int    // of the other text's lines, the one that this is; -1: the line is an edit
}

// OptionPrefix begins the names of the kernel's options (scripts/kconfig).
const OptionPrefix = "CONFIG_"

// readLines splits a text into lines, and those into groups.
func readLines(file, text string) (lines []sourceLine, groups []*Group) {
	l := lexer{text: text, line: 1}
	var at *Group
	add := func(t token, opens *Group, in *Group) {
		if n := len(lines); n > 0 && lines[n-1].number == t.line {
			lines[n-1].text += " " + t.text
			return
		}
		lines = append(lines, sourceLine{number: t.line, text: t.text, group: in, opens: opens, same: -1})
	}
	for {
		t, d := l.next()
		switch {
		case d == nil && t.text == "":
			return lines, groups
		case d == nil:
			add(t, nil, at)
			continue
		}
		in, word := at, ""
		var opens *Group
		if len(d) > 1 {
			word = d[1].text
		}
		switch word {
		case "if", "ifdef", "ifndef":
			opens = &Group{Parent: at}
		case "else", "elif", "elifdef", "elifndef":
			if at == nil {
				break // of no #if
			}
			in = at.Parent
			opens = &Group{Parent: in, Condition: " of " + at.Condition, Names: at.Names}
		case "endif":
			if at != nil {
				in, at = at.Parent, at.Parent
			}
		}
		if opens != nil {
			opens.File, opens.Line, opens.after = file, d[0].line, l.line
			opens.Condition = "#" + strings.TrimSpace(spaced(d[1:])) + opens.Condition
			opens.Names = slices.Clone(opens.Names)
			for _, n := range conditionNames(d[2:]) {
				if word != "else" && !slices.Contains(opens.Names, n) {
					opens.Names = append(opens.Names, n)
				}
			}
			groups = append(groups, opens)
			at = opens
		}
		for i, t := range d {
			add(t, opens, in)
			if i == 0 {
				lines[len(lines)-1].ends = word == "endif"
			}
		}
	}
}

// conditionNames are the words of a condition that are no macros with arguments, nor arguments of one
// but defined() and those of include/linux/kconfig.h.
func conditionNames(condition []token) (out []string) {
	depth, arguments := 0, false
	for i, t := range condition {
		call := i+1 < len(condition) && condition[i+1].text == "("
		switch {
		case arguments && t.text == "(":
			depth++
		case arguments:
			if t.text == ")" {
				depth--
			}
			arguments = depth > 0
		case !isWord(t.text) || t.text == "defined" || call && strings.HasPrefix(t.text, "IS_"):
		case call:
			arguments = true
		default:
			out = append(out, t.text)
		}
	}
	return out
}

// spaced writes tokens as people do: with a blank only between words, and around operators.
func spaced(t []token) string {
	var b strings.Builder
	for i, w := range t {
		tight := i > 0 && (w.text == "(" && isWord(t[i-1].text) || w.text == ")" || t[i-1].text == "(" || t[i-1].text == "!" ||
			w.text == t[i-1].text && (w.text == "&" || w.text == "|"))
		if i > 0 && !tight {
			b.WriteByte(' ')
		}
		b.WriteString(w.text)
	}
	return b.String()
}

// Mark puts the definition of a macro at the head of every group of a text: those that the
// preprocessor then knows are of groups that it took.
func Mark(text string, groups []*Group, macro func(*Group) string) string {
	lines := strings.SplitAfter(text, "\n")
	var b strings.Builder
	for i, l := range lines {
		b.WriteString(l)
		for _, g := range groups {
			if g.after == i+1 {
				fmt.Fprintf(&b, "#define %s\n", macro(g))
			}
		}
	}
	return b.String()
}

// Diff is what differs between two texts of a file, line by line, however they are indented and
// commented.
type Diff struct {
	File     string
	Was, Is  string
	Old, New []*Group

	old, now []sourceLine
}

// NewDiff compares two texts.
func NewDiff(file, was, is string) *Diff {
	d := &Diff{File: file, Was: was, Is: is}
	d.old, d.Old = readLines(file, was)
	d.now, d.New = readLines(file, is)
	match(d.old, d.now, 0, 0)
	d.reflowed()
	return d
}

// ChangedLines compares lines of a text that is not C. Of those that are new it returns the
// index; of those that are gone, the index of the line that stands in their place.
func ChangedLines(was, is []string) (added, gone []int) {
	a, b := plainLines(was), plainLines(is)
	match(a, b, 0, 0)
	for n, l := range b {
		if l.same < 0 {
			added = append(added, n)
		}
	}
	place := 0
	for _, l := range a {
		if l.same >= 0 {
			place = l.same + 1
		} else {
			gone = append(gone, place)
		}
	}
	return added, gone
}

func plainLines(text []string) []sourceLine {
	lines := make([]sourceLine, len(text))
	for n, l := range text {
		lines[n] = sourceLine{number: n + 1, text: l, same: -1}
	}
	return lines
}

// Same reports that nothing differs but comments and white space.
func (d *Diff) Same() bool {
	edited := func(l sourceLine) bool { return l.same < 0 }
	return !slices.ContainsFunc(d.old, edited) && !slices.ContainsFunc(d.now, edited)
}

// match finds the lines that both texts have: equal ones at the ends, then those that each has
// once, and the same between these. i and j are where the two begin in their texts.
func match(a, b []sourceLine, i, j int) {
	pair := func(x, y int) { a[x].same, b[y].same = j+y, i+x }
	from := 0
	for from < len(a) && from < len(b) && a[from].text == b[from].text {
		pair(from, from)
		from++
	}
	x, y := len(a), len(b)
	for x > from && y > from && a[x-1].text == b[y-1].text {
		x, y = x-1, y-1
		pair(x, y)
	}
	a, b, i, j = a[from:x], b[from:y], i+from, j+from
	if len(a) == 0 || len(b) == 0 {
		return
	}
	anchors := unique(a, b)
	if len(anchors) == 0 {
		common(a, b, i, j)
		return
	}
	x, y = 0, 0
	for _, p := range anchors {
		match(a[x:p[0]], b[y:p[1]], i+x, j+y)
		a[p[0]].same, b[p[1]].same = j+p[1], i+p[0]
		x, y = p[0]+1, p[1]+1
	}
	match(a[x:], b[y:], i+x, j+y)
}

// unique returns the longest sequence of lines, in order, that both have exactly once.
func unique(a, b []sourceLine) (out [][2]int) {
	type count struct{ a, b, at int }
	seen := map[string]*count{}
	for n, l := range b {
		if seen[l.text] == nil {
			seen[l.text] = &count{}
		}
		seen[l.text].b++
		seen[l.text].at = n
	}
	for _, l := range a {
		if c := seen[l.text]; c != nil {
			c.a++
		}
	}
	var pairs [][2]int
	for n, l := range a {
		if c := seen[l.text]; c != nil && c.a == 1 && c.b == 1 {
			pairs = append(pairs, [2]int{n, c.at})
		}
	}
	// tails[n] is the pair with the smallest end of all rising sequences of n+1 pairs.
	var tails []int
	before := make([]int, len(pairs))
	for n, p := range pairs {
		k, _ := slices.BinarySearchFunc(tails, p[1], func(t, want int) int { return pairs[t][1] - want })
		before[n] = -1
		if k > 0 {
			before[n] = tails[k-1]
		}
		if k < len(tails) {
			tails[k] = n
		} else {
			tails = append(tails, n)
		}
	}
	if len(tails) == 0 {
		return nil
	}
	for n := tails[len(tails)-1]; n >= 0; n = before[n] {
		out = append(out, pairs[n])
	}
	slices.Reverse(out)
	return out
}

// common matches what repeats itself: the longest common sequence, unless it is too long to look
// for.
func common(a, b []sourceLine, i, j int) {
	const most = 1 << 22
	if len(a)*len(b) > most {
		return
	}
	w := len(b) + 1
	length := make([]int32, (len(a)+1)*w)
	for x := len(a) - 1; x >= 0; x-- {
		for y := len(b) - 1; y >= 0; y-- {
			if a[x].text == b[y].text {
				length[x*w+y] = length[(x+1)*w+y+1] + 1
			} else {
				length[x*w+y] = max(length[(x+1)*w+y], length[x*w+y+1])
			}
		}
	}
	for x, y := 0, 0; x < len(a) && y < len(b); {
		switch {
		case a[x].text == b[y].text:
			a[x].same, b[y].same = j+y, i+x
			x, y = x+1, y+1
		case length[(x+1)*w+y] >= length[x*w+y+1]:
			x++
		default:
			y++
		}
	}
}

// reflowed takes for equal what only has its lines broken elsewhere.
func (d *Diff) reflowed() {
	x, y := 0, 0
	for x < len(d.old) || y < len(d.now) {
		fromX, fromY := x, y
		var was, is []string
		for ; x < len(d.old) && d.old[x].same < 0; x++ {
			was = append(was, d.old[x].text)
		}
		for ; y < len(d.now) && d.now[y].same < 0; y++ {
			is = append(is, d.now[y].text)
		}
		if len(was) > 0 && len(is) > 0 && strings.Join(was, " ") == strings.Join(is, " ") {
			for n := fromX; n < x; n++ {
				d.old[n].same = fromY
			}
			for n := fromY; n < y; n++ {
				d.now[n].same = fromX
			}
		}
		for x < len(d.old) && d.old[x].same >= 0 && y < len(d.now) && d.now[y].same >= 0 {
			x, y = x+1, y+1
		}
	}
}

// Region is edited lines that one condition leaves out of the compilation.
type Region struct {
	*Group   // the outermost that is left out
	From, To int
	Lines    int  // that were edited
	Gone     bool // they are of the text as it was
}

// Regions are the edits that the compiler does not see: live says which groups the preprocessor took, of
// the old text and of the new.
func (d *Diff) Regions(live func(*Group) bool) (out []Region) {
	for _, side := range []struct {
		lines, other []sourceLine
		gone         bool
	}{{d.now, d.old, false}, {d.old, d.now, true}} {
		for n := range side.lines {
			l := &side.lines[n]
			if l.same >= 0 || l.ends {
				continue
			}
			g := l.group
			if l.opens != nil {
				g = l.opens
			}
			dead := outermost(g, live)
			if dead == nil || l.opens != nil && turns(side.lines, side.other, l.opens, live) {
				continue // the compiler sees it
			}
			if k := len(out) - 1; k >= 0 && out[k].Group == dead && out[k].Gone == side.gone {
				out[k].To, out[k].Lines = l.number, out[k].Lines+1
				continue
			}
			out = append(out, Region{Group: dead, From: l.number, To: l.number, Lines: 1, Gone: side.gone})
		}
	}
	return out
}

// outermost returns the group around all that is not compiled, nil if g is.
func outermost(g *Group, live func(*Group) bool) (dead *Group) {
	for ; g != nil; g = g.Parent {
		if !live(g) {
			dead = g
		}
	}
	return dead
}

// turns reports that a group has lines which are in both texts, and compiled in one of them only.
func turns(lines, other []sourceLine, g *Group, live func(*Group) bool) bool {
	for _, l := range lines {
		if l.same >= 0 && l.opens == nil && !l.ends && within(l.group, g) &&
			(outermost(l.group, live) == nil) != (outermost(other[l.same].group, live) == nil) {
			return true
		}
	}
	return false
}

func within(g, outer *Group) bool {
	for ; g != nil; g = g.Parent {
		if g == outer {
			return true
		}
	}
	return false
}

// Edited calls f for each edited line of the new text that is compiled, conditions aside.
func (d *Diff) Edited(live func(*Group) bool, f func(line int, tokens string)) {
	for _, l := range d.now {
		if l.same < 0 && l.opens == nil && outermost(l.group, live) == nil {
			f(l.number, l.text)
		}
	}
}

// Include returns where a text includes a file by its name, nil if it does not or always does.
func Include(file, text, name string) *Group {
	lines, _ := readLines(file, text)
	for _, l := range lines {
		if strings.HasPrefix(l.text, "# include") && strings.Contains(l.text, `"`+name+`"`) {
			return l.group
		}
	}
	return nil
}
