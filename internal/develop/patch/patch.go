// SPDX-License-Identifier: BSD-3-Clause

// Package patch reads patches as they are published, and puts their hunks into texts.
package patch

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"plugsched/internal/outcome"
)

// Patch is one change: a mail, or a file of differences.
type Patch struct {
	From    string // the file that it is from, "-" for standard input
	Author  string // NAME <ADDRESS>, "" if nothing says it
	Date    string // as git takes it
	Subject string // of a patch that has none, the file's name
	Body    string // the rest of what it says of itself
	Files   []*File
}

// File is what a patch does to one file.
type File struct {
	Old, New string // paths below the kernel's tree; "" for a file that there is not
	Copy     bool   // New is made from Old, which stays
	Binary   bool
	Hunks    []*Hunk
}

// Path is the file's name, behind the change if it has one then.
func (f *File) Path() string {
	if f.New != "" {
		return f.New
	}
	return f.Old
}

// Line is one of a hunk, with its end of line.
type Line struct {
	Op   byte // ' ', '-' or '+'
	Text string
}

// Hunk is an edit of some lines, with lines around it.
type Hunk struct {
	Old, New int // the first line before and behind the change
	Section  string
	Lines    []Line
}

// FormatError says that a text is no patch that can be read.
type FormatError struct {
	From string
	Line int
	Why  string
}

// Outcome implements outcome.Error.
func (*FormatError) Outcome() outcome.Outcome { return outcome.Precondition }

func (e *FormatError) Error() string {
	if e.Line == 0 {
		return e.From + ": " + e.Why
	}
	return fmt.Sprintf("%s:%d: %s", e.From, e.Line, e.Why)
}

// Edits lists the lines of one kind, '+' or '-', without blanks around them.
func (h *Hunk) Edits(op byte) (out []string) {
	for _, l := range h.Lines {
		if l.Op == op {
			out = append(out, strings.TrimSpace(l.Text))
		}
	}
	return out
}

// side returns the lines as they are before (without '+') or behind (without '-') the change.
func (h *Hunk) side(without byte) (out []string) {
	for _, l := range h.Lines {
		if l.Op != without {
			out = append(out, l.Text)
		}
	}
	return out
}

var functionRE = regexp.MustCompile(`(\w+)\s*\(`)

// Function is the one that the hunk's head names: the last that begins before its first line.
func (h *Hunk) Function() string {
	all := functionRE.FindAllStringSubmatch(h.Section, -1)
	if len(all) == 0 {
		return ""
	}
	return all[0][1]
}

// parser reads differences line by line.
type parser struct {
	from  string
	lines []string
	at    int
	files []*File
	cur   *File
	git   bool // the current file begins with "diff --git", and may have git's extended headers
}

// Parse reads a text of differences with anything between them. strip says how many directories to take from
// the front of names, as "a" and "b". Those of git's renames have none.
func Parse(from, text string, strip int) ([]*File, error) {
	p := &parser{from: from, lines: strings.SplitAfter(text, "\n")}
	for p.at < len(p.lines) {
		if err := p.line(strip); err != nil {
			return nil, err
		}
	}
	p.end()
	for _, f := range p.files {
		for _, name := range []string{f.Old, f.New} {
			if !safe(name) {
				return nil, &FormatError{From: from, Why: fmt.Sprintf("names %q, which is no path in a kernel's tree", name)}
			}
		}
	}
	return p.files, nil
}

// safe reports a path that stays below the tree, and is nothing of git's or of a working directory's.
func safe(name string) bool {
	if name == "" {
		return true
	}
	top, _, below := strings.Cut(name, "/")
	return path.Clean(name) == name && !path.IsAbs(name) && name != "." && top != ".." && (!below || top != ".git" && top != ".plugsched")
}

func (p *parser) fail(format string, args ...any) error {
	return &FormatError{p.from, p.at + 1, fmt.Sprintf(format, args...)}
}

// text is the current line without its end.
func (p *parser) text() string { return strings.TrimRight(p.lines[p.at], "\r\n") }

