// SPDX-License-Identifier: BSD-3-Clause

// Package boundary decides which functions of the scheduler move into the
// module and which stay in the kernel, and says why.
//
// The boundary is derived from the shipped binary. A function on the border is
// redirected from the kernel to the module; an internal function is only ever
// reached through the border, so it needs no redirection; an external function
// stays, because it cannot be redirected safely.
package boundary

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/image"
	"plugsched/internal/kernel/symbols"
)

// Class is the place of a function in the boundary.
type Class string

// The classes of functions. Interface and Callback together are the border.
const (
	Interface Class = "interface" // called by code that stays, or exported; redirected
	Callback  Class = "callback"  // reached through its address only; redirected
	Internal  Class = "internal"  // reached from the module only
	External  Class = "external"  // stays in the kernel
	Init      Class = "init"      // __init or __exit code: ran once, stays
)

// Classes are all classes of functions.
var Classes = []Class{Interface, Callback, Internal, External, Init}

// Describe says in words what a class means.
func (c Class) Describe() string {
	switch c {
	case Interface:
		return "interface: the kernel's is redirected to the module's; code that stays can call it"
	case Callback:
		return "callback: the kernel's is redirected to the module's; it is reached through its address only"
	case Internal:
		return "internal: it moves, and is only reached from the module"
	case Init:
		return "init: it ran at boot"
	}
	return "external: it stays in the kernel and cannot be changed"
}

// Border reports classes whose functions are redirected.
func (c Class) Border() bool { return c == Interface || c == Callback }

// Moves reports classes whose functions the module replaces.
func (c Class) Moves() bool { return c.Border() || c == Internal }

// Fact is one reason for a function's class.
type Fact struct {
	Kind string `json:"kind"`         // "called", "exported", "address", "stays", "override", ...
	Text string `json:"text"`         // in words, names the other side
	By   string `json:"by,omitempty"` // the other function or object, where there is one
}

// Function is a function of the scheduler as the kernel has it.
type Function struct {
	Name     string   `json:"name"`
	Base     string   `json:"base"`              // source name; differs from Name for gcc's clones
	Aliases  []string `json:"aliases,omitempty"` // other functions that gcc found to have the same code
	Unit     string   `json:"unit"`
	DeclFile string   `json:"decl_file"`
	DeclLine int      `json:"decl_line"`
	Addr     uint64   `json:"addr"` // link address
	Size     uint64   `json:"size"`
	Class    Class    `json:"class"`
	Facts    []Fact   `json:"facts"`
	Sidecar  bool     `json:"sidecar,omitempty"` // moves because the project names it
	// Movable, FILE:FUNCTION, is the sidecar as which a function moves that stays without: any user
	// can keep a task in it, and nothing else holds it.
	Movable string `json:"movable,omitempty"`
	// Builds says what the function builds that lasts, Makes what it sets up that comes and
	// goes, if it is for nothing else. Boot marks one that only code calls that ran at boot.
	Builds string `json:"builds,omitempty"`
	Makes  string `json:"makes,omitempty"`
	Boot   bool   `json:"boot,omitempty"`
	// Callers and Callees are the functions that branch to it and that it branches
	// to, the kernel's other functions included. Sorted, by name.
	Callers []string `json:"callers,omitempty"`
	Callees []string `json:"callees,omitempty"`
	// Inlines are scheduler functions inlined into a function that stays: to
	// change them would be to change it.
	Inlines []string `json:"inlines,omitempty"`
	// Jump is where a redirection goes, as an offset from Addr: behind the
	// ftrace site, so that tracing keeps working. Border functions only.
	Jump int `json:"jump"`
	// Shipped is what the vmlinux has where the jump goes.
	Shipped []byte `json:"shipped,omitempty"`
}

// Clone reports functions whose calling convention gcc changed.
func (f *Function) Clone() bool { return f.Name != f.Base }

// ObjectClass says who owns an object while the module is live.
type ObjectClass string

// The classes of objects.
const (
	Shared  ObjectClass = "shared"  // the kernel's, used by both
	Private ObjectClass = "private" // the module has its own
	Table   ObjectClass = "table"   // the kernel's, rewritten in place with the module's contents
)

// ObjectClasses are all classes of variables.
var ObjectClasses = []ObjectClass{Shared, Private, Table}

