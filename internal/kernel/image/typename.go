// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"debug/dwarf"
	"fmt"
	"strconv"
	"strings"
)

// unitTypes reads types and declarations of one unit.
type unitTypes struct {
	di      *debugInfo
	unit    *unit
	r       *dwarf.Reader
	files   []string
	entries map[dwarf.Offset]*dwarf.Entry
	names   map[dwarf.Offset]string
}

func newUnitTypes(di *debugInfo, u *unit) (*unitTypes, error) {
	files, err := di.files(u)
	if err != nil {
		return nil, fmt.Errorf("%s: line table: %w", u.path, err)
	}
	return &unitTypes{
		di: di, unit: u, r: di.data.Reader(), files: files,
		entries: map[dwarf.Offset]*dwarf.Entry{},
		names:   map[dwarf.Offset]string{},
	}, nil
}

// entry returns the entry at off without moving any other reader.
func (t *unitTypes) entry(off dwarf.Offset) (*dwarf.Entry, error) {
	if e := t.entries[off]; e != nil {
		return e, nil
	}
	t.r.Seek(off)
	e, err := t.r.Next()
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, fmt.Errorf("debug information: no entry at %#x", off)
	}
	t.entries[off] = e
	return e, nil
}

// children calls visit for each child of e.
func (t *unitTypes) children(e *dwarf.Entry, visit func(*dwarf.Entry) error) error {
	if !e.Children {
		return nil
	}
	r := t.di.data.Reader()
	r.Seek(e.Offset)
	if _, err := r.Next(); err != nil {
		return err
	}
	for {
		c, err := r.Next()
		if err != nil {
			return err
		}
		if c == nil || c.Tag == 0 || c.Offset >= t.unit.end {
			return nil
		}
		if err := visit(c); err != nil {
			return err
		}
		r.SkipChildren()
	}
}

// maxNesting limits chains of entries that refer to each other, which have no
// end in damaged files.
const maxNesting = 64

// declaration is what an entry, or the one it is an instance of, says.
type declaration struct {
	name     string
	file     string
	line     int
	typ      dwarf.Offset
	hasType  bool
	external bool
}

// declared follows the entry's abstract origin and specification. What the entry
// says itself comes first: a definition knows the size of an array that its
// declaration lacks.
func (t *unitTypes) declared(e *dwarf.Entry) (declaration, error) {
	var d declaration
	for range maxNesting {
		if s, ok := e.Val(dwarf.AttrName).(string); ok && d.name == "" {
			d.name = s
		}
		if line, ok := e.Val(dwarf.AttrDeclLine).(int64); ok && d.line == 0 {
			d.line = int(line)
			d.file = t.file(e)
		}
		if typ, ok := e.Val(dwarf.AttrType).(dwarf.Offset); ok && !d.hasType {
			d.typ, d.hasType = typ, true
		}
		if x, ok := e.Val(dwarf.AttrExternal).(bool); ok {
			d.external = d.external || x
		}
		next, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		if !ok {
			next, ok = e.Val(dwarf.AttrSpecification).(dwarf.Offset)
		}
		if !ok {
			return d, nil
		}
		var err error
		if e, err = t.entry(next); err != nil {
			return d, err
		}
	}
	return d, fmt.Errorf("debug information: entry %#x is its own origin", e.Offset)
}

// file is the declaring file of e. gcc leaves DW_AT_decl_file out of a definition
// in its declaration's file.
func (t *unitTypes) file(e *dwarf.Entry) string {
	n, ok := e.Val(dwarf.AttrDeclFile).(int64)
	if !ok {
		if spec, ok := e.Val(dwarf.AttrSpecification).(dwarf.Offset); ok {
			if s, err := t.entry(spec); err == nil {
				n, _ = s.Val(dwarf.AttrDeclFile).(int64)
			}
		}
	}
	if n < 0 || int(n) >= len(t.files) {
		return ""
	}
	return t.files[n]
}

// name returns the type at off in C notation, without qualifiers: they change
// neither layout nor calling convention. Depth is that of the type it is part of.
func (t *unitTypes) name(off dwarf.Offset, depth int) (string, error) {
	if s, ok := t.names[off]; ok {
		return s, nil
	}
	s, err := t.declarator(off, "", depth)
	if err == nil {
		t.names[off] = s
	}
	return s, err
}