func (p *parser) line(strip int) error {
	l := p.text()
	word := func(prefix string) (string, bool) {
		rest, ok := strings.CutPrefix(l, prefix)
		return unquote(rest), ok && p.cur != nil
	}
	switch {
	case strings.HasPrefix(l, "diff --git "):
		p.end()
		p.cur, p.git = &File{}, true
		if same := sameName(strings.TrimPrefix(l, "diff --git "), strip); same != "" {
			p.cur.Old, p.cur.New = same, same
		}
	case strings.HasPrefix(l, "@@@"):
		return p.fail("is the difference of a merge: give the changes that it merges")
	case strings.HasPrefix(l, "@@ -") && p.cur != nil && (p.cur.Old != "" || p.cur.New != ""):
		return p.hunk()
	case strings.HasPrefix(l, "--- ") && p.at+1 < len(p.lines) && strings.HasPrefix(p.lines[p.at+1], "+++ "):
		if !p.git || len(p.cur.Hunks) > 0 || p.cur.Binary {
			p.end()
			p.cur = &File{}
		}
		p.cur.Old = name(l[4:], strip)
		p.at++
		p.cur.New = name(p.text()[4:], strip)
		if p.cur.Old == "" && p.cur.New == "" {
			return p.fail("names no file")
		}
	case strings.HasPrefix(l, "GIT binary patch"), strings.HasPrefix(l, "Binary files ") && strings.HasSuffix(l, " differ"):
		if p.cur != nil {
			p.cur.Binary = true
		}
	default:
		if v, ok := word("rename from "); ok {
			p.cur.Old = v
		} else if v, ok := word("rename to "); ok {
			p.cur.New = v
		} else if v, ok := word("copy from "); ok {
			p.cur.Old, p.cur.Copy = v, true
		} else if v, ok := word("copy to "); ok {
			p.cur.New = v
		} else if _, ok := word("new file mode "); ok && len(p.cur.Hunks) == 0 {
			p.cur.Old = ""
		} else if _, ok := word("deleted file mode "); ok && len(p.cur.Hunks) == 0 {
			p.cur.New = ""
		}
	}
	p.at++
	return nil
}

// end takes in the file that has been read.
func (p *parser) end() {
	if f := p.cur; f != nil && (f.Binary || len(f.Hunks) > 0 || f.Old != f.New) {
		p.files = append(p.files, f)
	}
	p.cur, p.git = nil, false
}

// sameName returns the name in "a/NAME b/NAME", "" if there are two. A file that only gets another mode, or has no
// text, has it nowhere else.
func sameName(head string, strip int) string {
	half := len(head) / 2
	if len(head)%2 == 0 || head[half] != ' ' {
		return ""
	}
	a, b := name(head[:half], strip), name(head[half+1:], strip)
	if a != b {
		return ""
	}
	return a
}

// name reads what stands behind "---" or "+++".
func name(text string, strip int) string {
	text, _, _ = strings.Cut(text, "\t") // a time follows
	text = unquote(strings.TrimRight(text, " \r"))
	if text == "/dev/null" {
		return ""
	}
	for range strip {
		_, rest, ok := strings.Cut(text, "/")
		if !ok {
			break
		}
		text = rest
	}
	return text
}

func unquote(s string) string {
	if strings.HasPrefix(s, `"`) {
		if u, err := strconv.Unquote(s); err == nil {
			return u
		}
	}
	return s
}

var hunkRE = regexp.MustCompile(`^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)$`)

// hunk reads as many lines as its head says.
func (p *parser) hunk() error {
	m := hunkRE.FindStringSubmatch(p.text())
	if m == nil {
		return p.fail("is no head of a hunk")
	}
	number := func(s string) int {
		if s == "" {
			return 1
		}
		n, _ := strconv.Atoi(s)
		return n
	}
	h := &Hunk{Old: number(m[1]), New: number(m[3]), Section: m[5]}
	was, is := number(m[2]), number(m[4])
	begin := p.at
	for p.at++; was > 0 || is > 0; p.at++ {
		if p.at >= len(p.lines) || p.lines[p.at] == "" {
			return &FormatError{p.from, begin + 1, "a hunk that ends too early: the patch is cut off"}
		}
		l := p.lines[p.at]
		switch {
		case l[0] == ' ', l[0] == '-', l[0] == '+':
		case strings.TrimRight(l, "\r\n") == "": // an empty line, of which somebody took the blank
			l = " " + l
		case l[0] == '\\':
			h.noNewline()
			continue
		default:
			return &FormatError{p.from, p.at + 1, "is no line of a hunk: the patch is damaged"}
		}
		if l[0] != '+' {
			was--
		}
		if l[0] != '-' {
			is--
		}
		if was < 0 || is < 0 {
			return &FormatError{p.from, begin + 1, "a hunk with other lines than its head says: the patch is damaged"}
		}
		h.Lines = append(h.Lines, Line{l[0], l[1:]})
	}
	if p.at < len(p.lines) && strings.HasPrefix(p.lines[p.at], `\`) {
		h.noNewline()
		p.at++
	}
	p.cur.Hunks = append(p.cur.Hunks, h)
	return nil
}

// noNewline is "\ No newline at end of file", about the line before.
func (h *Hunk) noNewline() {
	if n := len(h.Lines); n > 0 {
		h.Lines[n-1].Text = strings.TrimRight(h.Lines[n-1].Text, "\r\n")
	}
}

// Unix takes the carriage returns from the ends of a hunk's lines, as of a patch that was made or sent
// by somebody whose lines end so, and reports whether all had one.
func (h *Hunk) Unix() bool {
	for _, l := range h.Lines {
		if !strings.HasSuffix(l.Text, "\r\n") && strings.HasSuffix(l.Text, "\n") {
			return false
		}
	}
	for i := range h.Lines {
		h.Lines[i].Text = strings.TrimSuffix(strings.Replace(h.Lines[i].Text, "\r\n", "\n", 1), "\r")
	}
	return len(h.Lines) > 0
}
