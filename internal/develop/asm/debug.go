// SPDX-License-Identifier: BSD-3-Clause

package asm

import (
	"bytes"
	"regexp"
	"strings"
)

// debugWriter writes the debug information of a unit of which something is left out. gcc's refers to
// labels of what is left out too: those get a place at which nothing is, so that it describes
// functions of no length, which readers pass over.
type debugWriter struct {
	unit     *Unit
	out      *bytes.Buffer
	enter    func(section string)
	sections map[string]bool // those that are written
	lost     []remark        // labels without a place
	code     []remark        // those of code that is left out, of which debug information names some
}

// remarks writes what stands before a line, which may be left out itself.
func (d *debugWriter) remarks(list []remark, left bool) {
	for _, r := range list {
		word, rest := firstWord(r.text)
		_, isLabel := labelOf(r.text)
		ends := strings.HasPrefix(r.text, ".Ltext") || strings.HasPrefix(r.text, ".Letext")
		switch {
		case word == ".file" || word == ".cfi_sections": // of the unit, not of a place
		case ends && d.sections[r.section]: // of the section, whatever is left out there
			d.enter(r.section)
		case left || !d.sections[r.section]:
			if view, ok := viewOf(word, rest); ok {
				d.out.WriteString("\t.set\t" + view + ", 0\n")
			} else if isLabel {
				d.lost = append(d.lost, r)
			}
			continue
		default:
			d.enter(r.section)
		}
		d.out.WriteString(r.text)
		d.out.WriteByte('\n')
	}
}

var localLabel = regexp.MustCompile(`\.L\w+`)

// viewOf returns the symbol that `.loc FILE LINE COLUMN ... view SYMBOL` defines.
func viewOf(word, rest string) (string, bool) {
	if word != ".loc" {
		return "", false
	}
	_, view, ok := strings.Cut(rest, " view ")
	view, _, _ = strings.Cut(view, " ")
	return view, ok && strings.HasPrefix(view, ".L")
}

// end places the labels that are left, each in its section if there still is one, and writes the
// debug sections. address says what stands for a name in them.
func (d *debugWriter) end(address func(name string) string) {
	named := map[string]bool{}
	for _, text := range d.unit.debug {
		for _, name := range localLabel.FindAllString(text, -1) {
			named[name] = true
		}
	}
	for _, r := range d.code {
		if name, _ := labelOf(r.text); named[name] {
			d.lost = append(d.lost, r)
		}
	}
	for _, r := range d.lost {
		if !d.sections[r.section] {
			r.section = ".text"
		}
		d.enter(r.section)
		d.out.WriteString(r.text + "\n")
	}
	for _, text := range d.unit.debug {
		word, rest := firstWord(text)
		if (word == ".quad" || word == ".8byte" || word == ".xword") && rest != "" && symbolStart(rest[0]) && !strings.HasPrefix(rest, ".L") {
			name := rest
			if i := strings.IndexAny(rest, "+- \t"); i > 0 {
				name = rest[:i]
			}
			if to := address(name); to == "0" {
				text = "\t" + word + "\t0"
			} else {
				text = "\t" + word + "\t" + to + rest[len(name):]
			}
		}
		d.out.WriteString(text)
		d.out.WriteByte('\n')
	}
}