// declarator builds the notation from the inside out: inner is what has been
// read of the declarator so far.
func (t *unitTypes) declarator(off dwarf.Offset, inner string, depth int) (string, error) {
	if depth > maxNesting {
		return "", fmt.Errorf("debug information: type at %#x has no end", off)
	}
	e, err := t.entry(off)
	if err != nil {
		return "", err
	}
	target := func(inner string) (string, error) {
		next, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
		if !ok {
			return spaced("void", inner), nil
		}
		return t.declarator(next, inner, depth+1)
	}
	switch e.Tag {
	case dwarf.TagConstType, dwarf.TagVolatileType, dwarf.TagRestrictType, dwarf.TagAtomicType:
		return target(inner)
	case dwarf.TagPointerType:
		return target("*" + inner)
	case dwarf.TagArrayType:
		dims, err := t.dimensions(e)
		if err != nil {
			return "", err
		}
		return target(suffixed(inner) + dims)
	case dwarf.TagSubroutineType:
		params, err := t.parameters(e, depth)
		if err != nil {
			return "", err
		}
		return target(suffixed(inner) + params)
	}
	return spaced(t.simple(e), inner), nil
}

// simple is the name of a type that is not made of another one.
func (t *unitTypes) simple(e *dwarf.Entry) string {
	name, _ := e.Val(dwarf.AttrName).(string)
	kind := ""
	switch e.Tag {
	case dwarf.TagStructType, dwarf.TagClassType:
		kind = "struct "
	case dwarf.TagUnionType:
		kind = "union "
	case dwarf.TagEnumerationType:
		kind = "enum "
	}
	if name == "" {
		name = "{...}"
	}
	return kind + name
}

// suffixed prepares a declarator for "[n]" or "(...)", which bind tighter than
// "*".
func suffixed(inner string) string {
	if strings.HasPrefix(inner, "*") {
		return "(" + inner + ")"
	}
	return inner
}

func spaced(base, inner string) string {
	if inner == "" || inner[0] == '[' {
		return base + inner
	}
	return base + " " + inner
}

func (t *unitTypes) dimensions(e *dwarf.Entry) (string, error) {
	var b strings.Builder
	err := t.children(e, func(c *dwarf.Entry) error {
		if c.Tag != dwarf.TagSubrangeType {
			return nil
		}
		b.WriteByte('[')
		if n, ok := extentOf(c); ok {
			b.WriteString(strconv.FormatInt(n, 10))
		}
		b.WriteByte(']')
		return nil
	})
	return b.String(), err
}

// extentOf is the number of elements of an array's dimension, unknown for a
// flexible array.
func extentOf(subrange *dwarf.Entry) (int64, bool) {
	if n, ok := subrange.Val(dwarf.AttrCount).(int64); ok {
		return n, true
	}
	if n, ok := subrange.Val(dwarf.AttrUpperBound).(int64); ok && n >= -1 {
		return n + 1, true
	}
	return 0, false
}

// parameters is the parameter list of a function or a function type. A damaged file may
// have types whose names double with each step.
func (t *unitTypes) parameters(e *dwarf.Entry, depth int) (string, error) {
	var list []string
	length := 0
	err := t.children(e, func(c *dwarf.Entry) error {
		switch c.Tag {
		case dwarf.TagFormalParameter:
			d, err := t.declared(c)
			if err != nil {
				return err
			}
			s := "void"
			if d.hasType {
				if s, err = t.name(d.typ, depth+1); err != nil {
					return err
				}
			}
			if length += len(s); length > maxDebugString {
				return fmt.Errorf("debug information: the parameters at %#x have no end", e.Offset)
			}
			list = append(list, s)
		case dwarf.TagUnspecifiedParameters:
			list = append(list, "...")
		}
		return nil
	})
	if len(list) == 0 {
		list = []string{"void"}
	}
	return "(" + strings.Join(list, ", ") + ")", err
}

// size is the size in bytes of the type at off; unknown for incomplete types.
func (t *unitTypes) size(off dwarf.Offset) (int64, bool, error) {
	count := int64(1)
	for range maxNesting {
		e, err := t.entry(off)
		if err != nil {
			return 0, false, err
		}
		if n, ok := e.Val(dwarf.AttrByteSize).(int64); ok {
			return n * count, true, nil
		}
		switch e.Tag {
		case dwarf.TagPointerType:
			return count * int64(t.r.AddressSize()), true, nil
		case dwarf.TagArrayType:
			known := true
			err := t.children(e, func(c *dwarf.Entry) error {
				if c.Tag == dwarf.TagSubrangeType {
					n, ok := extentOf(c)
					known = known && ok
					count *= n
				}
				return nil
			})
			if err != nil || !known {
				return 0, false, err
			}
		}
		next, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
		if !ok {
			return 0, false, nil
		}
		off = next
	}
	return 0, false, fmt.Errorf("debug information: type at %#x has no end", off)
}
