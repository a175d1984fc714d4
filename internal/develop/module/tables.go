// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"plugsched/internal/artefact/layout"
	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/kernel/arch/isa"
)

// anchor is the symbol that addresses in the kernel's text are relative to: one
// relocation base for all, whatever KASLR does.
const anchor = "_stext"

// jumpMax is PLUGSCHED_JUMP_MAX of the runtime.
const jumpMax = 16

// tables renders what the runtime works from: redirections, replaced ranges and
// class tables (runtime/plugsched.h), each in order of the kernel's addresses.
func tables(p *Plan) string {
	g := &tableWriter{plan: p}
	if s := p.Symbols.Global(anchor); s != nil {
		g.base = s.Addr
	}
	g.b.WriteString("/* SPDX-License-Identifier: GPL-2.0-only */\n/* Generated from the boundary; see docs/project/update.md. */\n\n")
	g.redirects()
	g.ranges()
	g.classTables()
	g.holes()
	g.wishes()
	g.layout()
	if p.Arch != nil && p.Arch.Records != nil {
		g.unframed()
	}
	g.scalars()
	return g.b.String()
}

type tableWriter struct {
	plan  *Plan
	base  uint64
	b     strings.Builder
	names []string
}

func (g *tableWriter) line(format string, args ...any) { fmt.Fprintf(&g.b, "\t"+format+"\n", args...) }

func (g *tableWriter) kernel(addr uint64) string {
	return fmt.Sprintf("%s + %#x", anchor, addr-g.base)
}

// name returns a label for a string, which strings writes out.
func (g *tableWriter) name(s string) string {
	g.names = append(g.names, s)
	return fmt.Sprintf(".Lname%d", len(g.names)-1)
}

func (g *tableWriter) open(section, symbol string) {
	g.line(".section %s", section)
	g.line(".balign 8")
	g.line(".globl %s", symbol)
	g.line(".type %s, @object", symbol)
	g.b.WriteString(symbol + ":\n")
}

func (g *tableWriter) count(symbol string, n int) {
	g.open(`.rodata, "a"`, symbol)
	g.line(".quad %d", n)
	g.line(".size %s, 8", symbol)
}

func (g *tableWriter) close(symbol string, n int) {
	g.line(".size %s, . - %s", symbol, symbol)
	if n >= 0 {
		g.count("plugsched_nr_"+strings.TrimPrefix(symbol, "plugsched_"), n)
	}
	g.flush()
}

// flush writes the strings of the table just closed.
func (g *tableWriter) flush() {
	g.line(".section .rodata.str1.1, \"aMS\", @progbits, 1")
	for i, s := range g.names {
		if s != "" {
			fmt.Fprintf(&g.b, ".Lname%d:\n\t.asciz %q\n", i, s)
			g.names[i] = ""
		}
	}
}

func byAddress(b *boundary.Boundary, keep func(*boundary.Function) bool) []*boundary.Function {
	var out []*boundary.Function
	for _, f := range b.Functions {
		if keep(f) {
			out = append(out, f)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Addr < out[j].Addr })
	return out
}

// redirectTarget is the symbol in the module that a function is redirected to.
func redirectTarget(f *boundary.Function) string {
	if f.Name == "__schedule" {
		return bind.ScheduleStub
	}
	return f.Name
}

func (g *tableWriter) redirects() {
	list := byAddress(g.plan.Boundary, func(f *boundary.Function) bool { return f.Class.Border() })
	g.open(`.data, "aw"`, "plugsched_redirects")
	for _, f := range list {
		g.line(".quad %s, %s, %s", g.kernel(f.Addr), redirectTarget(f), g.name(f.Name))
		g.line(".long %d, %d", f.Jump, f.Size)
		shipped := make([]byte, jumpMax)
		copy(shipped, f.Shipped)
		g.line(".byte %s", bytesList(shipped))
		g.line(".zero %d + 3 * 8", jumpMax)
	}
	g.close("plugsched_redirects", len(list))
}

func bytesList(b []byte) string {
	var l []string
	for _, c := range b {
		l = append(l, fmt.Sprintf("%#x", c))
	}
	return strings.Join(l, ", ")
}

