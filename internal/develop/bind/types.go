// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"context"
	"debug/elf"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/image"
)

// CompareTypes holds the structures and prototypes of an edited unit against the
// pristine one's. sources are those of the kernel: without them a structure that can be
// linked into a list counts as one that the kernel has.
func (k *Kernel) CompareTypes(ctx context.Context, unit string, now, was *image.Types, src *edits.Set, sources *Sources) (*Changes, error) {
	out, err := k.compareLayouts(ctx, unit, was, now, src, sources)
	if err != nil {
		return nil, err
	}
	out.Refusals = slices.Concat(out.Refusals, compareClasses(was, now, src), k.comparePrototypes(unit, was, now, src))
	return out, nil
}

// classType is the type of scheduling classes (kernel/sched/sched.h).
const classType = "struct sched_class"

// leavingHook is what takes tasks out of a class before its scheduler is left (runtime/api.h).
const leavingHook = "plugsched_leaving"

// compareClasses refuses scheduling classes that the kernel does not have, unless their project
// says how tasks leave them: these would go on pointing at them when the module is gone. Where
// classes are kept does not matter.
func compareClasses(was, now *image.Types, src *edits.Set) (out []Refusal) {
	if e := src.Find(leavingHook, edits.Function); e != nil && !e.Gone {
		return nil
	}
	have := map[string]bool{}
	for _, v := range was.Variables {
		have[v.Name] = have[v.Name] || holdsClass(was, v.Type, 0)
	}
	for _, v := range now.Variables {
		if have[v.Name] || !holdsClass(now, v.Type, 0) {
			continue
		}
		r := Refusal{Class: SchedClass, Name: v.Name, File: v.DeclFile, Line: v.DeclLine,
			Why: "is a new scheduling class, and the kernel has the list of classes in its image: tasks in it would be lost when the module goes",
			Do: "define " + leavingHook + "(), which takes them out of it (docs/develop/hooks.md#a-class-of-your-own)," +
				" or put the new policy into a class that the kernel has"}
		if e := src.Find(v.Name, edits.Variable); e != nil && !e.Gone {
			r.File, r.Line = e.File, e.At
		}
		out = append(out, r)
	}
	return out
}

// holdsClass reports types of which a scheduling class is a part.
func holdsClass(t *image.Types, name string, depth int) bool {
	const deep = 16
	name = elementType(name)
	if name == classType {
		return true
	}
	return depth < deep && slices.ContainsFunc(t.Layouts[name].Members, func(m image.Member) bool { return holdsClass(t, m.Type, depth+1) })
}

// ReadTypes reads the debug information of an object.
func ReadTypes(object string) (*image.Types, error) {
	f, err := elf.Open(object)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, err := f.DWARF()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object, err)
	}
	t, err := image.ReadTypes(d, func(string) bool { return true })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object, err)
	}
	return t, nil
}

// compareLayouts refuses changes of structures that the kernel knows too, unless
// they only use space that was free.
func (k *Kernel) compareLayouts(ctx context.Context, unit string, was, now *image.Types, src *edits.Set,
	sources *Sources) (out *Changes, err error) {
	out = &Changes{}
	var shared map[string]bool
	for _, name := range sortedNames(was.Layouts) {
		old := was.Layouts[name]
		l, ok := now.Layouts[name]
		if !ok || old.Equal(l) {
			continue
		}
		if shared == nil {
			if shared, err = k.sharedTypes(ctx, was, unit, sources); err != nil {
				return nil, err
			}
		}
		if !shared[name] {
			continue
		}
		if used, ok := fits(old, l); ok {
			for _, m := range used {
				out.Warnings = append(out.Warnings, hole(name, old, m).warning(was, m.Name))
			}
			out.Holes = append(out.Holes, holes(name, old, used)...)
			continue
		}
		r := Refusal{Class: Layout, Name: name, File: l.DeclFile, Line: l.DeclLine,
			Why: "changes (" + difference(old, l) + "), but the kernel has it too: what exists already keeps the old layout",
			Do: "undo the change, and keep new data in a reserved member, in a hole (`pahole`) or beside the structure" +
				" (docs/develop/hooks.md#data)"}
		if e := src.Find(name, edits.Type); e != nil {
			r.File, r.Line = e.File, e.At
		}
		out.Refusals = append(out.Refusals, r)
	}
	out.Refusals = innermost(out.Refusals, was, now)
	return out, nil
}

