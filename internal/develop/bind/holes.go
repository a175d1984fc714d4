// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"plugsched/internal/kernel/image"
)

// Hole is members of the module's in a structure that the kernel has too, where that has
// nothing: one, or all that have bytes in common.
type Hole struct {
	Structure string
	// Members are "mine u64", or "a unsigned int:1 at bit 40, b unsigned int:1 at bit 41". By this the runtime
	// knows whether another module has the same there.
	Members string
	// Offset and Size, in bytes from the structure's start, are what is the members' alone.
	// Size is 0 for bits that share a byte with others.
	Offset, Size int64
}

// holes makes holes of the members that fits accepted into the layout that the kernel has.
func holes(structure string, was image.Layout, used []image.Member) (out []Hole) {
	var groups [][]image.Member
	used = slices.Clone(used)
	slices.SortStableFunc(used, func(a, b image.Member) int {
		a1, _ := bits(a)
		b1, _ := bits(b)
		return cmp.Compare(a1, b1)
	})
	last := -1 // of those that have bytes of their own
	for _, m := range used {
		h := hole(structure, was, m)
		if last >= 0 && h.Size > 0 && h.Offset < out[last].Offset+out[last].Size {
			out[last].Size = max(out[last].Size, h.Offset+h.Size-out[last].Offset)
			groups[last] = append(groups[last], m)
			continue
		}
		if h.Size > 0 {
			last = len(out)
		}
		out, groups = append(out, h), append(groups, []image.Member{m})
	}
	for i, g := range groups {
		var names []string
		for _, m := range g {
			name, from := m.Name+" "+m.Type, m.Offset*8+m.BitOffset
			if m.BitSize > 0 {
				name += fmt.Sprintf(":%d at bit %d", m.BitSize, from)
			} else if len(g) > 1 {
				name += fmt.Sprintf(" at byte %d", m.Offset)
			}
			names = append(names, name)
		}
		out[i].Members = strings.Join(names, ", ")
	}
	return out
}

// hole is where a member is alone.
func hole(structure string, was image.Layout, m image.Member) Hole {
	h := Hole{Structure: structure}
	from, to := bits(m)
	h.Offset, h.Size = from/8, (to+7)/8-from/8
	whole := image.Member{Offset: h.Offset, Size: h.Size}
	for _, w := range was.Members {
		if w.Name != "" && !spare.MatchString(w.Name) && !holds(was, w) && overlap(whole, w) {
			h.Size = 0
		}
	}
	return h
}

// holeRoot is a structure of which the runtime can find all objects.
type holeRoot struct {
	// Kind is the runtime's number, enum plugsched_hole_of (runtime/plugsched.h).
	Kind int
	Name string
}

// holeRoots are the structures of which the runtime clears all objects (runtime/holes.c), each
// with its number there. Run queues' own cfs_rq are reached as such, and not as a part of them.
var holeRoots = []holeRoot{{0, "struct task_struct"}, {1, "struct rq"}, {2, "struct task_group"}, {3, "struct cfs_rq"},
	{4, "struct sched_entity"}}

// ClearedHole is a hole in an object of which the runtime finds all.
type ClearedHole struct {
	Kind         int // see holeRoots
	Offset, Size int64
	Name         string // "struct sched_entity.mark u64"
}

// Cleared returns where the hole is in objects that are cleared before the module begins.
func (h Hole) Cleared(t *image.Types) []ClearedHole {
	var out []ClearedHole
	for _, root := range holeRoots {
		for _, at := range placesOf(t, root.Name, h.Structure, 0) {
			if h.Size > 0 {
				out = append(out, ClearedHole{root.Kind, at + h.Offset, h.Size, h.Structure + "." + h.Members})
			}
		}
	}
	return out
}

// placesOf are the offsets at which a structure has another one in it, or is it.
func placesOf(t *image.Types, outer, inner string, depth int) []int64 {
	const deep = 16
	if outer == inner {
		return []int64{0}
	}
	if depth > deep {
		return nil
	}
	var out []int64
	for _, m := range t.Layouts[outer].Members {
		element := elementType(m.Type)
		size := t.Layouts[element].Size
		if m.Name == "" || size == 0 {
			continue
		}
		for _, at := range placesOf(t, element, inner, depth+1) {
			for i := int64(0); i < max(1, m.Size/size); i++ {
				out = append(out, m.Offset+i*size+at)
			}
		}
	}
	return out
}

// warning says what a member in the hole begins with.
func (h Hole) warning(t *image.Types, member string) string {
	text := fmt.Sprintf("%s: %s is where the kernel has nothing (byte %d): ", h.Structure, member, h.Offset)
	switch {
	case len(h.Cleared(t)) > 0:
		return text + "it is zero when the scheduler begins"
	case h.Size == 0:
		return text + "it shares a byte with others, and begins with what its allocation, or another scheduler, left"
	}
	return text + "it begins with what its allocation, or another scheduler, left: not all such objects can be found"
}