// Describe says in words what a class means.
func (c ObjectClass) Describe() string {
	switch c {
	case Private:
		return "private: the module has its own, and the kernel keeps its own"
	case Table:
		return "table: the kernel's, with the module's contents while that is live"
	}
	return "shared: the kernel's, used by the kernel and the module"
}

// Object is a variable of the scheduler.
type Object struct {
	Name     string      `json:"name"`
	Unit     string      `json:"unit"`
	DeclFile string      `json:"decl_file"`
	DeclLine int         `json:"decl_line"`
	Type     string      `json:"type"`
	Addr     uint64      `json:"addr"` // link address, or offset in the per-CPU section
	Size     uint64      `json:"size"`
	Class    ObjectClass `json:"class"`
	Why      string      `json:"why"`
	Exported bool        `json:"exported,omitempty"`
	// Inside and Outside are the functions of the scheduler, and of the rest of the
	// kernel, that name its address. Sorted.
	Inside  []string `json:"inside,omitempty"`
	Outside []string `json:"outside,omitempty"`
}

// Boundary is the result, in an order that only depends on its inputs.
type Boundary struct {
	Release   string      `json:"release"`
	BuildID   string      `json:"build_id"`
	Sources   []string    `json:"sources"`            // the directories that are the scheduler's
	Sidecars  []string    `json:"sidecars,omitempty"` // units outside of them of which functions move, sorted
	Functions []*Function `json:"functions"`          // by name, then unit
	Objects   []*Object   `json:"objects"`            // by name, then unit
	// Absent are functions of the source that the kernel has no symbol of. By
	// name, then unit.
	Absent []*Absent `json:"absent"`
	// Obstacle says why no module can be made for this kernel; "" if nothing is
	// known to forbid it.
	Obstacle string `json:"obstacle,omitempty"`
}

// Absent is a function of the scheduler's source without a symbol.
type Absent struct {
	Name     string `json:"name"`
	Unit     string `json:"unit"`
	DeclFile string `json:"decl_file"`
	DeclLine int    `json:"decl_line"`
	// Into are the functions that it was inlined into; none if another
	// definition, in Over, replaced it because it is weak.
	Into []string `json:"into,omitempty"`
	Over string   `json:"over,omitempty"`
}

// Owns reports whether a source file, relative to the kernel tree, is the
// scheduler's.
func (b *Boundary) Owns(file string) bool { return below(b.Sources, file) }

// Counts returns how many functions are in each class.
func (b *Boundary) Counts() map[Class]int {
	m := map[Class]int{}
	for _, f := range b.Functions {
		m[f.Class]++
	}
	return m
}

// Kept counts the functions that stay because any user can keep a task in them.
func (b *Boundary) Kept() int {
	n := 0
	for _, f := range b.Functions {
		if f.Class == External && slices.ContainsFunc(f.Facts, func(f Fact) bool { return f.Kind == "waits" }) {
			n++
		}
	}
	return n
}

// Sidecar returns the functions that move because the project names them.
func (b *Boundary) Sidecar() []*Function {
	var out []*Function
	for _, f := range b.Functions {
		if f.Sidecar {
			out = append(out, f)
		}
	}
	return out
}

// Find returns every function with the symbol or source name.
func (b *Boundary) Find(name string) []*Function {
	var out []*Function
	for _, f := range b.Functions {
		if f.Name == name || f.Base == name || slices.Contains(f.Aliases, name) {
			out = append(out, f)
		}
	}
	return out
}

// FindAbsent returns the functions of that name that have no symbol.
func (b *Boundary) FindAbsent(name string) []*Absent {
	var out []*Absent
	for _, x := range b.Absent {
		if x.Name == name {
			out = append(out, x)
		}
	}
	return out
}