// innermost leaves out structures that only changed because one in them did: their own members
// are what they were.
func innermost(list []Refusal, was, now *image.Types) []Refusal {
	changed := map[string]bool{}
	for _, r := range list {
		changed[r.Name] = true
	}
	var out []Refusal
	for _, r := range list {
		contains := false
		for _, m := range was.Layouts[r.Name].Members {
			contains = contains || changed[elementType(m.Type)] && elementType(m.Type) != r.Name
		}
		if !contains || !slices.EqualFunc(was.Layouts[r.Name].Members, now.Layouts[r.Name].Members, sameMember) {
			out = append(out, r)
		}
	}
	return out
}

// sameMember compares two members wherever they are.
func sameMember(a, b image.Member) bool {
	return a.Name == b.Name && a.Type == b.Type && a.BitSize == b.BitSize
}

// elementType is what an array is made of.
func elementType(name string) string {
	name, _, _ = strings.Cut(name, "[")
	return name
}

// spare matches the names of members that stand for space left for later, which
// distributions' kABI macros make: ANDROID_KABI_RESERVE(1) is android_kabi_reserved1,
// RH_KABI_RESERVE(1) rh_reserved1, suse_kabi_padding is written as it is.
var spare = regexp.MustCompile(`(?i)((^|_)reserved|kabi_padding)_*\d*$`)

// fits reports that a structure kept every member that it had, but spare ones, and
// that the new ones overlap none: code that was compiled with the old layout
// cannot tell. used are the new ones.
func fits(was, now image.Layout) (used []image.Member, ok bool) {
	if was.Size != now.Size {
		return nil, false
	}
	kept := map[image.Member]bool{}
	for _, m := range now.Members {
		kept[m] = true
	}
	old := map[image.Member]bool{}
	for _, m := range was.Members {
		old[m] = true
		if m.Name != "" && !kept[m] && !spare.MatchString(m.Name) && !another(m, was.Members, kept) {
			return nil, false
		}
	}
	for _, m := range now.Members {
		if m.Name == "" || old[m] || strings.Contains(m.Type, "{") || another(m, was.Members, kept) {
			continue
		}
		for _, w := range was.Members {
			if w.Name != "" && !spare.MatchString(w.Name) && !holds(was, w) && overlap(m, w) {
				return nil, false
			}
		}
		used = append(used, m)
	}
	return used, true
}

// another reports a member that is only another name, in a union, of one that was there and is
// kept: of the same type, in the same place.
func another(m image.Member, members []image.Member, kept map[image.Member]bool) bool {
	return slices.ContainsFunc(members, func(o image.Member) bool {
		same := o
		same.Name = m.Name
		return o.Name != m.Name && o.Name != "" && same == m && kept[o]
	})
}

// holds reports a member whose own members follow it.
func holds(l image.Layout, m image.Member) bool {
	for _, o := range l.Members {
		if strings.HasPrefix(o.Name, m.Name+".") {
			return true
		}
	}
	return false
}

func overlap(a, b image.Member) bool {
	a1, a2 := bits(a)
	b1, b2 := bits(b)
	return a1 < b2 && b1 < a2
}

func bits(m image.Member) (from, to int64) {
	from = m.Offset*8 + m.BitOffset
	if m.BitSize > 0 {
		return from, from + m.BitSize
	}
	return from, from + m.Size*8
}