// ranges lists the kernel's text that the module replaces: border and internal
// functions with their cold parts. Clones that stay are left out: the kernel
// goes on running its own.
func (g *tableWriter) ranges() {
	type piece struct {
		name              string
		addr, size, allow uint64
	}
	var list []piece
	for _, f := range g.plan.Boundary.Functions {
		if !f.Class.Moves() {
			continue
		}
		p := piece{name: f.Name, addr: f.Addr, size: f.Size}
		if f.Name == "__schedule" {
			p.allow = g.plan.Springboard.Return
		} else if f.Class.Border() {
			p.allow = uint64(f.Jump) // behind the ftrace site: leads to the jump, or to the restored code
		}
		list = append(list, p)
		if s := g.plan.Symbols.In(f.Name+".cold", f.Unit); s != nil {
			list = append(list, piece{name: s.Name, addr: s.Addr, size: s.Size})
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].addr < list[j].addr })
	g.open(`.data.rel.ro, "aw"`, "plugsched_ranges")
	for _, p := range list {
		g.line(".quad %s, %d, %d, %s", g.kernel(p.addr), p.size, p.allow, g.name(p.name))
	}
	g.close("plugsched_ranges", len(list))
}

func (g *tableWriter) classTables() {
	n := 0
	g.open(`.data, "aw"`, "plugsched_tables")
	for _, o := range g.plan.Boundary.Objects {
		if o.Class == boundary.Table {
			g.line(".quad %s, %s, %d, 0, 0", o.Name, bind.TablePrefix+o.Name, o.Size)
			n++
		}
	}
	g.close("plugsched_tables", n)
}

func (g *tableWriter) holes() {
	n := 0
	g.open(`.data.rel.ro, "aw"`, "plugsched_holes")
	for _, h := range g.plan.Holes {
		for _, c := range h.Cleared(g.plan.Types) {
			g.line(".quad %d, %d, %d, %s", c.Kind, c.Offset, c.Size, g.name(c.Name))
			n++
		}
	}
	g.close("plugsched_holes", n)
}

// wishes lists what is to be otherwise with this scheduler of what it inherits.
func (g *tableWriter) wishes() {
	g.open(`.data.rel.ro, "aw"`, "plugsched_wishes")
	for _, name := range slices.Sorted(maps.Keys(g.plan.Features)) {
		set := 0
		if g.plan.Features[name] {
			set = 1
		}
		g.line(".quad %s, %d", g.name(name), set)
	}
	g.close("plugsched_wishes", len(g.plan.Features))
	g.open(`.data, "aw"`, "plugsched_values")
	for _, v := range g.plan.Values {
		g.line(".quad %s, %d, %#x, 0", g.kernel(v.Addr), v.Size, v.Wanted)
	}
	g.close("plugsched_values", len(g.plan.Values))
}

// layout lists where the kernel has its data, as far as that moves with it.
func (g *tableWriter) layout() {
	n := 0
	g.open(`.data.rel.ro, "aw"`, "plugsched_layout")
	for _, name := range layout.Names() {
		for _, s := range g.plan.Symbols.Named(name) {
			if s.Fixed {
				continue
			}
			size := s.Size
			if layout.Harmless[name] != "" && size == 0 { // a label of the linker script
				size = g.plan.Symbols.After(s.Addr) - s.Addr
			}
			g.line(".quad %s, %d, %s", g.kernel(s.Addr), size, g.name(name))
			n++
		}
	}
	g.close("plugsched_layout", n)
}

// unframed lists the functions whose callers a walk by frame records does not see. One of assembly may lie in another: what
// is searched has no two pieces of code in one place.
func (g *tableWriter) unframed() {
	var list []isa.Unframed
	for _, f := range g.plan.Unframed {
		if n := len(list); n > 0 && f.Addr < list[n-1].Addr+list[n-1].Size {
			list[n-1].Size = max(list[n-1].Size, f.Addr+f.Size-list[n-1].Addr)
		} else {
			list = append(list, f)
		}
	}
	g.open(`.data.rel.ro, "aw"`, "plugsched_unframed")
	for _, f := range list {
		g.line(".quad %s, %d", g.kernel(f.Addr), f.Size)
	}
	g.close("plugsched_unframed", len(list))
}

func (g *tableWriter) scalars() {
	features := 0
	if o := g.plan.Boundary.FindObject("sched_feat_names"); len(o) == 1 {
		features = int(o[0].Size / 8)
	}
	g.count("plugsched_nr_orig_features", features)
	for _, s := range [][2]string{{"plugsched_build_id", g.plan.Boundary.BuildID}, {"plugsched_release", g.plan.Boundary.Release}} {
		g.open(`.rodata, "a"`, s[0])
		g.line(".asciz %q", s[1])
		g.line(".size %s, . - %s", s[0], s[0])
	}
}
