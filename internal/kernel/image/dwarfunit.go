// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"debug/dwarf"
	"encoding/binary"
	"fmt"
)

// unitFacts is what the debug information of one unit says about symbols. They
// are found again by their address, except where several share one.
type unitFacts struct {
	path  string
	asm   bool
	code  [][2]uint64 // the unit's code
	names []namedAddr // functions; a name at the start of each contiguous part
	vars  []variable
	// What follows is only read in detail.
	decls   []functionDecl
	inlines []inlined
	// bodies are the functions defined without code that debug information
	// knows of: inlined everywhere, or folded into an equal function (gcc's
	// -fipa-icf), for which gcc then makes up a body.
	bodies map[string]declaration
	detail bool
}

type namedAddr struct {
	addr uint64
	name string
}

type variable struct {
	addr uint64
	declaration
	typeName string
}

type functionDecl struct {
	starts []uint64
	declaration
}

// inlined says that a source function's code is, in part, at addr.
type inlined struct {
	addr   uint64
	source *Source
}

// unitReader walks one unit.
type unitReader struct {
	di      *debugInfo
	unit    *unit
	r       *dwarf.Reader
	types   *unitTypes
	sources map[dwarf.Offset]*Source
	out     *unitFacts
	// Names and instances of functions are joined at the end: an instance may
	// come before what it is an instance of.
	byOffset map[dwarf.Offset]string
	pending  []instance
}

type instance struct {
	origin dwarf.Offset
	starts []uint64
}

// read collects the unit's facts. Declarations, types and inlining are only read
// in detail.
func (di *debugInfo) read(u *unit, detail bool) (*unitFacts, error) {
	ur := &unitReader{
		di: di, unit: u, r: di.data.Reader(),
		out:      &unitFacts{path: u.path, asm: u.asm, detail: detail},
		sources:  map[dwarf.Offset]*Source{},
		byOffset: map[dwarf.Offset]string{},
	}
	if err := ur.read(); err != nil {
		return nil, fmt.Errorf("debug information of %s: %w", u.path, err)
	}
	return ur.out, nil
}

func (ur *unitReader) read() error {
	var err error
	if ur.out.code, err = ur.di.data.Ranges(ur.unit.entry); err != nil {
		return err
	}
	if ur.out.detail {
		if ur.types, err = newUnitTypes(ur.di, ur.unit); err != nil {
			return err
		}
	}
	if !ur.unit.entry.Children {
		return nil
	}
	ur.r.Seek(ur.unit.entry.Offset)
	if _, err := ur.r.Next(); err != nil {
		return err
	}
	if err := ur.scope(nil, 0); err != nil {
		return err
	}
	for _, p := range ur.pending {
		if name := ur.byOffset[p.origin]; name != "" {
			ur.name(name, p.starts)
		}
	}
	return nil
}

// scope reads the children of the entry that the reader has just passed. main is
// where the enclosing function starts, if there is one.
func (ur *unitReader) scope(main []uint64, depth int) error {
	if depth > 4*maxNesting {
		return fmt.Errorf("nested too deeply")
	}
	for {
		e, err := ur.r.Next()
		if err != nil {
			return err
		}
		if e == nil || e.Tag == 0 || e.Offset >= ur.unit.end {
			return nil
		}
		descend := false
		within := main
		switch e.Tag {
		case dwarf.TagSubprogram:
			if within, err = ur.function(e); err != nil {
				return err
			}
			descend = true
		case dwarf.TagLexDwarfBlock:
			descend = true
		case dwarf.TagInlinedSubroutine:
			if ur.out.detail {
				if err := ur.inline(e, main); err != nil {
					return err
				}
				descend = true
			}
		case dwarf.TagVariable:
			if err := ur.variable(e); err != nil {
				return err
			}
		}
		if !descend {
			ur.r.SkipChildren()
		} else if e.Children {
			if err := ur.scope(within, depth+1); err != nil {
				return err
			}
		}
	}
}

// function records a function's name and, in detail, its declaration. It returns
// where the function's parts start; none if it has no code.
func (ur *unitReader) function(e *dwarf.Entry) ([]uint64, error) {
	name, _ := e.Val(dwarf.AttrName).(string)
	if name != "" {
		ur.byOffset[e.Offset] = name
	}
	starts, err := ur.starts(e)
	if err != nil {
		return nil, err
	}
	if len(starts) == 0 {
		return nil, ur.body(e, name)
	}
	if name != "" {
		ur.name(name, starts)
	} else if origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok {
		ur.pending = append(ur.pending, instance{origin, starts})
	}
	if ur.out.detail {
		d, err := ur.types.declared(e)
		if err != nil {
			return nil, err
		}
		ur.out.decls = append(ur.out.decls, functionDecl{starts, d})
	}
	return starts, nil
}

// body records a function without code of its own.
func (ur *unitReader) body(e *dwarf.Entry, name string) error {
	if declared, _ := e.Val(dwarf.AttrDeclaration).(bool); declared || name == "" || !ur.out.detail {
		return nil
	}
	d, err := ur.types.declared(e)
	if err != nil {
		return err
	}
	if ur.out.bodies == nil {
		ur.out.bodies = map[string]declaration{}
	}
	ur.out.bodies[name] = d
	return nil
}

func (ur *unitReader) name(name string, starts []uint64) {
	for _, a := range starts {
		ur.out.names = append(ur.out.names, namedAddr{a, name})
	}
}

// starts are the first addresses of the entry's contiguous parts.
func (ur *unitReader) starts(e *dwarf.Entry) ([]uint64, error) {
	if e.Val(dwarf.AttrLowpc) == nil && e.Val(dwarf.AttrRanges) == nil {
		return nil, nil
	}
	ranges, err := ur.di.data.Ranges(e)
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, r := range ranges {
		if r[0] < r[1] {
			out = append(out, r[0])
		}
	}
	return out, nil
}

// inline records which function was inlined where. Code without a place of its
// own counts for the start of the function it was inlined into.
func (ur *unitReader) inline(e *dwarf.Entry, main []uint64) error {
	origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
	if !ok {
		return nil
	}
	s := ur.sources[origin]
	if s == nil {
		d, err := ur.types.declared(e)
		if err != nil {
			return err
		}
		s = &Source{Name: d.name, DeclFile: d.file, DeclLine: d.line, Unit: ur.unit.path}
		ur.sources[origin] = s
	}
	if s.Name == "" {
		return nil
	}
	starts, err := ur.starts(e)
	if err != nil {
		return err
	}
	if len(starts) == 0 && len(main) > 0 {
		starts = main[:1]
	}
	for _, a := range starts {
		ur.out.inlines = append(ur.out.inlines, inlined{a, s})
	}
	return nil
}

// opAddr is DW_OP_addr: the operand is the variable's address.
const opAddr = 0x03

// variable records a variable with a fixed address, static locals included.
func (ur *unitReader) variable(e *dwarf.Entry) error {
	loc, ok := e.Val(dwarf.AttrLocation).([]byte)
	if !ok || len(loc) != 9 || loc[0] != opAddr {
		return nil
	}
	v := variable{addr: binary.LittleEndian.Uint64(loc[1:])}
	if ur.out.detail {
		var err error
		if v.declaration, err = ur.types.declared(e); err != nil {
			return err
		}
		if v.hasType {
			if v.typeName, err = ur.types.name(v.typ, 0); err != nil {
				return err
			}
		}
	} else {
		v.name, _ = e.Val(dwarf.AttrName).(string)
	}
	ur.out.vars = append(ur.out.vars, v)
	return nil
}
