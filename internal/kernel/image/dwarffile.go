// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"debug/dwarf"
	"errors"
	"fmt"

	"plugsched/internal/outcome"
)

// ErrNoDWARF means that a vmlinux has no debug information.
var ErrNoDWARF = outcome.With(outcome.Precondition, errors.New("has no debug information (DWARF); use the vmlinux of the kernel's debug package"))

// debugInfo is the debug information of one file. It is only read after
// openDWARF, so that several goroutines may share it, each with its own reader.
type debugInfo struct {
	data  *dwarf.Data
	tree  *tree
	units []unit
	line  []byte // .debug_line, where it has to be checked

	headers       []unitHeader // by address
	loc, loclists []byte       // .debug_loc, .debug_loclists, where they are needed
}

// unit is one compilation unit.
type unit struct {
	entry *dwarf.Entry
	end   dwarf.Offset // no entry of the unit is at or behind it
	path  string       // relative to the kernel tree
	dir   string       // DW_AT_comp_dir
	asm   bool
}

// openDWARF reads the debug sections of a vmlinux.
func (v *vmlinux) openDWARF() (*debugInfo, error) {
	s := debugSections{}
	for _, name := range []string{"abbrev", "info", "str", "line", "ranges", "line_str", "rnglists", "addr", "str_offsets"} {
		b, err := v.named(".debug_" + name)
		if err != nil {
			return nil, err
		}
		s[name] = b
	}
	return s.open()
}

func (s debugSections) open() (*debugInfo, error) {
	if len(s["info"]) == 0 || len(s["abbrev"]) == 0 {
		return nil, ErrNoDWARF
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	d, err := dwarf.New(s["abbrev"], nil, nil, s["info"], s["line"], nil, s["ranges"], s["str"])
	if err != nil {
		return nil, fmt.Errorf("debug information: %w", err)
	}
	for _, name := range []string{"line_str", "rnglists", "addr", "str_offsets"} {
		if b := s[name]; len(b) > 0 {
			if err := d.AddSection(".debug_"+name, b); err != nil {
				return nil, fmt.Errorf("debug information: %w", err)
			}
		}
	}
	di, err := readUnits(d)
	if err != nil {
		return nil, err
	}
	di.line = s["line"]
	di.headers = unitHeaders(s["info"])
	return di, nil
}

// langAssembler is DW_LANG_Mips_Assembler, which all assemblers use.
const langAssembler = 0x8001

// maxPadding is far more null entries than anybody puts between units.
const maxPadding = 1 << 12

func isUnit(t dwarf.Tag) bool {
	return t == dwarf.TagCompileUnit || t == dwarf.TagPartialUnit || t == dwarf.TagTypeUnit || t == dwarf.TagSkeletonUnit
}

// readUnits finds the units and derives the tree from their names.
func readUnits(d *dwarf.Data) (*debugInfo, error) {
	di := &debugInfo{data: d}
	var paths []unitPath
	r := d.Reader()
	padding := 0
	for {
		e, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("debug information: %w", err)
		}
		if e == nil {
			break
		}
		if e.Tag == 0 {
			// debug/dwarf does not get past a number that the section's end cuts
			// off: it returns null entries for ever.
			if padding++; padding > maxPadding {
				return nil, errors.New("debug information: is cut off, or padded without end")
			}
			continue
		}
		if !isUnit(e.Tag) {
			return nil, fmt.Errorf("debug information: entry %#x is outside of any unit", e.Offset)
		}
		if n := len(di.units); n > 0 {
			di.units[n-1].end = e.Offset
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		dir, _ := e.Val(dwarf.AttrCompDir).(string)
		lang, _ := e.Val(dwarf.AttrLanguage).(int64)
		di.units = append(di.units, unit{entry: e, end: ^dwarf.Offset(0), dir: dir, asm: lang == langAssembler})
		paths = append(paths, unitPath{name, dir})
		r.SkipChildren()
	}
	if len(di.units) == 0 {
		return nil, ErrNoDWARF
	}
	di.tree = newTree(paths)
	for i := range di.units {
		di.units[i].path = di.tree.rel(paths[i].name, paths[i].dir)
	}
	return di, nil
}

// files returns the unit's table of source files, relative to the kernel tree,
// by the number that DW_AT_decl_file uses. It is empty if the unit has none.
func (di *debugInfo) files(u *unit) ([]string, error) {
	if at, ok := u.entry.Val(dwarf.AttrStmtList).(int64); ok {
		if err := checkLineTable(di.line, at); err != nil {
			return nil, err
		}
	}
	r, err := di.data.LineReader(u.entry)
	if err != nil || r == nil {
		return nil, err
	}
	var out []string
	for _, f := range r.Files() {
		name := ""
		if f != nil {
			name = di.tree.rel(f.Name, u.dir)
		}
		out = append(out, name)
	}
	return out, nil
}
