// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"cmp"
	"context"
	"debug/dwarf"
	"fmt"
	"maps"
	"slices"
	"strings"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
)

// Structure is what is known about who uses a structure.
type Structure struct {
	Name string `json:"name"` // "struct rq"
	Layout
	// Units are the compilation units outside of Options.SourceDirs that know the
	// complete type, so that they could use its members. Sorted.
	Units []string    `json:"units"`
	Uses  []MemberUse `json:"uses"` // as Layout.Members
}

// MemberUse says who uses a member.
type MemberUse struct {
	// Inside and Outside are functions with an instruction that uses the member of
	// a variable, or by way of a register in which, as debug information says, a
	// pointer to the structure is. They are sure, and not all. Sorted.
	Inside  []string `json:"inside"`
	Outside []string `json:"outside"`
	Writers []string `json:"writers"` // those of Outside that write it
	// Perhaps are functions outside, in units that know the type, with an
	// instruction that uses memory at the member's distance from some register:
	// what the register points at is not known. At most one of each unit, and
	// maxPerhaps of all. Sorted.
	Perhaps      []string `json:"perhaps"`
	PerhapsUnits int      `json:"perhaps_units"` // how many units have such functions
	Idle         bool     `json:"idle"`          // the scheduler has no instruction that could use it
}

const maxPerhaps = 16

// What MemberUse.By says.
const (
	ByScheduler = "scheduler" // no sign of anybody else
	ByOthers    = "others"    // somebody else, for sure
	ByPerhaps   = "perhaps"   // perhaps somebody else
	ByNobody    = "nobody"    // no sign of anybody
)

// By says in a word whether others use the member.
func (m *MemberUse) By() string {
	switch {
	case len(m.Outside) > 0:
		return ByOthers
	case len(m.Perhaps) > 0:
		return ByPerhaps
	case m.Idle:
		return ByNobody
	}
	return ByScheduler
}