// difference is the field diff of two layouts: new members, those that are gone,
// those of another type, and how many others moved.
func difference(was, now image.Layout) string {
	old := map[string]image.Member{}
	for _, m := range was.Members {
		old[m.Name] = m
	}
	var out []string
	moved := 0
	first := ""
	for _, m := range now.Members {
		w, ok := old[m.Name]
		delete(old, m.Name)
		switch {
		case m.Name == "":
		case !ok:
			out = append(out, fmt.Sprintf("+ %s %s at byte %d", m.Type, m.Name, m.Offset))
		case w.Type != m.Type || w.Size != m.Size || w.BitSize != m.BitSize:
			out = append(out, fmt.Sprintf("%s was %s (%s), is %s (%s)", m.Name, w.Type, width(w), m.Type, width(m)))
		case w != m:
			if moved++; first == "" {
				first = fmt.Sprintf("%s from byte %d to %d", m.Name, w.Offset, m.Offset)
			}
		}
	}
	for _, m := range was.Members {
		if _, gone := old[m.Name]; gone && m.Name != "" {
			out = append(out, fmt.Sprintf("- %s %s at byte %d", m.Type, m.Name, m.Offset))
		}
	}
	const few = 6
	if n := len(out); n > few {
		out = append(out[:few], fmt.Sprintf("and %d more", n-few))
	}
	if moved > 0 {
		out = append(out, fmt.Sprintf("%d members move, %s", moved, first))
	}
	if was.Size != now.Size {
		out = append(out, fmt.Sprintf("size was %d, is %d bytes", was.Size, now.Size))
	}
	return strings.Join(out, "; ")
}

func width(m image.Member) string {
	if m.BitSize > 0 {
		return fmt.Sprintf("%d bits", m.BitSize)
	}
	return fmt.Sprintf("%d bytes", m.Size)
}

var typeNames = regexp.MustCompile(`(?:struct|union) \w+|\w+`)

// sharedTypes are the structures that the kernel and the module both see: those
// that somebody else declares, those of variables, those that cross the border
// as arguments, those that can be linked into lists while they are in memory of the
// kernel, and whatever these contain or point to. What is left lives on the module's
// own stack.
func (k *Kernel) sharedTypes(ctx context.Context, t *image.Types, unit string, s *Sources) (map[string]bool, error) {
	shared := map[string]bool{}
	var work []string
	add := func(text string) {
		for _, n := range typeNames.FindAllString(text, -1) {
			if _, ok := t.Layouts[n]; ok && !shared[n] {
				shared[n] = true
				work = append(work, n)
			}
		}
	}
	for name, l := range t.Layouts {
		if !k.Boundary.Owns(l.DeclFile) {
			add(name)
		} else if linked(t, name, 0) {
			if free, err := k.stackOnly(ctx, t, unit, name, s); err != nil {
				return nil, err
			} else if !free {
				add(name)
			}
		}
	}
	for _, o := range k.Boundary.Objects {
		add(o.Type)
	}
	for _, f := range k.Boundary.Functions {
		if p, ok := t.Prototypes[f.Base]; ok && f.Class != boundary.Internal {
			add(p.Signature)
		}
	}
	for len(work) > 0 {
		name := work[0]
		work = work[1:]
		for _, m := range t.Layouts[name].Members {
			add(m.Type)
		}
	}
	return shared, nil
}

// comparePrototypes refuses changed signatures of functions that the kernel calls,
// or that the module calls in the kernel.
func (k *Kernel) comparePrototypes(unit string, was, now *image.Types, src *edits.Set) []Refusal {
	var out []Refusal
	for _, f := range k.Boundary.Functions {
		if f.Unit != unit || f.Class == boundary.Internal || f.Class == boundary.Init {
			continue
		}
		old, ok := was.Prototypes[f.Base]
		p, ok2 := now.Prototypes[f.Base]
		if !ok || !ok2 || old.Signature == p.Signature {
			continue
		}
		r := Refusal{Class: Signature, Name: f.Base, File: p.DeclFile, Line: p.DeclLine,
			Why: fmt.Sprintf("changes its signature from %q to %q, but the kernel and the module call each other through it", old.Signature,
				p.Signature),
			Do: "keep the signature, and put a new function beside it"}
		if e := src.Find(k.sourceName(f.Base), edits.Function); e != nil && !e.Gone {
			r.File, r.Line = e.File, e.At
		}
		out = append(out, r)
	}
	return out
}

func sortedNames[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for n := range m {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}
