// SPDX-License-Identifier: BSD-3-Clause

package asm

import (
	"bytes"
	"strings"

	"plugsched/internal/kernel/arch/isa"
)

// Edit says what Write does with a unit.
type Edit struct {
	// Drop reports definitions to leave out; references to them stay and
	// become undefined symbols.
	Drop func(*Def) bool
	// DropSection reports sections whose stray contents (lines that belong to no
	// definition) are left out.
	DropSection func(name string) bool
	// Place maps a section to the one that all of its contents go into; nil keeps all
	// where they are.
	Place func(section string) string
	// Rename maps a definition to the name and section that it gets; "" keeps.
	Rename func(*Def) (name, section string)
	// Refer maps a reference to another name. in is the definition that holds it
	// (nil outside of all), branch says that the operand of a direct call or jump
	// is meant rather than an address.
	Refer func(in *Def, name string, branch bool) string
	// Debug keeps the debug information. Of what is left out nothing but names remains in it.
	Debug bool
	// Rewrite may replace a whole line of a kept definition; nil keeps all.
	Rewrite func(in *Def, text string) (string, bool)
}

// strayLabels are those outside of all definitions in sections that are left out: what is said
// of them, as in .local NAME, is left out with them.
func (u *Unit) strayLabels(drop func(section string) bool) map[string]bool {
	out := map[string]bool{}
	for i := range u.lines {
		l := &u.lines[i]
		if name, _, ok := strings.Cut(l.text, ":"); ok && drop != nil && l.def == nil && isLabel(name) && drop(l.section) {
			out[name] = true
		}
	}
	return out
}

// Write renders the unit after an edit.
func (u *Unit) Write(e Edit) []byte {
	var out bytes.Buffer
	dropped := map[string]bool{}
	type placed struct{ name, section string }
	moved := map[*Def]placed{}
	for _, d := range u.Defs {
		if e.Drop != nil && e.Drop(d) {
			dropped[d.Name] = true
			dropped[d.Name+".cold"] = true
		} else if e.Rename != nil {
			if n, s := e.Rename(d); n != "" || s != "" {
				moved[d] = placed{n, s}
			}
		}
	}
	type part struct{ section, sub, linked string }
	var current part
	move := func(to part) {
		if to == current {
			return
		}
		out.WriteString(u.sectionLine(to.section, to.linked, e.Place))
		if to.sub != "" {
			out.WriteString("\t.subsection\t" + to.sub + "\n")
		}
		current = to
	}
	enter := func(section string) {
		if current.section != section || current.sub != "" {
			move(part{section: section})
		}
	}
	strays := u.strayLabels(e.DropSection)
	left := func(l *line) bool {
		if l.attr != "" && strays[strings.TrimRight(l.attr, "; \t")] {
			return true
		}
		owner := l.def
		if owner == nil && l.attr != "" {
			owner = u.byName[l.attr]
		}
		return owner != nil && dropped[owner.Name] || l.attr != "" && dropped[l.attr] ||
			l.def == nil && l.attr == "" && e.DropSection != nil && e.DropSection(l.section)
	}
	d := debugWriter{unit: u, out: &out, enter: enter, sections: map[string]bool{}}
	for i := range u.lines {
		if e.Debug && !left(&u.lines[i]) {
			d.sections[u.lines[i].section] = true
		}
	}
	for i := range u.lines {
		l := &u.lines[i]
		if e.Debug {
			d.remarks(l.before, left(l))
		}
		if left(l) {
			if name, ok := labelOf(l.text); ok && strings.HasPrefix(name, ".L") {
				d.code = append(d.code, remark{l.text, l.section})
			}
			continue
		}
		owner := l.def
		if owner == nil && l.attr != "" {
			owner = u.byName[l.attr]
		}
		want := l.section
		m, isMoved := moved[owner]
		if isMoved && m.section != "" && l.section == owner.Section {
			want = m.section
		}
		to := part{section: want, sub: l.sub}
		if u.linksTo(want) && owner != nil {
			if to.linked = owner.Name; isMoved && m.name != "" {
				to.linked = m.name
			}
		}
		move(to)
		text := l.text
		if isMoved && m.name != "" {
			text = replaceName(u.syntax, text, owner.Name, m.name)
		}
		if e.Rewrite != nil && l.def != nil {
			if t, ok := e.Rewrite(l.def, text); ok {
				out.WriteString(t)
				out.WriteByte('\n')
				continue
			}
		}
		if e.Refer != nil && l.attr == "" {
			text = referLine(u.syntax, text, func(name string, branch bool) string {
				if isMoved && name == m.name {
					return name
				}
				return e.Refer(l.def, name, branch)
			})
		}
		out.WriteString(text)
		out.WriteByte('\n')
	}
	if e.Debug {
		d.remarks(u.after, false)
		d.end(func(name string) string {
			of := u.byName[name]
			switch {
			case of == nil || dropped[name]:
				return "0"
			case moved[of].name != "":
				return moved[of].name
			}
			return name
		})
	}
	return out.Bytes()
}

// linksTo reports a section that goes with a function's (SHF_LINK_ORDER). gcc may name another one
// of the unit than that whose entry follows, which need not be written.
func (u *Unit) linksTo(section string) bool {
	flags, _, _ := strings.Cut(u.flags[section], ",")
	return strings.Contains(strings.Trim(flags, `"`), "o")
}