// Similar returns up to n names of functions and variables that contain a name
// that nothing has, or a part of it.
func (b *Boundary) Similar(name string, n int) []string {
	var out []string
	add := func(s string) {
		if len(out) < n && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for part := strings.Trim(name, "_"); len(part) > 3 && len(out) == 0; part = part[:len(part)-1] {
		for _, f := range b.Functions {
			if strings.Contains(f.Base, part) {
				add(f.Base)
			}
		}
		for _, x := range b.Absent {
			if strings.Contains(x.Name, part) {
				add(x.Name)
			}
		}
		for _, o := range b.Objects {
			if strings.Contains(o.Name, part) {
				add(o.Name)
			}
		}
	}
	return out
}

// FindObject returns every object with the name.
func (b *Boundary) FindObject(name string) []*Object {
	var out []*Object
	for _, o := range b.Objects {
		if o.Name == name {
			out = append(out, o)
		}
	}
	return out
}

// SetUsers records who uses the variables.
func (b *Boundary) SetUsers(users map[*image.Object][]*image.Function) {
	byPlace := map[uint64][]*Object{}
	for _, o := range b.Objects {
		byPlace[o.Addr] = append(byPlace[o.Addr], o)
	}
	for io, list := range users {
		var in, out []*image.Function
		for _, f := range list {
			if b.Owns(f.Unit) {
				in = append(in, f)
			} else if !strings.HasPrefix(f.Section, ".init") {
				out = append(out, f)
			}
		}
		for _, o := range byPlace[io.Addr] {
			if o.Name == io.Name {
				o.Inside, o.Outside = names(in), names(out)
			}
		}
	}
}

// Derive computes the boundary of the functions declared under cfg.Sources. tail
// names the functions that __schedule calls behind the context switch: that part
// of it stays.
func Derive(ctx context.Context, p *image.Program, a *arch.Arch, cfg *Config, tail []string) (*Boundary, error) {
	d := &deriver{prog: p, arch: a, cfg: cfg, tail: tail, nodes: map[*image.Function]*node{}}
	if err := d.classes(ctx); err != nil {
		return nil, err
	}
	if err := d.checkSidecars(); err != nil {
		return nil, err
	}
	b, err := d.result(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.movable(ctx, b); err != nil {
		return nil, err
	}
	return b, nil
}

// classes finds the scheduler's functions, and what keeps which of them.
func (d *deriver) classes(ctx context.Context) error {
	if err := d.findSidecars(); err != nil {
		return err
	}
	if err := d.collect(); err != nil {
		return err
	}
	d.evidence()
	if err := d.staying(ctx); err != nil {
		return err
	}
	if err := d.override(); err != nil {
		return err
	}
	return d.settle(ctx)
}

// node is a function of the scheduler while its class is being worked out.
type node struct {
	fn   *image.Function
	decl bool // declared in the scheduler's own files
	jump int

	callers []*image.Function // functions that branch to it, any
	tail    bool              // called by __schedule behind the context switch
	takers  []string          // who takes its address, class tables aside
	tables  []string          // the class tables that it is in
	files   []string          // the operations of files that any user may open
	init    bool
	stays   []Fact // non-empty: cannot move
	side    *Sidecar
	notes   []Fact // would keep it, were it not a sidecar
	result  *Function
}

type deriver struct {
	prog    *image.Program
	arch    *arch.Arch
	cfg     *Config
	tail    []string
	nodes   map[*image.Function]*node
	order   []*node
	named   map[*image.Function]*Sidecar
	waits   map[*image.Function]bool              // __sched, outside of the scheduler, does nothing but wait
	all     map[*image.Function][]*image.Function // callers of every function
	holders map[[2]string][]*image.Function       // by file and name of what they inline
}

// collect finds the scheduler's functions. A .cold part belongs to its function.
func (d *deriver) collect() error {
	for _, f := range d.prog.Functions {
		side := d.named[f]
		if side == nil && !d.cfg.Source(f.Unit) || strings.HasSuffix(f.Name, ".cold") {
			continue
		}
		n := &node{fn: f, decl: d.cfg.Source(f.DeclFile) || side != nil && f.DeclFile == side.File, side: side}
		n.init = symbols.InitSection(f.Section)
		d.nodes[f] = n
		d.order = append(d.order, n)
	}
	if len(d.order) == 0 {
		return fmt.Errorf("%s: no function of %s found: its debug information does not cover the scheduler",
			d.prog.Path, strings.Join(d.cfg.Sources, ", "))
	}
	sort.Slice(d.order, func(i, j int) bool {
		a, b := d.order[i].fn, d.order[j].fn
		if a.Name != b.Name {
			return a.Name < b.Name
		}
		return a.Addr < b.Addr
	})
	return nil
}

// whole maps a .cold part to the function it was split from.
func (d *deriver) whole(f *image.Function) *image.Function {
	if base, ok := strings.CutSuffix(f.Name, ".cold"); ok {
		if w := d.prog.Lookup(base, f.Unit); w != nil {
			return w
		}
	}
	return f
}

// evidence collects who calls and who takes the address of each function.
func (d *deriver) evidence() {
	for _, f := range d.prog.Functions {
		from := d.whole(f)
		for _, c := range f.Calls {
			if n := d.nodes[d.whole(c.To)]; n != nil && n.fn != from {
				n.callers = append(n.callers, from)
			}
		}
		for _, t := range f.Takes {
			if n := d.nodes[t.To]; n != nil {
				n.takers = append(n.takers, "code of "+describe(from))
			}
		}
	}
	for _, name := range d.tail {
		for _, f := range d.prog.Func(name) {
			if n := d.nodes[f]; n != nil {
				n.tail = true
			}
		}
	}
	for _, t := range d.prog.DataTakes {
		n := d.nodes[t.To]
		if n == nil {
			continue
		}
		if d.isTable(t.In) {
			n.tables = append(n.tables, t.In.Name)
			continue
		}
		if t.In != nil && d.cfg.fileTable(t.In.Type) {
			n.files = append(n.files, t.In.Name)
		}
		where := fmt.Sprintf("data at %#x", t.Addr)
		if t.In != nil {
			where = "object " + t.In.Name
		}
		n.takers = append(n.takers, where)
	}
}

func describe(f *image.Function) string {
	if f.Unit == "" {
		return f.Name + " (assembly)"
	}
	return f.Name + " (" + f.Unit + ")"
}

// isTable reports the scheduling class tables: the update rewrites them in place
// (kernel/sched/sched.h, struct sched_class), so that being in one does not
// expose a function.
func (d *deriver) isTable(o *image.Object) bool {
	return o != nil && o.Type == "struct sched_class" && d.cfg.Source(o.Unit)
}

// settle moves functions out until nothing changes: what code that stays can
// reach has to be redirected, and what cannot be redirected stays too.
func (d *deriver) settle(ctx context.Context) error {
	for changed := true; changed; {
		if err := ctx.Err(); err != nil {
			return err
		}
		changed = false
		for _, n := range d.order {
			if len(n.stays) > 0 || !d.reached(n) {
				continue
			}
			if why := d.unredirectable(n); why != "" {
				n.stays = append(n.stays, Fact{Kind: "stays", Text: why})
				changed = true
			}
		}
	}
	return nil
}

// reached reports whether code that stays in the kernel can get to n.
func (d *deriver) reached(n *node) bool {
	return n.fn.Exported || n.fn.BPF || n.tail || len(n.takers) > 0 || len(d.outsideCallers(n)) > 0
}

// outsideCallers are the callers of n that stay. Calls from __init code do not
// count: it is gone by the time a module is loaded.
func (d *deriver) outsideCallers(n *node) []*image.Function {
	var out []*image.Function
	for _, f := range n.callers {
		if strings.HasPrefix(f.Section, ".init") {
			continue
		}
		if c := d.nodes[f]; c == nil || len(c.stays) > 0 {
			out = append(out, f)
		}
	}
	return out
}

// unredirectable says why a jump cannot be put at n, or "".
func (d *deriver) unredirectable(n *node) string {
	f := n.fn
	if f.Name != f.Base {
		return "is a clone (" + f.Name + ") whose calling convention only gcc knows, and code that stays calls it"
	}
	if d.prog.InRange(f.Addr, "__noinstr_text_start", "__noinstr_text_end") {
		return "runs where instrumentation is forbidden (noinstr: entry code and NMI)"
	}
	if f.NoProbe {
		return "is called by what handles breakpoints (NOKPROBE_SYMBOL), and one is there while the jump is written"
	}
	n.jump = d.arch.JumpOffset(f.FtraceSite, d.prog.Bytes(f.Addr, 16))
	start := f.Addr + uint64(n.jump)
	end := start + uint64(d.arch.JumpSize)
	if next := d.prog.NextFunction(f); next != 0 && end > next {
		return fmt.Sprintf("is too small (%d bytes) to hold a jump", f.Size)
	}
	if s := d.prog.PatchSiteIn(start, end); s != nil {
		return fmt.Sprintf("has a %s at +%#x, where the jump would go: the kernel rewrites that place on its own", s.Kind, s.Addr-f.Addr)
	}
	return ""
}
