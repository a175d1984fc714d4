// SPDX-License-Identifier: BSD-3-Clause

package vmlinux

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"sort"
	"strings"
)

// debugInfo says which unit each function belongs to, from the units' address
// ranges alone, and reads the scheduler's units in full. The other units'
// contents (15 million entries in Debian's 6.1) are never looked at.
func (l *loader) debugInfo() error {
	d, err := openDWARF(l.file, l.contents)
	if err != nil {
		return err
	}
	r := d.Reader()
	for {
		cu, err := r.Next()
		if err != nil {
			return fmt.Errorf("debug information: %w", err)
		}
		if cu == nil {
			break
		}
		if cu.Tag != dwarf.TagCompileUnit {
			r.SkipChildren()
			continue
		}
		u := &unit{loader: l, data: d, name: unitName(cu)}
		if err := u.claim(cu); err != nil {
			return fmt.Errorf("debug information of %s: %w", u.name, err)
		}
		if !l.opt.source(u.name) || !cu.Children {
			r.SkipChildren()
			continue
		}
		l.prog.Compiler, _ = cu.Val(dwarf.AttrProducer).(string)
		if err := u.read(r, cu); err != nil {
			return fmt.Errorf("debug information of %s: %w", u.name, err)
		}
	}
	return nil
}

// openDWARF reads the debug sections in place. A linked kernel needs no
// relocations there.
func openDWARF(f *elf.File, contents func(*elf.Section) []byte) (*dwarf.Data, error) {
	get := func(name string) []byte {
		s := f.Section(name)
		if s == nil {
			return nil
		}
		if b := contents(s); b != nil {
			return b
		}
		b, err := s.Data() // compressed
		if err != nil {
			return nil
		}
		return b
	}
	info := get(".debug_info")
	if len(info) == 0 {
		return nil, ErrNoDWARF
	}
	d, err := dwarf.New(get(".debug_abbrev"), nil, nil, info, get(".debug_line"), nil, get(".debug_ranges"), get(".debug_str"))
	if err != nil {
		return nil, fmt.Errorf("debug information: %w", err)
	}
	for _, name := range []string{".debug_addr", ".debug_line_str", ".debug_str_offsets", ".debug_rnglists"} {
		if b := get(name); b != nil {
			if err := d.AddSection(name, b); err != nil {
				return nil, fmt.Errorf("debug information: %s: %w", name, err)
			}
		}
	}
	return d, nil
}

// unitName is the unit's path in the kernel tree. gcc gives C units a relative
// name; the assembler gives an absolute one below the directory it ran in.
func unitName(cu *dwarf.Entry) string {
	name, _ := cu.Val(dwarf.AttrName).(string)
	dir, _ := cu.Val(dwarf.AttrCompDir).(string)
	return treePath(name, dir)
}

// treePath removes what a path shares with the build directory: the build
// directory is the tree itself or lies inside it.
func treePath(name, dir string) string {
	if !path.IsAbs(name) {
		return path.Clean(name)
	}
	for d := path.Clean(dir); path.IsAbs(d) && d != "/"; d = path.Dir(d) {
		if rest, ok := strings.CutPrefix(name, d+"/"); ok {
			return rest
		}
	}
	return name
}

type unit struct {
	*loader
	data  *dwarf.Data
	name  string
	files []string

	functions map[dwarf.Offset]*Source // by the entry that names it
	inlines   map[*Function]map[dwarf.Offset]bool
	byOffset  map[dwarf.Offset]*dwarf.Entry
	pending   []pendingVariable
}

type pendingVariable struct {
	object *Object
	origin dwarf.Offset
}

// claim gives the unit's functions its name.
func (u *unit) claim(cu *dwarf.Entry) error {
	ranges, err := u.data.Ranges(cu)
	if err != nil {
		return err
	}
	fs := u.prog.Functions
	for _, r := range ranges {
		for i := sort.Search(len(fs), func(i int) bool { return fs[i].Addr >= r[0] }); i < len(fs) && fs[i].Addr < r[1]; i++ {
			fs[i].Unit = u.name
		}
	}
	return nil
}

// read walks the entries of one unit. scope is the function whose code the
// current entry belongs to.
func (u *unit) read(r *dwarf.Reader, cu *dwarf.Entry) error {
	if err := u.readFiles(cu); err != nil {
		return err
	}
	u.functions = map[dwarf.Offset]*Source{}
	u.inlines = map[*Function]map[dwarf.Offset]bool{}
	u.byOffset = map[dwarf.Offset]*dwarf.Entry{}
	type level struct{ fn *Function }
	stack := []level{{}}
	for len(stack) > 0 {
		e, err := r.Next()
		if err != nil {
			return err
		}
		if e == nil {
			return errors.New("ends in the middle")
		}
		if e.Tag == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		fn := stack[len(stack)-1].fn
		switch e.Tag {
		case dwarf.TagSubprogram:
			fn = u.subprogram(e)
		case dwarf.TagInlinedSubroutine:
			if origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok && fn != nil {
				if u.inlines[fn] == nil {
					u.inlines[fn] = map[dwarf.Offset]bool{}
				}
				u.inlines[fn][origin] = true
			}
		case dwarf.TagVariable:
			u.byOffset[e.Offset] = e
			u.variable(e)
		}
		if e.Children {
			stack = append(stack, level{fn})
		}
	}
	return u.resolve()
}

