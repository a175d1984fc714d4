// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"debug/dwarf"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Types are the structures and functions that units define. Where units disagree
// about a name, the first unit's is kept and Conflicts names it.
type Types struct {
	// Layouts are keyed as a type's name is written: "struct rq", "union x",
	// and "atomic_t" for a typedef of a structure without a tag.
	Layouts map[string]Layout
	// Prototypes are keyed by the source name of each function that is defined,
	// inline ones included.
	Prototypes map[string]Prototype
	// Variables are those that the units define, static ones in functions included,
	// in the order of the debug information.
	Variables []Variable
	// Inlined are the functions that are inlined into each function with code, at any
	// depth, both by their names in the source. Sorted.
	Inlined map[string][]string
	// Automatic are, for each structure or union with a tag, the functions with code that
	// have a variable of it on their stack, by their names in the source; those of what is
	// inlined into them count. Pointed are those to which a variable of a function or a
	// function's result may lead, or a parameter that is more than a pointer to one.
	Automatic map[string][]string
	Pointed   map[string]bool
	Conflicts []string // sorted
}

// Variable is a variable with a place of its own.
type Variable struct {
	Name     string
	Type     string // in C notation, without qualifiers
	DeclFile string // relative to the kernel tree
	DeclLine int
}

// Layout is a structure or union as the compiler laid it out.
type Layout struct {
	Size     int64    `json:"size"` // bytes
	Members  []Member `json:"members"`
	DeclFile string   `json:"decl_file"` // relative to the kernel tree
	DeclLine int      `json:"decl_line"`
}

// Equal reports whether the two are the same to code that uses them; where they
// are declared does not matter.
func (l Layout) Equal(m Layout) bool {
	return l.Size == m.Size && slices.Equal(l.Members, m.Members)
}

// Member is a member of a structure. Members of a member whose type has no tag
// follow it, with offsets from the outermost structure; its name and theirs are
// joined by "." if it has one.
type Member struct {
	Name      string `json:"name"`       // "" for an anonymous structure or union
	Offset    int64  `json:"offset"`     // bytes from the structure's start
	Size      int64  `json:"size"`       // bytes of the type; 0 for a flexible array
	BitOffset int64  `json:"bit_offset"` // of a bit field from Offset
	BitSize   int64  `json:"bit_size"`   // 0 if it is no bit field
	Type      string `json:"type"`       // in C notation, without qualifiers
}

// Prototype is a function as its definition declares it.
type Prototype struct {
	Signature string // "void (struct rq *, struct task_struct *, int)"
	DeclFile  string // relative to the kernel tree
	DeclLine  int
	External  bool
}

// ReadTypes reads the types and functions of the units that keepUnit accepts, by
// their paths relative to the kernel tree. d may be a vmlinux's, or an object
// file's. It is trusted not to be made to exhaust memory.
func ReadTypes(d *dwarf.Data, keepUnit func(unit string) bool) (*Types, error) {
	di, err := readUnits(d)
	if err != nil {
		return nil, err
	}
	return di.readTypes(keepUnit)
}

func (di *debugInfo) readTypes(keepUnit func(unit string) bool) (*Types, error) {
	var err error
	tr := &typesReader{out: &Types{Layouts: map[string]Layout{}, Prototypes: map[string]Prototype{}, Inlined: map[string][]string{},
		Automatic: map[string][]string{}, Pointed: map[string]bool{}}}
	for i := range di.units {
		u := &di.units[i]
		if u.asm || !keepUnit(u.path) {
			continue
		}
		if tr.t, err = newUnitTypes(di, u); err != nil {
			return nil, err
		}
		if err := tr.scope(u.entry, "", 0); err != nil {
			return nil, fmt.Errorf("%s: %w", u.path, err)
		}
	}
	for _, of := range []map[string][]string{tr.out.Inlined, tr.out.Automatic} {
		for name, list := range of {
			slices.Sort(list)
			of[name] = slices.Compact(list)
		}
	}
	slices.Sort(tr.out.Conflicts)
	tr.out.Conflicts = slices.Compact(tr.out.Conflicts)
	return tr.out, nil
}

type typesReader struct {
	out *Types
	t   *unitTypes
}

// scope reads the definitions in a unit, a function or a block. within is the function with
// code that it is a part of, "" if there is none.
func (tr *typesReader) scope(e *dwarf.Entry, within string, depth int) error {
	if depth > 4*maxNesting {
		return fmt.Errorf("debug information: entry %#x is nested too deeply", e.Offset)
	}
	return tr.t.children(e, func(c *dwarf.Entry) error {
		switch c.Tag {
		case dwarf.TagStructType, dwarf.TagUnionType:
			name, _ := c.Val(dwarf.AttrName).(string)
			if name == "" {
				return nil
			}
			return tr.layout(tr.t.simple(c), c)
		case dwarf.TagTypedef:
			return tr.typedef(c)
		case dwarf.TagVariable:
			if depth > 0 {
				if err := tr.local(c, within); err != nil {
					return err
				}
			}
			return tr.variable(c)
		case dwarf.TagFormalParameter:
			return tr.parameter(c, within)
		case dwarf.TagSubprogram:
			if err := tr.prototype(c); err != nil {
				return err
			}
			name, err := tr.compiled(c)
			if err != nil {
				return err
			}
			return tr.scope(c, name, depth+1)
		case dwarf.TagInlinedSubroutine:
			if err := tr.inlined(c, within); err != nil {
				return err
			}
			return tr.scope(c, within, depth+1)
		case dwarf.TagLexDwarfBlock:
			return tr.scope(c, within, depth+1)
		}
		return nil
	})
}

