// SPDX-License-Identifier: BSD-3-Clause

package edits

import (
	"iter"
	"strings"
)

// token is one word of C. Comments and white space are gone, so that texts are
// equal when only these differ.
type token struct {
	text   string
	line   int
	column int // 0 is the first
}

// lexer splits C into tokens. A directive of the preprocessor is one slice of
// tokens of its own, so that it can stand in the middle of anything.
type lexer struct {
	text     string
	at, line int
	start    int // of the line
}

// next returns the next token outside of directives, or a whole directive; both
// are empty at the end.
func (l *lexer) next() (t token, directive []token) {
	fresh := l.at == l.start // nothing but white space on this line yet
	for l.at < len(l.text) {
		switch {
		case l.skip():
			fresh = fresh || l.at == l.start || strings.TrimSpace(l.text[l.start:l.at]) == ""
		case l.text[l.at] == '#' && fresh:
			return token{}, l.directive()
		default:
			return l.token(), nil
		}
	}
	return token{}, nil
}

// skip passes white space, a continuation or a comment, and reports whether there
// was one.
func (l *lexer) skip() bool {
	switch rest := l.text[l.at:]; {
	case rest[0] == '\n':
		l.at++
		l.newline()
	case rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\r' || rest[0] == '\f':
		l.at++
	case strings.HasPrefix(rest, "\\\n"):
		l.at += 2
		l.newline()
	case strings.HasPrefix(rest, "//"):
		if i := strings.IndexByte(rest, '\n'); i >= 0 {
			l.at += i
		} else {
			l.at = len(l.text)
		}
	case strings.HasPrefix(rest, "/*"):
		end := strings.Index(rest[2:], "*/")
		if end < 0 {
			end = len(rest) - 4
		}
		for range strings.Count(rest[:max(end+4, 0)], "\n") {
			l.line++
		}
		l.at += max(end+4, 2)
		if i := strings.LastIndexByte(l.text[:l.at], '\n'); i >= l.start {
			l.start = i + 1
		}
	default:
		return false
	}
	return true
}

func (l *lexer) newline() { l.line++; l.start = l.at }

// directive reads up to the end of the logical line.
func (l *lexer) directive() []token {
	out := []token{{"#", l.line, l.at - l.start}}
	l.at++
	for l.at < len(l.text) && l.text[l.at] != '\n' {
		if !l.skip() {
			out = append(out, l.token())
		}
	}
	return out
}

func (l *lexer) token() token {
	t := token{line: l.line, column: l.at - l.start}
	i, c := l.at, l.text[l.at]
	switch {
	case wordByte(c):
		for i < len(l.text) && wordByte(l.text[i]) {
			i++
		}
	case c == '"' || c == '\'':
		for i++; i < len(l.text) && l.text[i] != c && l.text[i] != '\n'; i++ {
			if l.text[i] == '\\' {
				i++
			}
		}
		i = min(i+1, len(l.text))
	default:
		i++
	}
	t.text, l.at = l.text[l.at:i], i
	return t
}

func wordByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isWord(s string) bool { return s != "" && wordByte(s[0]) && (s[0] < '0' || s[0] > '9') }

// Kind says what an item of a source file is.
type Kind string

// The kinds of items.
const (
	Function    Kind = "function"
	Macro       Kind = "macro"
	Type        Kind = "type" // structure, union or typedef
	Enum        Kind = "enum"
	Variable    Kind = "variable"
	Declaration Kind = "declaration" // of a function that is defined elsewhere
	Call        Kind = "call"        // of a macro, outside of functions: EXPORT_SYMBOL(x)
)

// Item is one definition or declaration on the outermost level of a file.
type Item struct {
	Kind Kind
	// Name is the C name; a Call's is that of its first argument.
	Name  string
	Macro string // what a Call, or a function like SYSCALL_DEFINE1(x), is made with
	File  string
	Line  int
	// condition is the #if around it.
	condition string
	tokens    []token
}

// Last is the item's last line.
func (i *Item) Last() int { return i.tokens[len(i.tokens)-1].line }

// Words calls f for every word in the item until f returns false.
func (i *Item) Words(f func(string) bool) {
	for _, t := range i.tokens {
		if isWord(t.text) && !f(t.text) {
			return
		}
	}
}

// Statements are the words, signs and literals of the item between semicolons and braces.
func (i *Item) Statements() iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		var s []string
		for _, t := range i.tokens {
			if t.text != ";" && t.text != "{" && t.text != "}" {
				s = append(s, t.text)
				continue
			}
			if len(s) > 0 && !yield(s) {
				return
			}
			s = nil
		}
		if len(s) > 0 {
			yield(s)
		}
	}
}

// LineOf returns the line of a word's first use in the item, 0 if there is none.
func (i *Item) LineOf(word string) int {
	for _, t := range i.tokens {
		if t.text == word {
			return t.line
		}
	}
	return 0
}

// Mentions reports whether a word occurs in the item.
func (i *Item) Mentions(word string) bool {
	found := false
	i.Words(func(w string) bool { found = w == word; return !found })
	return found
}

