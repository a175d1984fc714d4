// SPDX-License-Identifier: BSD-3-Clause

// Package asm reads the assembly that gcc writes for one compilation unit and
// gives it back as definitions: which lines make up which function or object,
// in which section, and what they refer to.
//
// In gcc's output every definition is a label and every reference is a name, so
// the scheduler's boundary can be applied here without understanding C.
package asm

import (
	"bytes"
	"fmt"
	"strings"

	"plugsched/internal/kernel/arch/isa"
)

// Kind says what a definition is.
type Kind int

// The kinds of definitions, from the .type directive.
const (
	Func Kind = iota
	Object
	Alias // .set NAME,TARGET
)

// Def is one definition of a unit.
type Def struct {
	Name    string
	Kind    Kind
	Section string // name of the section that holds its label
	Global  bool
	Weak    bool
	Size    uint64 // bytes, objects only
	Target  string // what an Alias stands for

	first, last int // line range, inclusive
}

// Unit is one parsed assembly file.
type Unit struct {
	Name string // for messages
	Defs []*Def // in order of appearance; gcc's .cold parts belong to their function

	syntax  *isa.Syntax
	lines   []line
	flags   map[string]string // section name to the rest of its directive
	byName  map[string]*Def
	strings map[string]string // .LC label to its directives
	used    map[*Def]map[string]bool

	debug []string // the debug sections, with the directives that lead to them
	after []remark // of debug information, behind the last line
}

type line struct {
	text    string
	section string
	sub     string // the part of the section (.subsection), "" for the first
	def     *Def
	attr    string // the symbol that an attribute directive (.globl, .type ...) is about
	before  []remark
}

// remark is what debug information says of a place in a section: no code comes of it.
type remark struct{ text, section string }

// Lookup returns the definition of name, or nil.
func (u *Unit) Lookup(name string) *Def { return u.byName[name] }

// Parse reads gcc's output for an architecture. The text must come from -S without LTO. What is debug
// information is kept apart: it is no part of any definition.
func Parse(syntax *isa.Syntax, name string, text []byte) (*Unit, error) {
	p := &parser{
		unit: &Unit{Name: name, syntax: syntax, flags: map[string]string{}, byName: map[string]*Def{}, strings: map[string]string{}},
		cur:  place{name: ".text"}, prev: place{name: ".text"},
		kinds: map[string]Kind{}, sizes: map[string]uint64{}, attrs: map[string]byte{}, ends: map[string]int{},
	}
	for len(text) > 0 {
		l := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			l, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		p.number++
		for _, s := range statements(syntax, string(l)) {
			if err := p.line(s); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, p.number, err)
			}
		}
	}
	if err := p.finish(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p.unit, nil
}

type parser struct {
	unit   *Unit
	number int

	cur, prev place
	stack     [][2]place

	kinds  map[string]Kind
	sizes  map[string]uint64
	attrs  map[string]byte // bit 0 global, bit 1 weak
	ends   map[string]int  // line of a function's .size
	labels []label

	pending []remark // of the line that comes next
}

// place is a part of a section.
type place struct{ name, sub string }

// isLabel reports what a colon makes a label, be it a local one that is a number.
func isLabel(text string) bool {
	for i := range len(text) {
		if !symbolByte(text[i]) {
			return false
		}
	}
	return text != ""
}

type label struct {
	name string
	at   int
}

const (
	attrGlobal = 1 << iota
	attrWeak
	attrLocal
)

// statements splits a line that changes the section among other statements, or behind a
// label: the section is only known from line to line.
func statements(syntax *isa.Syntax, line string) []string {
	if !strings.ContainsAny(line, ";:") || !strings.Contains(line, "section") && !strings.Contains(line, ".previous") {
		return []string{line}
	}
	var out []string
	start, quoted := 0, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && strings.HasPrefix(line[i:], syntax.Comment):
			return append(out, line[start:])
		case c == ';' && !quoted:
			out = append(out, line[start:i])
			start = i + 1
		case c == ':' && !quoted && isLabel(strings.TrimLeft(line[start:i], " \t")):
			out = append(out, line[start:i+1])
			start = i + 1
		}
	}
	return append(out, line[start:])
}

func debugSection(name string) bool { return strings.HasPrefix(name, ".debug_") }

