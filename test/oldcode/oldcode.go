// SPDX-License-Identifier: BSD-3-Clause

// Package oldcode says which bytes of a kernel must not run while a scheduler
// module is installed: the bodies of the functions that the module replaces.
// A test has them filled with traps (test/kmod) and waits for nothing to happen.
package oldcode

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/image"
)

// Range is code of one function; it begins and ends between instructions.
type Range struct {
	Name string
	Addr uint64 // link address
	Len  uint64 // bytes
}

func (r Range) end() uint64 { return r.Addr + r.Len }

// Ranges returns what must not run, by address. Left out are the jump at a
// function's head, whatever the running kernel may rewrite on its own (it gives up
// when it finds something else there) and __schedule from its call of the context
// switch on, where every sleeper goes on.
//
// It is an error if a byte belongs to a function that stays.
func Ranges(p *image.Program, b *boundary.Boundary) ([]Range, error) {
	a, err := arch.Of(p.Machine)
	if err != nil {
		return nil, err
	}
	c := &collector{prog: p, arch: a, moved: map[uint64]bool{}}
	if err := c.findSites(); err != nil {
		return nil, err
	}
	for _, f := range b.Functions {
		if !f.Class.Moves() {
			continue
		}
		if err := c.function(f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	slices.SortFunc(c.out, func(a, b Range) int { return cmp.Compare(a.Addr, b.Addr) })
	return c.out, c.check()
}

// Render writes ranges as test/kmod reads them, moved by offset: what KASLR added
// to the link addresses.
func Render(list []Range, offset uint64) []byte {
	var b bytes.Buffer
	for _, r := range list {
		fmt.Fprintf(&b, "%s %x %x\n", r.Name, r.Addr+offset, r.Len)
	}
	return b.Bytes()
}

type collector struct {
	prog  *image.Program
	arch  *arch.Arch
	sites []Range         // of instructions to leave alone, by address
	moved map[uint64]bool // functions and cold parts that the module replaces
	out   []Range
}

// findSites lists what the kernel rewrites while it runs, and what it rewrote at
// boot: between instructions of the file may be the middle of one of the kernel's.
func (c *collector) findSites() error {
	for _, s := range c.prog.PatchSites {
		c.sites = append(c.sites, Range{Addr: s.Addr, Len: max(uint64(s.Size), c.instruction(s.Addr))})
	}
	alts := c.prog.Section(".altinstructions")
	if alts == nil {
		return fmt.Errorf("%s: no .altinstructions", c.prog.Path)
	}
	list, err := c.arch.Alternatives(alts.Data, alts.Addr, c.isCode, c.isCode)
	if err != nil {
		return err
	}
	for _, a := range list {
		c.sites = append(c.sites, Range{Addr: a.Site, Len: uint64(a.SiteLen)})
	}
	slices.SortFunc(c.sites, func(a, b Range) int { return cmp.Compare(a.Addr, b.Addr) })
	return nil
}

func (c *collector) isCode(addr uint64) bool {
	return slices.ContainsFunc(c.prog.Sections(), func(s *image.Section) bool { return s.Exec && addr-s.Addr < s.Size })
}

// instruction is the length of the one at addr, prefixes included; 0 if unknown.
func (c *collector) instruction(addr uint64) uint64 {
	return uint64(c.arch.Size(c.prog.Bytes(addr, c.arch.MaxInstruction)))
}

func (c *collector) function(f *boundary.Function) error {
	g := c.prog.FuncAt(f.Addr)
	if g == nil || g.Addr != f.Addr || g.Size != f.Size {
		return fmt.Errorf("the vmlinux has something else at %#x: is it the boundary's?", f.Addr)
	}
	end := f.Addr + f.Size
	if f.Name == "__schedule" {
		call, err := c.switchCall(g)
		if err != nil {
			return err
		}
		end = call
	}
	start, err := c.behindHead(f, g)
	if err != nil {
		return err
	}
	c.moved[f.Addr] = true
	c.add(f.Name, start, end)
	if cold := c.prog.Lookup(f.Name+".cold", f.Unit); cold != nil && cold.Unit == f.Unit {
		c.moved[cold.Addr] = true
		c.add(cold.Name, cold.Addr, cold.Addr+cold.Size)
	}
	return nil
}

// switchCall is where __schedule calls the context switch. The module's goes to
// that instruction to switch (docs/project/update.md).
func (c *collector) switchCall(schedule *image.Function) (uint64, error) {
	for _, call := range schedule.Calls {
		if call.To.Name == c.arch.SwitchTo {
			return call.Site, nil
		}
	}
	return 0, fmt.Errorf("does not call %s", c.arch.SwitchTo)
}

// behindHead is the first instruction behind the bytes that are not the function's
// own: the jump, or ftrace's site if nothing jumps.
func (c *collector) behindHead(f *boundary.Function, g *image.Function) (uint64, error) {
	at, end := f.Addr, f.Addr
	switch {
	case f.Class.Border():
		at += uint64(f.Jump)
		end = at + uint64(c.arch.JumpSize)
	case g.FtraceSite >= 0:
		return f.Addr + uint64(g.FtraceSite+c.arch.FtraceSize), nil
	}
	for at < end {
		n := c.instruction(at)
		if n == 0 {
			return 0, fmt.Errorf("cannot decode the instruction at +%#x", at-f.Addr)
		}
		at += n
	}
	return at, nil
}

// add appends [start, end) without the sites in it.
func (c *collector) add(name string, start, end uint64) {
	// No site is longer than an alternative's length field can say.
	const longest = 255
	i, _ := slices.BinarySearchFunc(c.sites, start-longest, func(s Range, a uint64) int { return cmp.Compare(s.Addr, a) })
	for ; i < len(c.sites) && c.sites[i].Addr < end; i++ {
		s := c.sites[i]
		if s.end() <= start {
			continue
		}
		if s.Addr > start {
			c.out = append(c.out, Range{name, start, s.Addr - start})
		}
		start = s.end()
	}
	if start < end {
		c.out = append(c.out, Range{name, start, end - start})
	}
}

// check holds the result against every function of the kernel.
func (c *collector) check() error {
	if len(c.out) == 0 {
		return fmt.Errorf("the boundary moves nothing")
	}
	i := 0
	for _, r := range c.out {
		for i < len(c.prog.Functions) && c.prog.Functions[i].Addr+c.prog.Functions[i].Size <= r.Addr {
			i++
		}
		for j := i; j < len(c.prog.Functions) && c.prog.Functions[j].Addr < r.end(); j++ {
			g := c.prog.Functions[j]
			if !c.moved[g.Addr] && g.Addr+g.Size > r.Addr {
				return fmt.Errorf("%s: its code at %#x is also that of %s, which stays", r.Name, r.Addr,
					strings.Join(append([]string{g.Name}, g.Aliases...), ", "))
			}
		}
	}
	return nil
}