// Scan splits a C file into its items. It does not expand macros: what is
// unusual C comes out as an item that is too large, never as none.
func Scan(file, text string) []*Item {
	s := &scanner{file: file, lex: lexer{text: text, line: 1}}
	for {
		t, directive := s.lex.next()
		switch {
		case directive != nil:
			s.directive(directive)
		case t.text == "":
			s.end()
			return s.items
		default:
			s.token(t)
		}
	}
}

type scanner struct {
	file  string
	lex   lexer
	items []*Item

	cur           []token
	braces, paren int
	body          bool // the brace that is open is a function's
	conditions    []condition
}

type condition struct {
	text          string
	braces, paren int // before it: every branch begins like the first
}

func (s *scanner) directive(d []token) {
	if s.called() {
		s.end()
	}
	word := ""
	if len(d) > 1 {
		word = d[1].text
	}
	n := len(s.conditions)
	switch word {
	case "define":
		if len(d) > 2 {
			s.items = append(s.items, &Item{Kind: Macro, Name: d[2].text, File: s.file, Line: d[0].line, condition: s.condition(), tokens: d})
		}
		return
	case "if", "ifdef", "ifndef":
		s.conditions = append(s.conditions, condition{joined(d[1:]), s.braces, s.paren})
	case "else", "elif":
		if n > 0 {
			c := &s.conditions[n-1]
			s.braces, s.paren, c.text = c.braces, c.paren, c.text+" "+joined(d[1:])
		}
	case "endif":
		if n > 0 {
			s.conditions = s.conditions[:n-1]
		}
	}
	if len(s.cur) > 0 {
		s.cur = append(s.cur, d...)
	}
}

func (s *scanner) condition() string {
	var out []string
	for _, c := range s.conditions {
		out = append(out, c.text)
	}
	return strings.Join(out, " && ")
}

// called reports that what has been collected is a macro's call, and nothing else: SD_FLAG(x). It needs no
// semicolon if the macro brings one. Attributes stand before what they are of.
func (s *scanner) called() bool {
	if s.braces > 0 || s.paren > 0 || len(s.cur) < 3 || s.cur[0].column > 0 || !isWord(s.cur[0].text) ||
		strings.HasPrefix(s.cur[0].text, "__") || s.cur[1].text != "(" {
		return false
	}
	depth := 0
	for i, t := range s.cur[1:] {
		switch t.text {
		case "(":
			depth++
		case ")":
			depth--
		}
		if depth == 0 {
			return i == len(s.cur)-2
		}
	}
	return false
}

func (s *scanner) token(t token) {
	if t.column == 0 && isWord(t.text) && s.called() {
		s.end() // and t begins another
	}
	if t.text == "{" && s.braces == 0 && s.paren == 0 {
		s.body = opensBody(s.cur)
	}
	s.cur = append(s.cur, t)
	switch t.text {
	case "(":
		s.paren++
	case ")":
		s.paren = max(s.paren-1, 0)
	case "{":
		s.braces++
	case "}":
		s.braces = max(s.braces-1, 0)
		if t.column == 0 { // whatever macros have made of the braces inside
			s.braces, s.paren = 0, 0
		}
		if s.braces == 0 && s.body {
			s.end()
		}
	case ";":
		if s.braces == 0 && s.paren == 0 {
			s.end()
		}
	}
}

// opensBody reports that a brace behind these tokens begins a function.
func opensBody(head []token) bool {
	depth, group := 0, false
	for _, t := range head {
		switch t.text {
		case "(":
			depth++
		case ")":
			depth--
			group = true
		case "=":
			if depth == 0 {
				return false
			}
		}
	}
	return group && !definesType(head)
}

// definesType reports a structure, union or enum whose members come next.
func definesType(head []token) bool {
	i := 0
	for i < len(head) && (head[i].text == "typedef" || head[i].text == "static" || head[i].text == "const") {
		i++
	}
	if i == len(head) || head[i].text != "struct" && head[i].text != "union" && head[i].text != "enum" {
		return false
	}
	for _, t := range head[i:] {
		switch t.text {
		case "{":
			return true
		case "(", "*", "=", ";":
			return strings.HasPrefix(t.text, "(") && !isFunctionHead(head[i:])
		}
	}
	return true
}

// isFunctionHead tells "struct rq *f(int)" from "struct s __aligned(8)".
func isFunctionHead(head []token) bool {
	for i, t := range head {
		if t.text == "(" && i > 0 {
			return !strings.HasPrefix(head[i-1].text, "__")
		}
	}
	return false
}

// end finishes the item that has been collected.
func (s *scanner) end() {
	t := s.cur
	s.cur, s.braces, s.paren, s.body = nil, 0, 0, false
	for len(t) > 0 && t[0].text == ";" {
		t = t[1:]
	}
	if len(t) == 0 {
		return
	}
	it := &Item{File: s.file, Line: t[0].line, condition: s.condition(), tokens: t}
	it.classify()
	s.items = append(s.items, it)
}