// line handles one line: tracks the section, collects attributes and labels,
// keeps everything that belongs in the object.
func (p *parser) line(text string) error {
	word, rest := firstWord(text)
	if p.sectionDirective(word, rest) {
		if !sectionNameOK(p.cur.name) {
			return fmt.Errorf("unreadable directive %q", strings.TrimSpace(text))
		}
		return nil
	}
	switch {
	case word == ".ident":
		return nil
	case debugSection(p.cur.name):
		p.unit.debug = append(p.unit.debug, text)
		return nil
	case debugDirective(word, rest):
		p.pending = append(p.pending, remark{text, p.cur.name})
		return nil
	case dropDirective(word) || p.isComment(text):
		return nil
	}
	if name, ok := labelOf(text); ok && debugLabel(name) {
		p.pending = append(p.pending, remark{text, p.cur.name})
		return nil
	}
	at := len(p.unit.lines)
	l := line{text: text, section: p.cur.name, sub: p.cur.sub, before: p.pending}
	p.pending = nil
	switch word {
	case ".globl", ".global":
		l.attr = strings.TrimSpace(rest)
		p.attrs[l.attr] |= attrGlobal
	case ".weak":
		l.attr = strings.TrimSpace(rest)
		p.attrs[l.attr] |= attrGlobal | attrWeak
	case ".local":
		l.attr = strings.TrimSpace(rest)
		p.attrs[l.attr] |= attrLocal
	case ".hidden", ".protected", ".internal":
		l.attr = strings.TrimSpace(rest)
	case ".type":
		name, kind, _ := strings.Cut(rest, ",")
		l.attr = strings.TrimSpace(name)
		switch strings.TrimLeft(strings.TrimSpace(kind), "@%") {
		case "function":
			p.kinds[l.attr] = Func
		case "object":
			p.kinds[l.attr] = Object
		}
	case ".size":
		name, size, _ := strings.Cut(rest, ",")
		l.attr = strings.TrimSpace(name)
		var n uint64
		if _, err := fmt.Sscanf(strings.TrimSpace(size), "%d", &n); err == nil {
			p.sizes[l.attr] = n
		} else {
			p.ends[l.attr] = at
		}
	case ".comm":
		f := strings.Split(rest, ",")
		if len(f) < 2 {
			return fmt.Errorf("unreadable directive %q", strings.TrimSpace(text))
		}
		d := &Def{Name: strings.TrimSpace(f[0]), Kind: Object, Section: ".bss", first: at, last: at}
		fmt.Sscanf(strings.TrimSpace(f[1]), "%d", &d.Size)
		l.attr, l.def = d.Name, d
		if p.attrs[d.Name]&attrLocal == 0 {
			p.attrs[d.Name] |= attrGlobal
		}
		p.unit.Defs = append(p.unit.Defs, d)
	case ".set":
		name, target, ok := strings.Cut(rest, ",")
		name, target = strings.TrimSpace(name), strings.TrimSpace(target)
		if strings.HasPrefix(name, anchor) {
			return fmt.Errorf("variables are reached by way of a section anchor, %s, which hides their names: -fno-section-anchors", name)
		}
		if ok && !strings.HasPrefix(name, ".") {
			d := &Def{Name: name, Kind: Alias, Section: p.cur.name, Target: target, first: at, last: at}
			l.def = d
			p.unit.Defs = append(p.unit.Defs, d)
		}
	default:
		if name, ok := labelOf(text); ok {
			p.labels = append(p.labels, label{name, at})
		}
	}
	p.unit.lines = append(p.unit.lines, l)
	return nil
}

// sectionDirective follows the directives that change the current section and
// reports whether word was one. They are not kept: Write puts its own.
func (p *parser) sectionDirective(word, rest string) bool {
	set := func(name string) { p.prev, p.cur = p.cur, place{name: name} }
	switch word {
	case ".text", ".data", ".bss":
		set(word)
	case ".section", ".pushsection":
		name, flags := sectionName(rest)
		if word == ".pushsection" {
			p.stack = append(p.stack, [2]place{p.cur, p.prev})
		}
		set(name)
		if flags != "" || p.unit.flags[name] == "" {
			p.unit.flags[name] = flags
		}
		if debugSection(name) {
			p.unit.debug = append(p.unit.debug, "\t.section\t"+rest)
		}
	case ".subsection":
		p.prev = p.cur
		if p.cur.sub = strings.TrimSpace(rest); p.cur.sub == "0" {
			p.cur.sub = ""
		}
	case ".popsection":
		if n := len(p.stack); n > 0 {
			p.cur, p.prev = p.stack[n-1][0], p.stack[n-1][1]
			p.stack = p.stack[:n-1]
		}
	case ".previous":
		p.cur, p.prev = p.prev, p.cur
	default:
		return false
	}
	return true
}