// compiled is the name of a function with code, "" if the entry only describes one.
func (tr *typesReader) compiled(e *dwarf.Entry) (string, error) {
	if e.Val(dwarf.AttrLowpc) == nil && e.Val(dwarf.AttrRanges) == nil {
		return "", nil
	}
	d, err := tr.t.declared(e)
	return d.name, err
}

// inlined records what is inlined into a function.
func (tr *typesReader) inlined(e *dwarf.Entry, within string) error {
	d, err := tr.t.declared(e)
	if err == nil && within != "" && d.name != "" {
		tr.out.Inlined[within] = append(tr.out.Inlined[within], d.name)
	}
	return err
}

// local records what structures a function's variable is of, or points at.
func (tr *typesReader) local(e *dwarf.Entry, within string) error {
	if loc, ok := e.Val(dwarf.AttrLocation).([]byte); ok && len(loc) > 0 && loc[0] == opAddr {
		return nil // it is static
	}
	text, err := tr.typeOf(e)
	if err != nil {
		return err
	}
	if name, _, _ := strings.Cut(text, "["); isTagged(name) {
		if within != "" {
			tr.out.Automatic[name] = append(tr.out.Automatic[name], within)
		}
		return nil
	}
	tr.pointed(text)
	return nil
}

// parameter is local for a parameter. One that is a pointer to a structure leads to what the
// caller had, and nowhere else.
func (tr *typesReader) parameter(e *dwarf.Entry, within string) error {
	text, err := tr.typeOf(e)
	if name, ok := strings.CutSuffix(text, " *"); err != nil || ok && isTagged(name) {
		return err
	}
	return tr.local(e, within)
}

func (tr *typesReader) typeOf(e *dwarf.Entry) (string, error) {
	d, err := tr.t.declared(e)
	if err != nil || !d.hasType {
		return "", err
	}
	return tr.t.name(d.typ, 0)
}

func (tr *typesReader) pointed(text string) {
	for _, name := range tags.FindAllString(text, -1) {
		tr.out.Pointed[name] = true
	}
}

var tags = regexp.MustCompile(`(?:struct|union) \w+`)

// isTagged reports the name of a structure or union with a tag, and nothing more.
func isTagged(name string) bool { return name != "" && tags.FindString(name) == name }

// variable records a variable that the unit has memory for.
func (tr *typesReader) variable(e *dwarf.Entry) error {
	loc, ok := e.Val(dwarf.AttrLocation).([]byte)
	if !ok || len(loc) == 0 || loc[0] != opAddr {
		return nil
	}
	d, err := tr.t.declared(e)
	if err != nil || !d.hasType {
		return err
	}
	v := Variable{Name: d.name, DeclFile: d.file, DeclLine: d.line}
	if v.Type, err = tr.t.name(d.typ, 0); err != nil {
		return err
	}
	tr.out.Variables = append(tr.out.Variables, v)
	return nil
}

// typedef reads the layout of a structure that only has the typedef's name.
func (tr *typesReader) typedef(e *dwarf.Entry) error {
	name, _ := e.Val(dwarf.AttrName).(string)
	target, err := tr.untagged(e)
	if err != nil || target == nil || name == "" {
		return err
	}
	return tr.layout(name, target)
}

// untagged returns the structure or union without a tag that e is directly made
// of, or nil.
func (tr *typesReader) untagged(e *dwarf.Entry) (*dwarf.Entry, error) {
	for range maxNesting {
		off, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
		if !ok {
			return nil, nil
		}
		var err error
		if e, err = tr.t.entry(off); err != nil {
			return nil, err
		}
		switch e.Tag {
		case dwarf.TagConstType, dwarf.TagVolatileType:
			continue
		case dwarf.TagStructType, dwarf.TagUnionType:
			if _, tagged := e.Val(dwarf.AttrName).(string); !tagged {
				return e, nil
			}
		}
		return nil, nil
	}
	return nil, fmt.Errorf("debug information: type at %#x has no end", e.Offset)
}