// classify works out the kind and the name from the tokens.
func (i *Item) classify() {
	head := i.tokens
	for n, t := range head {
		if t.text == "{" || t.text == "=" {
			head = head[:n]
			break
		}
	}
	full := len(head) < len(i.tokens) && i.tokens[len(head)].text == "{"
	switch {
	case i.tokens[0].text == "typedef":
		i.Kind, i.Name = Type, lastWord(i.tokens)
	case full && definesType(head):
		i.Kind, i.Name = Type, head[0].text+" "+lastWord(head)
		for _, t := range head {
			if t.text == "enum" {
				i.Kind = Enum
			}
		}
		if len(head) < 2 {
			i.Name = head[0].text + " " + firstWord(i.tokens[len(head):])
		}
	case full:
		i.Kind = Function
		i.callee(head)
	default:
		i.declared(head)
	}
}

// declared names what has no body: a variable, a declaration or a macro's call.
func (i *Item) declared(head []token) {
	initialised := len(head) < len(i.tokens)
	at := paramsAt(head)
	if at < 0 || at > 1 && (initialised || attributes[head[at-1].text] && declarator(head[:at]) != "") {
		i.Kind, i.Name = Variable, variableName(head)
		return
	}
	i.callee(head)
	i.Kind = Declaration
	if i.Macro != "" || at == 1 {
		i.Kind = Call
		if initialised {
			i.Kind = Variable
		}
	}
}

// attributes take arguments, and stand behind a variable (include/linux/compiler_attributes.h).
var attributes = map[string]bool{"__aligned": true, "__section": true, "__attribute__": true, "__alias": true, "__counted_by": true}

// callee names a function by the word before its parameters, or, when that is a
// macro that makes one, by the macro's first argument.
func (i *Item) callee(head []token) {
	at := paramsAt(head)
	if at <= 0 {
		i.Name = lastWord(head)
		return
	}
	i.Name = head[at-1].text
	i.Line = head[at-1].line
	if at == 1 || strings.ToUpper(i.Name) == i.Name && len(i.Name) > 1 {
		i.Macro, i.Name = i.Name, ""
		if at+1 < len(head) {
			i.Name = strings.Trim(head[at+1].text, `"`)
		}
	}
}

// paramsAt returns the position of the parenthesis that opens a function's
// parameters, or -1. Those of an attribute in front are passed over: they are
// followed by a type.
func paramsAt(head []token) int {
	depth, open := 0, -1
	for n, t := range head {
		switch t.text {
		case "(":
			if depth == 0 && open < 0 {
				open = n
			}
			depth++
		case ")":
			depth--
			if depth != 0 {
				continue
			}
			if n+1 < len(head) && isWord(head[n+1].text) && !strings.HasPrefix(head[n+1].text, "__") {
				open = -1 // an attribute's
				continue
			}
			return open
		}
	}
	return open
}

func variableName(head []token) string {
	for n, t := range head {
		if t.text == "[" || t.text == ":" {
			head = head[:n]
			break
		}
	}
	if name := declarator(head); name != "" {
		return name
	}
	return lastWord(head)
}

// basic are the words that can make a type together.
var basic = map[string]bool{"void": true, "char": true, "short": true, "int": true, "long": true, "float": true, "double": true,
	"signed": true, "unsigned": true, "bool": true, "_Bool": true}

// qualifiers stand before a type.
var qualifiers = map[string]bool{"static": true, "extern": true, "const": true, "volatile": true, "register": true, "inline": true}

// declarator returns the name behind the type of a declaration, whatever attributes follow it (int x __attr),
// "" if no word is left but such as look like an attribute.
func declarator(head []token) (name string) {
	typed, depth := false, 0
	for n, t := range head {
		switch {
		case t.text == "(":
			depth++
		case t.text == ")":
			depth--
		case depth > 0 || !isWord(t.text) || strings.HasPrefix(t.text, "__") || qualifiers[t.text]:
		case basic[t.text] || t.text == "struct" || t.text == "union" || t.text == "enum":
			typed = typed || basic[t.text]
		case !typed || n > 0 && (head[n-1].text == "struct" || head[n-1].text == "union" || head[n-1].text == "enum"):
			typed = true
		default:
			name = t.text
		}
	}
	return name
}

// lastWord is the last word outside of parentheses.
func lastWord(t []token) string {
	depth := 0
	for n := len(t) - 1; n >= 0; n-- {
		switch {
		case t[n].text == ")" || t[n].text == "]":
			depth++
		case t[n].text == "(" || t[n].text == "[":
			depth--
		case depth == 0 && isWord(t[n].text) && (n+1 == len(t) || t[n+1].text != "("):
			return t[n].text
		}
	}
	return firstWord(t)
}

func firstWord(t []token) string {
	for _, w := range t {
		if isWord(w.text) {
			return w.text
		}
	}
	return ""
}

func joined(t []token) string {
	var b strings.Builder
	for _, w := range t {
		b.WriteString(w.text)
		b.WriteByte(' ')
	}
	return b.String()
}
