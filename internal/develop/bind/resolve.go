// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"plugsched/internal/kernel/symbols"
)

// Place is where the kernel has a symbol.
type Place struct {
	Addr  uint64 // link address
	Fixed bool   // not moved by KASLR: a per-CPU offset or a constant
	// Sealed is a function that must not be called by pointer (image.Function).
	Sealed bool
}

// Resolve finds where the kernel has each name that the linked module leaves undefined.
// bound are those of which Render said what they mean. missing are those that the kernel
// does not have, gone those that it had until it had booted and that the scheduler did not use before.
func (k *Kernel) Resolve(bound map[string]*symbols.Symbol, undefined []string) (places map[string]Place, missing, gone []string) {
	places = map[string]Place{}
	for _, name := range undefined {
		s := bound[name]
		if s == nil {
			s = k.find(name)
		}
		if s == nil {
			missing = append(missing, name)
			continue
		}
		if s.Init && !k.usedByMoving(s) {
			gone = append(gone, s.Name)
			continue
		}
		places[name] = Place{Addr: s.Addr, Fixed: s.Fixed, Sealed: s.Sealed}
	}
	return places, missing, gone
}

// find returns the symbol that a name means when nobody said which: the runtime's own
// names, and those of the rules.
func (k *Kernel) find(name string) *symbols.Symbol {
	name = strings.TrimPrefix(name, OrigPrefix)
	if s := k.Symbols.Global(name); s != nil {
		return s
	}
	for _, f := range k.Boundary.Find(name) {
		if s := k.Symbols.In(f.Name, f.Unit); s != nil && f.Name == name {
			return s
		}
	}
	if l := k.Symbols.Named(name); len(l) > 0 && k.Symbols.Unique(name) {
		return l[0]
	}
	return nil
}

// witnesses is how many symbols the installer checks.
const witnesses = 64

// Witnesses are places by which the installer tells that the running kernel is laid out as
// the one that the module was bound to: of names that mean one thing only, those with the
// lowest addresses. /proc/kallsyms is in order of addresses, they are found soonest. It may have names of code
// only, between these two (scripts/kallsyms.c, text_ranges).
func (k *Kernel) Witnesses(places map[string]Place) map[string]uint64 {
	start, end := k.Symbols.Global("_stext"), k.Symbols.Global("_etext")
	named := func(addr uint64) bool { return start == nil || end == nil || start.Addr <= addr && addr < end.Addr }
	names := slices.DeleteFunc(slices.Collect(maps.Keys(places)), func(name string) bool {
		return places[name].Fixed || !k.Symbols.Unique(name) || !named(places[name].Addr)
	})
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(places[a].Addr, places[b].Addr), strings.Compare(a, b))
	})
	out := map[string]uint64{}
	for _, name := range names[:min(len(names), witnesses)] {
		out[name] = places[name].Addr
	}
	return out
}
