// SPDX-License-Identifier: BSD-3-Clause

package asm

import (
	"strconv"
	"strings"
)

// Normal returns the lines of a definition in a form that is equal for equal
// code: local labels are numbered by appearance, string constants are shown by
// content, and what moves when unrelated source lines move (line numbers in
// __bug_table and for what debugging options print, the numbers that gcc gives to static locals) is left out.
func (u *Unit) Normal(d *Def) string {
	var out strings.Builder
	n := normaliser{unit: u, labels: map[string]string{}, tables: map[*Def]string{}}
	numbers := u.lineNumbers(d)
	words := 0 // 16-bit words since the entry in __bug_table began
	for i := d.first; i <= d.last; i++ {
		l := &u.lines[i]
		text := strings.TrimSpace(l.text)
		if l.attr != "" && d.Kind != Alias {
			// .comm is a whole definition, of zeros: what a label and .zero are elsewhere.
			if word, _ := firstWord(text); word == ".comm" {
				out.WriteString(Stem(d.Name) + ":\n.zero\t" + strconv.FormatUint(d.Size, 10) + "\n")
			}
			continue
		}
		if l.section == "__bug_table" {
			// lib/bug.c, struct bug_entry: the first 16-bit word is the line. Architectures write it
			// in different ways; those to which .word means more do not have it there.
			if w, _ := firstWord(text); w == ".word" || w == ".short" {
				if words++; words == 1 {
					continue
				}
			} else {
				words = 0
			}
		}
		if numbers[i] {
			continue
		}
		if name, ok := labelOf(l.text); ok {
			if strings.HasPrefix(name, ".L") {
				if !u.usedLabel(d, name) {
					continue
				}
				text = n.local(name) + ":"
			} else {
				text = Stem(name) + ":"
			}
		} else {
			text = n.line(text)
		}
		out.WriteString(text)
		out.WriteByte('\n')
	}
	return out.String()
}

type normaliser struct {
	unit   *Unit
	labels map[string]string
	tables map[*Def]string // those shown, by what stands for them from then on
}

// table shows a numbered constant by content: what gcc makes of a switch
// (CSWTCH.5), or a static const local, is part of the functions that use it.
// Another mention of the same one, be it in itself, only shows which it is:
// tables that refer to each other would fill all memory.
func (n *normaliser) table(word string) (string, bool) {
	d := n.unit.Lookup(word)
	if d == nil || d.Kind != Object || Stem(word) == word || !strings.HasPrefix(d.Section, ".rodata") {
		return "", false
	}
	if s, ok := n.tables[d]; ok {
		return s, true
	}
	n.tables[d] = strconv.Itoa(len(n.tables))
	var b strings.Builder
	for i := d.first + 1; i <= d.last; i++ {
		b.WriteString(n.line(strings.TrimSpace(n.unit.lines[i].text)) + ";")
	}
	return b.String(), true
}

func (n *normaliser) local(name string) string {
	if s, ok := n.labels[name]; ok {
		return s
	}
	s := ".L" + strconv.Itoa(len(n.labels))
	n.labels[name] = s
	return s
}

// line renames the symbols of one statement.
func (n *normaliser) line(text string) string {
	if i := strings.Index(text, n.unit.syntax.Comment); i >= 0 && !strings.Contains(text[:i], `"`) {
		text = strings.TrimSpace(text[:i])
	}
	if !strings.ContainsAny(text, "._") {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); {
		if !symbolStart(text[i]) || i > 0 && (text[i-1] == '%' || text[i-1] >= '0' && text[i-1] <= '9') {
			out.WriteByte(text[i])
			i++
			continue
		}
		j := i + 1
		for j < len(text) && symbolByte(text[j]) {
			j++
		}
		word := text[i:j]
		switch {
		case strings.HasPrefix(word, ".LC"):
			out.WriteString("{" + n.unit.strings[word] + "}")
		case strings.HasPrefix(word, ".L"):
			out.WriteString(n.local(word))
		default:
			if t, ok := n.table(word); ok {
				out.WriteString(Stem(word) + "{" + t + "}")
			} else {
				out.WriteString(Stem(word))
			}
		}
		i = j
	}
	return out.String()
}

// usedLabel reports whether code inside d refers to the label; labels that only
// debug information uses come and go.
func (u *Unit) usedLabel(d *Def, name string) bool {
	if u.used == nil {
		u.used = map[*Def]map[string]bool{}
	}
	used, ok := u.used[d]
	if !ok {
		used = map[string]bool{}
		for i := d.first; i <= d.last; i++ {
			t := u.lines[i].text
			if _, ok := labelOf(t); ok {
				continue
			}
			for {
				k := strings.Index(t, ".L")
				if k < 0 {
					break
				}
				e := k + 2
				for e < len(t) && symbolByte(t[e]) {
					e++
				}
				used[t[k:e]] = true
				t = t[e:]
			}
		}
		u.used[d] = used
	}
	return used[name]
}

// Stem removes the numbers that gcc appends to static locals and clones
// ("mutex.5" to "mutex", "f.isra.0" to "f.isra") and to unique names.
func Stem(name string) string {
	for {
		i := strings.LastIndexByte(name, '.')
		if i <= 0 || i == len(name)-1 || !digits(name[i+1:]) {
			break
		}
		name = name[:i]
	}
	if strings.HasPrefix(name, "__UNIQUE_ID_") || strings.HasPrefix(name, "__BTF_ID__") {
		name = strings.TrimRight(name, "0123456789")
	}
	return name
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