// finish turns labels and attributes into definitions.
func (p *parser) finish() error {
	u := p.unit
	u.after = p.pending
	for i, lb := range p.labels {
		kind, typed := p.kinds[lb.name]
		switch {
		case !typed:
			if strings.HasPrefix(lb.name, ".LC") {
				u.strings[lb.name] = u.dataAfter(lb.at)
			}
		case kind == Func:
			end, ok := p.ends[lb.name]
			if !ok || end < lb.at {
				return fmt.Errorf("function %s has no end", lb.name)
			}
			if parent, ok := strings.CutSuffix(lb.name, ".cold"); ok {
				if d := u.byName[parent]; d != nil {
					d.last = max(d.last, end)
					u.byName[lb.name] = d
					continue
				}
			}
			u.add(&Def{Name: lb.name, Kind: Func, Section: u.lines[lb.at].section, first: lb.at, last: end})
		case kind == Object:
			end := len(u.lines) - 1
			if i+1 < len(p.labels) {
				end = p.labels[i+1].at - 1
			}
			u.add(&Def{Name: lb.name, Kind: Object, Section: u.lines[lb.at].section, Size: p.sizes[lb.name],
				first: lb.at, last: u.dataEnd(lb.at, end)})
		}
	}
	for _, d := range u.Defs {
		if d.Kind != Alias {
			if _, dup := u.byName[d.Name]; !dup {
				u.byName[d.Name] = d
			}
		}
		a := p.attrs[d.Name]
		d.Global, d.Weak = a&attrGlobal != 0, a&attrWeak != 0
		for i := d.first; i <= d.last; i++ {
			if u.lines[i].def == nil {
				u.lines[i].def = d
			}
		}
	}
	for _, d := range u.Defs {
		if d.Kind == Alias {
			u.byName[d.Name] = d
		}
	}
	return nil
}

func (u *Unit) add(d *Def) {
	u.Defs = append(u.Defs, d)
	u.byName[d.Name] = d
}

// dataEnd returns the last line of the object whose label is at line at.
func (u *Unit) dataEnd(at, limit int) int {
	last := at
	for i := at + 1; i <= limit; i++ {
		if u.lines[i].section != u.lines[at].section {
			break
		}
		word, _ := firstWord(u.lines[i].text)
		if !dataDirective(word) {
			break
		}
		last = i
	}
	return last
}

// dataAfter returns the data directives that follow a label, as one string.
func (u *Unit) dataAfter(at int) string {
	var b strings.Builder
	for i := at + 1; i <= u.dataEnd(at, len(u.lines)-1); i++ {
		b.WriteString(strings.TrimSpace(u.lines[i].text))
		b.WriteByte(';')
	}
	return b.String()
}

func firstWord(text string) (word, rest string) {
	t := strings.TrimLeft(text, " \t")
	if i := strings.IndexAny(t, " \t"); i >= 0 {
		return t[:i], strings.TrimSpace(t[i:])
	}
	return t, ""
}

// sectionName splits what follows .section into the name, without quotes, and
// the rest.
func sectionName(rest string) (name, flags string) {
	name, flags, _ = strings.Cut(rest, ",")
	return strings.Trim(strings.TrimSpace(name), `"`), strings.TrimSpace(flags)
}

// sectionNameOK reports a name that Write can give back as it was read.
func sectionNameOK(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '"' || r == '\\' || r == ';' || r == '#' })
}

func labelOf(text string) (string, bool) {
	if text == "" || !symbolStart(text[0]) {
		return "", false
	}
	i := strings.IndexByte(text, ':')
	if i <= 0 || strings.ContainsAny(text[:i], " \t\",(") || strings.TrimSpace(text[i+1:]) != "" {
		return "", false
	}
	return text[:i], true
}

// debugLabel reports labels that only debug sections refer to.
func debugLabel(name string) bool {
	for _, p := range []string{".LVL", ".LFB", ".LFE", ".LBB", ".LBE", ".LBI", ".LFSB", ".LCOLD", ".LHOT", ".Letext", ".Ltext", ".Ldebug"} {
		if rest, ok := strings.CutPrefix(name, p); ok && (rest == "" || rest[0] >= '0' && rest[0] <= '9') {
			return true
		}
	}
	return false
}

// debugDirective reports directives that only debug information is made of. ".file NAME" without a
// number is a symbol.
func debugDirective(word, rest string) bool {
	return word == ".loc" || word == ".file" && rest != "" && rest[0] >= '0' && rest[0] <= '9' || strings.HasPrefix(word, ".cfi_")
}

func dropDirective(word string) bool {
	switch word {
	case ".file", "#APP", "#NO_APP", "":
		return true
	}
	return false
}

// isComment reports the remarks that gcc puts round inline assembly, "# line" or what begins one in the
// architecture's assembly. A # that begins a line is a remark in all of them.
func (p *parser) isComment(text string) bool {
	return text[0] == '#' || strings.HasPrefix(text, p.unit.syntax.Comment)
}

// anchor begins the labels by which gcc reaches several variables with one address (-fsection-anchors).
const anchor = ".LANCHOR"

func dataDirective(word string) bool {
	switch word {
	case ".quad", ".long", ".byte", ".value", ".word", ".short", ".zero", ".string", ".ascii", ".asciz",
		".8byte", ".4byte", ".2byte", ".int", ".octa", ".skip", ".xword", ".hword", ".dword", ".space", ".base64":
		return true
	}
	return false
}
