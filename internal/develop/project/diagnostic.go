// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"plugsched/internal/develop/bind"
)

// Severity is how grave a diagnostic is.
type Severity string

// An error keeps the tree from being built, a warning does not.
const (
	Wrong   Severity = "error"
	Warning Severity = "warning"
)

// ClassCompile is the class of what the compiler says; other errors have that of their refusal.
const ClassCompile = "compile"

// Diagnostic is one thing to be said about the source, at its place, as editors show it.
type Diagnostic struct {
	File     string   `json:"file,omitempty"` // relative to the working directory
	Line     int      `json:"line,omitempty"`
	Column   int      `json:"column,omitempty"` // in bytes, from 1
	Severity Severity `json:"severity"`
	Class    string   `json:"class,omitempty"`
	Name     string   `json:"name,omitempty"` // of the function, variable or structure
	Message  string   `json:"message"`
	Fix      string   `json:"fix,omitempty"` // what to do instead
}

// String is the diagnostic in one line, as compilers print theirs.
func (d Diagnostic) String() string {
	where := d.File
	for _, n := range []int{d.Line, d.Column} {
		if n > 0 {
			where += fmt.Sprintf(":%d", n)
		}
	}
	if where != "" {
		where += ": "
	}
	text := where + string(d.Severity) + ": " + d.Message
	if d.Fix != "" {
		text += "; " + d.Fix
	}
	if d.Class != "" && d.Class != ClassCompile {
		text += fmt.Sprintf(" (docs/develop/refusals.md#%s)", d.Class)
	}
	return text
}

func (p *Project) refusal(r bind.Refusal) Diagnostic {
	return Diagnostic{File: r.File, Line: r.Line, Column: p.column(r.File, r.Line, r.Name), Severity: Wrong, Class: string(r.Class),
		Name: r.Name, Message: r.Name + " " + r.Why, Fix: r.Do}
}

// placed is what begins with FILE:LINE.
var placed = regexp.MustCompile(`^([^\s:]+):(\d+): (.*)$`)

func (p *Project) warning(text string) Diagnostic {
	d := Diagnostic{Severity: Warning, Message: text}
	if m := placed.FindStringSubmatch(text); m != nil {
		d.File, d.Message = m[1], m[3]
		d.Line, _ = strconv.Atoi(m[2])
		name, _, _ := strings.Cut(d.Message, ":")
		d.Column = p.column(d.File, d.Line, name)
	}
	return d
}

// column is where in a line of a file a name begins, or the line's first word; 0 if there is no such
// line: of what is gone it is that of the old file.
func (p *Project) column(file string, line int, name string) int {
	if file == "" || line == 0 {
		return 0
	}
	f, err := os.Open(p.path(file))
	if err != nil {
		return 0
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		if n < line {
			continue
		}
		text := s.Text()
		name, _, _ = strings.Cut(name, "(") // MACRO(name) is at MACRO
		if at := strings.Index(text, name); name != "" && at >= 0 {
			return at + 1
		}
		return len(text) - len(strings.TrimLeft(text, " \t")) + 1
	}
	return 0
}

// said is a line of gcc's about a place.
var said = regexp.MustCompile(`^([^\s:]+):(\d+):(?:(\d+):)? (fatal error|error|warning): (.*)$`)

// compilers reads what gcc printed. If none of it is about a place, all of it is one.
func compilers(output string) (list []Diagnostic) {
	for line := range strings.Lines(output) {
		m := said.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		d := Diagnostic{File: m[1], Severity: Wrong, Class: ClassCompile, Message: m[5]}
		d.Line, _ = strconv.Atoi(m[2])
		d.Column, _ = strconv.Atoi(m[3])
		if m[4] == string(Warning) {
			d.Severity = Warning
		}
		list = append(list, d)
	}
	if list == nil {
		list = []Diagnostic{{Severity: Wrong, Class: ClassCompile, Message: output}}
	}
	return list
}
