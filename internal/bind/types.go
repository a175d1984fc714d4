// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"debug/elf"
	"fmt"
	"regexp"
	"sort"

	"plugsched/internal/boundary"
	"plugsched/internal/image"
)

// CompareTypes holds the structures and prototypes of an edited unit against the
// pristine one's.
func (k *Kernel) CompareTypes(unit string, now, was *image.Types) []Refusal {
	return append(k.compareLayouts(was, now), k.comparePrototypes(unit, was, now)...)
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

// compareLayouts refuses changes of structures that the kernel knows too.
func (k *Kernel) compareLayouts(was, now *image.Types) []Refusal {
	var shared map[string]bool
	var out []Refusal
	for _, name := range sortedNames(was.Layouts) {
		old := was.Layouts[name]
		l, ok := now.Layouts[name]
		if !ok || old.Equal(l) {
			continue
		}
		if shared == nil {
			shared = k.sharedTypes(was)
		}
		if !shared[name] {
			continue
		}
		out = append(out, Refusal{Name: name, File: l.DeclFile, Line: l.DeclLine,
			Why: "changes (" + difference(old, l) + "), but the kernel has it too: what exists already keeps the old layout",
			Do:  "undo the change, and keep new data in a structure of your own"})
	}
	return out
}

// difference names the first thing that differs between two layouts.
func difference(was, now image.Layout) string {
	for i, m := range now.Members {
		if i >= len(was.Members) {
			return fmt.Sprintf("new member %s at byte %d", m.Name, m.Offset)
		}
		if w := was.Members[i]; w != m {
			if w.Name == m.Name {
				return fmt.Sprintf("member %s was %s at byte %d, is %s at byte %d", m.Name, w.Type, w.Offset, m.Type, m.Offset)
			}
			return fmt.Sprintf("at byte %d was %s, is %s", m.Offset, w.Name, m.Name)
		}
	}
	if len(was.Members) > len(now.Members) {
		return "member " + was.Members[len(now.Members)].Name + " is gone"
	}
	return fmt.Sprintf("size was %d, is %d bytes", was.Size, now.Size)
}

var typeNames = regexp.MustCompile(`(?:struct|union) \w+|\w+`)

// linkage are members by which the kernel reaches a structure without a pointer
// of its type.
var linkage = map[string]bool{
	"struct list_head": true, "struct hlist_node": true, "struct rb_node": true, "struct callback_head": true,
	"struct llist_node": true, "struct kobject": true, "struct timer_list": true, "struct hrtimer": true,
	"struct work_struct": true, "struct kthread_work": true, "struct irq_work": true, "struct wait_queue_entry": true,
	"struct __call_single_data": true, "struct cpu_stop_work": true,
}

// sharedTypes are the structures that the kernel and the module both see: those
// that somebody else declares, those of variables, those that cross the border
// as arguments, those linked into lists, and whatever these contain or point to.
// What is left lives on the module's own stack.
func (k *Kernel) sharedTypes(t *image.Types) map[string]bool {
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
		}
		for _, m := range l.Members {
			if linkage[m.Type] {
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
	return shared
}

// comparePrototypes refuses changed signatures of functions that the kernel calls,
// or that the module calls in the kernel.
func (k *Kernel) comparePrototypes(unit string, was, now *image.Types) []Refusal {
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
		out = append(out, Refusal{Name: f.Base, File: p.DeclFile, Line: p.DeclLine,
			Why: fmt.Sprintf("changes its signature from %q to %q, but the kernel and the module call each other through it", old.Signature, p.Signature),
			Do:  "keep the signature, and put a new function beside it"})
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