func (u *unit) readFiles(cu *dwarf.Entry) error {
	lr, err := u.data.LineReader(cu)
	if err != nil || lr == nil {
		return err
	}
	dir, _ := cu.Val(dwarf.AttrCompDir).(string)
	for _, f := range lr.Files() {
		name := ""
		if f != nil {
			name = treePath(f.Name, dir)
			if rest, ok := strings.CutPrefix(name, path.Clean(dir)+"/"); ok && !path.IsAbs(dir) {
				name = rest
			}
		}
		u.files = append(u.files, name)
	}
	return nil
}

func (u *unit) decl(e *dwarf.Entry) (file string, line int) {
	if i, ok := e.Val(dwarf.AttrDeclFile).(int64); ok && i >= 0 && int(i) < len(u.files) {
		file = u.files[i]
	}
	n, _ := e.Val(dwarf.AttrDeclLine).(int64)
	return file, int(n)
}

// subprogram notes a function entry and returns the function whose code it has.
func (u *unit) subprogram(e *dwarf.Entry) *Function {
	u.byOffset[e.Offset] = e
	if name, ok := e.Val(dwarf.AttrName).(string); ok {
		file, line := u.decl(e)
		u.functions[e.Offset] = &Source{Name: name, DeclFile: file, DeclLine: line, Unit: u.name}
	}
	ranges, err := u.data.Ranges(e)
	if err != nil {
		return nil
	}
	var first *Function
	for _, r := range ranges {
		if f := u.prog.FuncAt(r[0]); f != nil && f.Addr == r[0] {
			u.describe(f, e)
			if first == nil || !strings.HasSuffix(f.Name, ".cold") {
				first = f
			}
		}
	}
	return first
}

// describe sets a function's declaration, following abstract origins.
func (u *unit) describe(f *Function, e *dwarf.Entry) {
	f.Unit = u.name
	for range 8 {
		if e == nil {
			return
		}
		if file, line := u.decl(e); file != "" && e.Val(dwarf.AttrName) != nil {
			f.DeclFile, f.DeclLine = file, line
			return
		}
		next, ok := origin(e)
		if !ok {
			return
		}
		if e = u.byOffset[next]; e == nil {
			e = u.entryAt(next)
		}
	}
}

func origin(e *dwarf.Entry) (dwarf.Offset, bool) {
	if o, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok {
		return o, true
	}
	o, ok := e.Val(dwarf.AttrSpecification).(dwarf.Offset)
	return o, ok
}

func (u *unit) entryAt(off dwarf.Offset) *dwarf.Entry {
	r := u.data.Reader()
	r.Seek(off)
	e, err := r.Next()
	if err != nil || e == nil {
		return nil
	}
	u.byOffset[off] = e
	return e
}

const opAddr = 0x03 // DW_OP_addr

// variable describes the object at a variable's address.
func (u *unit) variable(e *dwarf.Entry) {
	loc, ok := e.Val(dwarf.AttrLocation).([]byte)
	if !ok || len(loc) != 9 || loc[0] != opAddr {
		return
	}
	addr := binary.LittleEndian.Uint64(loc[1:])
	decl := e
	for range 8 {
		if decl == nil || decl.Val(dwarf.AttrName) != nil && decl.Val(dwarf.AttrType) != nil {
			break
		}
		next, ok := origin(decl)
		if !ok {
			break
		}
		decl = u.entryAt(next)
	}
	if decl == nil {
		return
	}
	name, _ := decl.Val(dwarf.AttrName).(string)
	file, line := u.decl(e)
	if file == "" {
		file, line = u.decl(decl)
	}
	typ := ""
	if off, ok := decl.Val(dwarf.AttrType).(dwarf.Offset); ok {
		if t, err := u.data.Type(off); err == nil {
			typ = typeName(t)
		}
	} else if off, ok := e.Val(dwarf.AttrType).(dwarf.Offset); ok {
		if t, err := u.data.Type(off); err == nil {
			typ = typeName(t)
		}
	}
	objs := u.prog.Objects
	for i := sort.Search(len(objs), func(i int) bool { return objs[i].Addr >= addr }); i < len(objs) && objs[i].Addr == addr; i++ {
		if base(objs[i].Name) == name || objs[i].Name == name {
			objs[i].Unit, objs[i].DeclFile, objs[i].DeclLine, objs[i].Type = u.name, file, line, typ
		}
	}
}

// resolve turns the inlined entries into the functions they name.
func (u *unit) resolve() error {
	for f, set := range u.inlines {
		seen := map[Source]bool{}
		for off := range set {
			s := u.functions[off]
			if s == nil {
				if e := u.entryAt(off); e != nil {
					name, _ := e.Val(dwarf.AttrName).(string)
					file, line := u.decl(e)
					s = &Source{Name: name, DeclFile: file, DeclLine: line, Unit: u.name}
				}
			}
			if s != nil && !seen[*s] {
				seen[*s] = true
				f.Inlines = append(f.Inlines, *s)
			}
		}
		sort.Slice(f.Inlines, func(i, j int) bool {
			a, b := f.Inlines[i], f.Inlines[j]
			if a.DeclFile != b.DeclFile {
				return a.DeclFile < b.DeclFile
			}
			return a.Name < b.Name
		})
	}
	return nil
}