// sectionLine is the directive that leads to a section; linked is the function that it goes with, if one is known.
func (u *Unit) sectionLine(name, linked string, place func(string) string) string {
	flags := u.flags[name]
	if i := strings.LastIndexByte(flags, ','); linked != "" && i >= 0 {
		flags = flags[:i+1] + linked
	}
	if place != nil {
		name = place(name)
	}
	switch name {
	case ".text", ".data", ".bss":
		return "\t" + name + "\n"
	}
	if flags != "" {
		return "\t.section\t\"" + name + "\"," + flags + "\n"
	}
	return "\t.section\t\"" + name + "\"\n"
}

// Refs calls f for every name that the lines of d refer to.
func (u *Unit) Refs(d *Def, f func(name string, branch bool)) {
	for i := d.first; i <= d.last; i++ {
		if u.lines[i].attr != "" {
			continue
		}
		referLine(u.syntax, u.lines[i].text, func(name string, branch bool) string {
			f(name, branch)
			return name
		})
	}
}

// User returns the first definition that refers to a name, nil if none does.
func (u *Unit) User(name string) *Def {
	for _, d := range u.Defs {
		found := false
		u.Refs(d, func(n string, _ bool) { found = found || n == name })
		if found {
			return d
		}
	}
	return nil
}

// In reports whether a line of d is in a section that want accepts.
func (u *Unit) In(d *Def, want func(section string) bool) bool {
	for i := d.first; i <= d.last; i++ {
		if want(u.lines[i].section) {
			return true
		}
	}
	return false
}

// StrayRefs calls f for every name referred to outside of all definitions in
// sections that keep accepts.
func (u *Unit) StrayRefs(keep func(section string) bool, f func(name string)) {
	for i := range u.lines {
		if l := &u.lines[i]; l.def == nil && l.attr == "" && keep(l.section) {
			referLine(u.syntax, l.text, func(name string, _ bool) string { f(name); return name })
		}
	}
}

func symbolStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '.'
}

func symbolByte(c byte) bool { return symbolStart(c) || c >= '0' && c <= '9' || c == '$' }

// referLine calls f for every symbol that a line refers to and returns the line
// with the names that f gave. Labels, mnemonics, directives, registers, string
// literals and local labels (.L*) are not references.
func referLine(syntax *isa.Syntax, text string, f func(name string, branch bool) string) string {
	if _, ok := labelOf(text); ok {
		return text
	}
	var out strings.Builder
	copied := 0
	mnemonic, atStart, start := "", true, 0
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '"':
			j := i + 1
			for j < len(text) && text[j] != '"' {
				if text[j] == '\\' {
					j++
				}
				j++
			}
			i = min(j+1, len(text))
		case strings.HasPrefix(text[i:], syntax.Comment):
			i = len(text)
		case c == ';':
			mnemonic, atStart = "", true
			i++
			start = i
		case c == '\\': // a macro's argument
			for i++; i < len(text) && symbolByte(text[i]); i++ {
			}
		case c == '%':
			for i++; i < len(text) && symbolByte(text[i]); i++ {
			}
		case c >= '0' && c <= '9':
			j := i
			for j++; j < len(text) && symbolByte(text[j]); j++ {
			}
			if atStart && j < len(text) && text[j] == ':' {
				j++ // a numeric label; the statement follows
				start = j
			}
			i = j
		case symbolStart(c):
			j := i
			for j++; j < len(text) && symbolByte(text[j]); j++ {
			}
			word := text[i:j]
			switch {
			case atStart:
				if j < len(text) && text[j] == ':' {
					j++ // a label before a statement on the same line
					start = j
				} else if mnemonic = word; !syntax.Prefix(word) {
					atStart = false
				}
			case !strings.HasPrefix(word, ".L") && word != "." && (syntax.Symbol == nil || syntax.Symbol(mnemonic, text[start:i])):
				branch := syntax.Branch(mnemonic) && plainOperand(syntax, text, i, j)
				if n := f(word, branch); n != word {
					out.WriteString(text[copied:i])
					out.WriteString(n)
					copied = j
				}
			}
			i = j
		default:
			i++
		}
	}
	if copied == 0 {
		return text
	}
	out.WriteString(text[copied:])
	return out.String()
}

func replaceName(syntax *isa.Syntax, text, from, to string) string {
	if name, ok := labelOf(text); ok {
		if name == from {
			return to + text[len(from):]
		}
		return text
	}
	return referLine(syntax, text, func(name string, _ bool) string {
		if name == from {
			return to
		}
		return name
	})
}

// plainOperand reports that text[i:j] is the whole operand of its statement.
func plainOperand(syntax *isa.Syntax, text string, i, j int) bool {
	before := strings.TrimRight(text[:i], " \t")
	if before != "" && strings.ContainsAny(before[len(before)-1:], "*$,(+-") {
		return false
	}
	after := strings.TrimPrefix(text[j:], "@PLT")
	after = strings.TrimLeft(after, " \t")
	return after == "" || after[0] == ';' || strings.HasPrefix(after, syntax.Comment)
}