// ReadStructs finds out who uses the structures that units under opt.SourceDirs
// know. Not seen are uses by modules, BPF programs and assembly, copies of whole
// structures, and members whose address is computed in other ways than by adding
// a constant.
func ReadStructs(ctx context.Context, path string, opt Options) ([]*Structure, error) {
	p, err := Load(ctx, path, opt)
	if err != nil {
		return nil, err
	}
	v, err := open(path)
	if err != nil {
		return nil, err
	}
	defer v.close()
	di, err := v.openDWARF()
	if err != nil {
		return nil, err
	}
	if di.loc, err = v.named(".debug_loc"); err != nil {
		return nil, err
	}
	if di.loclists, err = v.named(".debug_loclists"); err != nil {
		return nil, err
	}
	types, err := di.readTypes(opt.detailed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	sr := newStructReader(p, di, &opt, v.mach, types)
	units := make([]*structUnit, len(di.units))
	var jobs []func() error
	for i := range di.units {
		jobs = append(jobs, func() (err error) {
			units[i], err = sr.read(&di.units[i])
			return err
		})
	}
	if err := parallel(ctx, jobs); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return sr.result(units), nil
}

// structReader is what is the same for all units.
type structReader struct {
	prog   *Program
	di     *debugInfo
	opt    *Options
	mach   *arch.Arch
	names  []string
	ids    map[string]int
	layout []Layout
	code   map[string][]stretch // by unit
	perCPU *Section
	// within are the structures that a structure has as members.
	within map[int][]embedded
}

type embedded struct {
	id     int
	offset int64
}

func newStructReader(p *Program, di *debugInfo, opt *Options, mach *arch.Arch, types *Types) *structReader {
	sr := &structReader{prog: p, di: di, opt: opt, mach: mach, ids: map[string]int{}, code: map[string][]stretch{},
		within: map[int][]embedded{}}
	if sr.perCPU = p.Section(".data..percpu"); sr.perCPU == nil {
		sr.perCPU = &Section{}
	}
	for _, name := range slices.Sorted(maps.Keys(types.Layouts)) {
		if strings.HasPrefix(name, "struct ") {
			sr.ids[name] = len(sr.names)
			sr.names = append(sr.names, name)
			sr.layout = append(sr.layout, types.Layouts[name])
		}
	}
	for id, l := range sr.layout {
		for _, m := range l.Members {
			if inner, ok := sr.ids[m.Type]; ok && m.Name != "" {
				sr.within[id] = append(sr.within[id], embedded{inner, m.Offset})
			}
		}
	}
	for _, s := range p.stretches() {
		if s.owner != nil && s.owner.Unit != "" {
			sr.code[s.owner.Unit] = append(sr.code[s.owner.Unit], s)
		}
	}
	return sr
}

// structUnit is what one unit does.
type structUnit struct {
	path     string
	asm      bool
	inside   bool
	knows    map[int]bool
	accesses map[access]*[2]map[string]bool // functions: that use it, that write it
	// disps are distances from registers of which is not known what they point at,
	// each with a function.
	disps map[int64]string
}

type access struct {
	id     int
	offset int64
}

// typed is an interval in which a register points at a structure.
type typed struct {
	interval
	id int
}

func (sr *structReader) read(u *unit) (*structUnit, error) {
	out := &structUnit{path: u.path, asm: u.asm, inside: sr.opt.detailed(u.path), knows: map[int]bool{},
		accesses: map[access]*[2]map[string]bool{}, disps: map[int64]string{}}
	if u.asm {
		return out, nil
	}
	t, err := newUnitTypes(sr.di, u)
	if err != nil {
		return nil, err
	}
	w := &pointerWalk{sr: sr, u: u, t: t, out: out, pointers: map[dwarf.Offset]int{}}
	if err := w.scope(u.entry, 0); err != nil {
		return nil, fmt.Errorf("debug information of %s: %w", u.path, err)
	}
	sr.decode(out, w.found)
	return out, nil
}

// pointerWalk finds a unit's pointers to structures.
type pointerWalk struct {
	sr       *structReader
	u        *unit
	t        *unitTypes
	out      *structUnit
	found    []typed
	pointers map[dwarf.Offset]int // types: the structure they point at, or one of these
}

const (
	pointsAtOther   = -2 // a structure that the scheduler does not know
	pointsAtNothing = -1 // no structure, or nothing in particular (void)
)

func (w *pointerWalk) scope(e *dwarf.Entry, depth int) error {
	if depth > 4*maxNesting {
		return fmt.Errorf("nested too deeply")
	}
	return w.t.children(e, func(c *dwarf.Entry) error {
		switch c.Tag {
		case dwarf.TagStructType:
			w.structure(c)
		case dwarf.TagSubprogram, dwarf.TagLexDwarfBlock, dwarf.TagInlinedSubroutine:
			return w.scope(c, depth+1)
		case dwarf.TagFormalParameter, dwarf.TagVariable:
			return w.variable(c)
		}
		return nil
	})
}

// structure notes a complete type. One of the same name and another size is
// another one.
func (w *pointerWalk) structure(e *dwarf.Entry) {
	name, _ := e.Val(dwarf.AttrName).(string)
	size, ok := e.Val(dwarf.AttrByteSize).(int64)
	if id, known := w.sr.ids["struct "+name]; known && ok && size == w.sr.layout[id].Size {
		w.out.knows[id] = true
	}
}

func (w *pointerWalk) variable(e *dwarf.Entry) error {
	var where []interval
	switch at := e.Val(dwarf.AttrLocation).(type) {
	case int64:
		where = w.sr.di.registers(w.u, at)
	default: // one location for all of its scope, which -O2 does not put into a register
		return nil
	}
	if len(where) == 0 {
		return nil
	}
	d, err := w.t.declared(e)
	if err != nil || !d.hasType {
		return err
	}
	id, err := w.pointsAt(d.typ)
	if err != nil || id == pointsAtNothing {
		return err
	}
	for _, i := range where {
		w.found = append(w.found, typed{i, id})
	}
	return nil
}

// pointsAt returns the structure that values of the type point at.
func (w *pointerWalk) pointsAt(typ dwarf.Offset) (int, error) {
	if id, ok := w.pointers[typ]; ok {
		return id, nil
	}
	id, err := w.target(typ)
	w.pointers[typ] = id
	return id, err
}

func (w *pointerWalk) target(off dwarf.Offset) (int, error) {
	pointer := false
	for range maxNesting {
		e, err := w.t.entry(off)
		if err != nil {
			return pointsAtNothing, err
		}
		switch e.Tag {
		case dwarf.TagConstType, dwarf.TagVolatileType, dwarf.TagTypedef, dwarf.TagRestrictType:
		case dwarf.TagPointerType:
			if pointer {
				return pointsAtNothing, nil
			}
			pointer = true
		case dwarf.TagStructType:
			if !pointer {
				return pointsAtNothing, nil
			}
			name, _ := e.Val(dwarf.AttrName).(string)
			if id, ok := w.sr.ids["struct "+name]; ok {
				return id, nil
			}
			return pointsAtOther, nil
		default:
			return pointsAtNothing, nil
		}
		next, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
		if !ok {
			return pointsAtNothing, nil
		}
		off = next
	}
	return pointsAtNothing, fmt.Errorf("type at %#x has no end", off)
}

// decode matches the unit's instructions with what is known of its registers.
func (sr *structReader) decode(out *structUnit, found []typed) {
	slices.SortFunc(found, func(a, b typed) int { return cmp.Compare(a.lo, b.lo) })
	for _, s := range sr.code[out.path] {
		// The intervals of this function; they do not reach into another one.
		i, _ := slices.BinarySearchFunc(found, s.addr, func(t typed, a uint64) int { return cmp.Compare(t.lo, a) })
		j, _ := slices.BinarySearchFunc(found, s.addr+s.size, func(t typed, a uint64) int { return cmp.Compare(t.lo, a) })
		here := found[i:j]
		sr.mach.Memory(s.code(), s.addr, func(m isa.Memory) {
			if !m.Based || m.Disp < 0 { // an address, with a per-CPU offset or an index
				if a, ok := sr.inObject(m); ok {
					out.use(a, s.owner.Name, m.Write)
				}
				return
			}
			if m.Stack {
				return
			}
			known := false
			for _, t := range here {
				if t.lo > m.Site {
					break
				}
				switch {
				case m.Site >= t.hi || t.reg != m.Reg:
				case t.id == pointsAtOther:
					known = true
				case m.Disp < sr.layout[t.id].Size:
					known = true
					out.use(access{t.id, m.Disp}, s.owner.Name, m.Write)
				}
			}
			if _, ok := out.disps[m.Disp]; !ok && !known {
				out.disps[m.Disp] = s.owner.Name
			}
		})
	}
}

// inObject returns the member of a variable that the operand is, if it is one: even
// a unit that does not know the type may know the distance (RQ_nr_pinned in
// kernel/sched/rq-offsets.c).
func (sr *structReader) inObject(m isa.Memory) (access, bool) {
	addr := uint64(m.Disp)
	if m.PerCPU != sr.perCPU.contains(addr) && sr.perCPU.Addr == 0 {
		return access{}, false // a number like any other
	}
	o := sr.prog.ObjectAt(addr)
	if o == nil {
		return access{}, false
	}
	id, ok := sr.ids[o.Type]
	return access{id, int64(addr - o.Addr)}, ok && int64(addr-o.Addr) < sr.layout[id].Size
}

func (u *structUnit) use(a access, by string, write bool) {
	e := u.accesses[a]
	if e == nil {
		e = &[2]map[string]bool{{}, {}}
		u.accesses[a] = e
	}
	e[0][by] = true
	if write {
		e[1][by] = true
	}
}

// result joins the units.
func (sr *structReader) result(units []*structUnit) []*Structure {
	list := make([]*Structure, len(sr.names))
	sets := make([][]memberSets, len(sr.names))
	for id, name := range sr.names {
		list[id] = &Structure{Name: name, Layout: sr.layout[id]}
		sets[id] = make([]memberSets, len(sr.layout[id].Members))
	}
	used := make([]bool, len(sr.names)) // by the scheduler
	for _, u := range units {
		for a, by := range u.accesses {
			sr.attribute(sets, used, a, u, by, 0)
		}
	}
	for _, u := range units {
		disps := slices.Sorted(maps.Keys(u.disps))
		for id := range u.knows {
			if !u.inside {
				list[id].Units = append(list[id].Units, u.path)
			}
			sr.perhaps(sets, u, disps, id, 0, 0)
		}
	}
	var out []*Structure
	for id, s := range list {
		if !used[id] && !sr.opt.detailed(s.DeclFile) {
			continue
		}
		slices.Sort(s.Units)
		s.Units = slices.Compact(s.Units)
		for i := range s.Members {
			s.Uses = append(s.Uses, sets[id][i].use())
		}
		out = append(out, s)
	}
	return out
}

type memberSets struct {
	inside, outside, writers map[string]bool
	perhaps                  map[string]string // by unit outside: a function
	touched                  bool              // perhaps, by the scheduler
}

func (m *memberSets) use() MemberUse {
	for unit, f := range m.perhaps {
		if m.outside[f] {
			delete(m.perhaps, unit)
		}
	}
	perhaps := slices.Compact(slices.Sorted(maps.Values(m.perhaps)))
	return MemberUse{
		Inside: slices.Sorted(maps.Keys(m.inside)), Outside: slices.Sorted(maps.Keys(m.outside)), Writers: slices.Sorted(maps.Keys(m.writers)),
		Perhaps: perhaps[:min(len(perhaps), maxPerhaps)], PerhapsUnits: len(m.perhaps), Idle: !m.touched && len(m.inside) == 0,
	}
}

// covers reports whether an access at off is one of the member. A member of no
// size, an array at the structure's end, covers what is behind it.
func (m *Member) covers(off, size int64) bool {
	if m.Size == 0 {
		return off >= m.Offset && off < size
	}
	return off >= m.Offset && off < m.Offset+m.Size
}

// attribute records an access for the members that it is of, and for those of
// structures within.
func (sr *structReader) attribute(sets [][]memberSets, used []bool, a access, u *structUnit, by *[2]map[string]bool, depth int) {
	l := &sr.layout[a.id]
	if u.inside {
		used[a.id] = true
	}
	for i := range l.Members {
		if !l.Members[i].covers(a.offset, l.Size) {
			continue
		}
		s := &sets[a.id][i]
		if u.inside {
			add(&s.inside, by[0])
		} else {
			add(&s.outside, by[0])
			add(&s.writers, by[1])
		}
	}
	if depth > 8 {
		return
	}
	for _, in := range sr.within[a.id] {
		if off := a.offset - in.offset; off >= 0 && off < sr.layout[in.id].Size {
			sr.attribute(sets, used, access{in.id, off}, u, by, depth+1)
		}
	}
}

func add(to *map[string]bool, from map[string]bool) {
	if *to == nil {
		*to = map[string]bool{}
	}
	maps.Copy(*to, from)
}

// perhaps records the unit's distances that fall into members of the structure,
// which is at base in one that the unit knows.
func (sr *structReader) perhaps(sets [][]memberSets, u *structUnit, disps []int64, id int, base int64, depth int) {
	l := &sr.layout[id]
	for i, m := range l.Members {
		from, _ := slices.BinarySearch(disps, base+m.Offset)
		if from == len(disps) || !m.covers(disps[from]-base, l.Size) {
			continue
		}
		s := &sets[id][i]
		if u.inside {
			s.touched = true
			continue
		}
		if s.perhaps == nil {
			s.perhaps = map[string]string{}
		}
		if s.perhaps[u.path] == "" {
			s.perhaps[u.path] = u.disps[disps[from]]
		}
	}
	if depth > 8 {
		return
	}
	for _, in := range sr.within[id] {
		sr.perhaps(sets, u, disps, in.id, base+in.offset, depth+1)
	}
}