func (tr *typesReader) layout(name string, e *dwarf.Entry) error {
	if incomplete, _ := e.Val(dwarf.AttrDeclaration).(bool); incomplete {
		return nil
	}
	size, ok := e.Val(dwarf.AttrByteSize).(int64)
	if !ok {
		return nil
	}
	l := Layout{Size: size}
	if line, ok := e.Val(dwarf.AttrDeclLine).(int64); ok {
		l.DeclLine, l.DeclFile = int(line), tr.t.file(e)
	}
	if err := tr.members(&l, e, "", 0, 0); err != nil {
		return err
	}
	if old, ok := tr.out.Layouts[name]; !ok {
		tr.out.Layouts[name] = l
	} else if !old.Equal(l) {
		tr.out.Conflicts = append(tr.out.Conflicts, name)
	}
	return nil
}

// maxMembers is how many members a structure may have, those of structures inside it
// included; in a damaged file they double with each step inwards. Linux 6.1's largest has
// some hundred.
const maxMembers = 1 << 16

// members appends e's members, found at offset base of the outermost structure.
func (tr *typesReader) members(l *Layout, e *dwarf.Entry, prefix string, base int64, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("debug information: structure at %#x contains itself", e.Offset)
	}
	return tr.t.children(e, func(c *dwarf.Entry) error {
		if c.Tag != dwarf.TagMember {
			return nil
		}
		m, err := tr.member(c, base)
		if err != nil {
			return err
		}
		name := m.Name
		if name != "" {
			m.Name = prefix + name
		}
		if l.Members = append(l.Members, m); len(l.Members) > maxMembers {
			return fmt.Errorf("debug information: structure at %#x has more than %d members", e.Offset, maxMembers)
		}
		inner, err := tr.untagged(c)
		if err != nil || inner == nil {
			return err
		}
		within := prefix
		if name != "" {
			within = m.Name + "."
		}
		return tr.members(l, inner, within, m.Offset, depth+1)
	})
}

func (tr *typesReader) member(c *dwarf.Entry, base int64) (Member, error) {
	var m Member
	m.Name, _ = c.Val(dwarf.AttrName).(string)
	off, err := memberOffset(c)
	if err != nil {
		return m, err
	}
	m.Offset = base + off
	if typ, ok := c.Val(dwarf.AttrType).(dwarf.Offset); ok {
		if m.Type, err = tr.t.name(typ, 0); err != nil {
			return m, err
		}
		if m.Size, _, err = tr.t.size(typ); err != nil {
			return m, err
		}
	}
	m.setBits(c)
	return m, nil
}

// opPlusUconst is DW_OP_plus_uconst, with which DWARF before 3 adds a member's
// offset to the structure's address.
const opPlusUconst = 0x23

func memberOffset(c *dwarf.Entry) (int64, error) {
	switch v := c.Val(dwarf.AttrDataMemberLoc).(type) {
	case nil:
		return 0, nil
	case int64:
		return v, nil
	case []byte:
		if len(v) > 1 && v[0] == opPlusUconst {
			if off, n := binary.Uvarint(v[1:]); n == len(v)-1 {
				return int64(off), nil
			}
		}
	}
	return 0, fmt.Errorf("debug information: the offset of member %#x is computed", c.Offset)
}

// setBits brings both ways of describing a bit field, DW_AT_data_bit_offset and
// the big-endian DW_AT_bit_offset of DWARF before 4, into the same form.
func (m *Member) setBits(c *dwarf.Entry) {
	n, ok := c.Val(dwarf.AttrBitSize).(int64)
	if !ok {
		return
	}
	m.BitSize = n
	if at, ok := c.Val(dwarf.AttrDataBitOffset).(int64); ok {
		m.Offset += at / 8
		m.BitOffset = at % 8
		return
	}
	if at, ok := c.Val(dwarf.AttrBitOffset).(int64); ok {
		unit := m.Size
		if s, ok := c.Val(dwarf.AttrByteSize).(int64); ok {
			unit = s
		}
		bits := unit*8 - at - n
		m.Offset += bits / 8
		m.BitOffset = bits % 8
	}
}

// prototype records a function that the unit defines. Instances of inline
// functions are described by the entry that they are an instance of.
func (tr *typesReader) prototype(e *dwarf.Entry) error {
	if _, instance := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); instance {
		return nil
	}
	if declared, _ := e.Val(dwarf.AttrDeclaration).(bool); declared {
		return nil
	}
	d, err := tr.t.declared(e)
	if err != nil || d.name == "" {
		return err
	}
	params, err := tr.t.parameters(e, 0)
	if err != nil {
		return err
	}
	signature := spaced("void", params)
	if d.hasType {
		if signature, err = tr.t.declarator(d.typ, params, 0); err != nil {
			return err
		}
		result, err := tr.t.name(d.typ, 0)
		if err != nil {
			return err
		}
		if !isTagged(result) {
			tr.pointed(result)
		}
	}
	p := Prototype{Signature: signature, DeclFile: d.file, DeclLine: d.line, External: d.external}
	if old, ok := tr.out.Prototypes[d.name]; !ok {
		tr.out.Prototypes[d.name] = p
	} else if old != p {
		tr.out.Conflicts = append(tr.out.Conflicts, d.name)
	}
	return nil
}
