// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"fmt"
	"sort"
)

// Diff is what differs between two boundaries.
type Diff struct {
	Functions      []Change `json:"functions"`
	Removed        []Change `json:"removed"`
	Added          []Change `json:"added"`
	Inlined        []Change `json:"inlined"` // that have a symbol on one side only
	Objects        []Change `json:"objects"`
	RemovedObjects []Change `json:"removed_objects"`
	AddedObjects   []Change `json:"added_objects"`
}

// Change is one function or variable that differs. From or To is empty if one
// side lacks it.
type Change struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`  // class; "absent" for a function without a symbol
	Why  string `json:"why,omitempty"` // the first fact on the side of To
}

// absent is where functions without a symbol are.
const absent = "absent"

// Compare holds two boundaries against each other. Functions are the same if
// their source names are, and where several share one, their files: numbers and
// suffixes that gcc adds, and units, come and go.
func Compare(from, to *Boundary) *Diff {
	d := &Diff{}
	all, removed, added := changes(places(from), places(to))
	d.Removed, d.Added = removed, added
	for _, c := range all {
		if c.From == absent || c.To == absent {
			d.Inlined = append(d.Inlined, c)
		} else {
			d.Functions = append(d.Functions, c)
		}
	}
	d.Objects, d.RemovedObjects, d.AddedObjects = changes(objectPlaces(from), objectPlaces(to))
	return d
}

// place is where something belongs, and why.
type place struct{ class, why string }

func changes(from, to map[string]place) (changed, removed, added []Change) {
	for name, a := range from {
		b, ok := to[name]
		switch {
		case !ok:
			removed = append(removed, Change{Name: name, From: a.class})
		case a.class != b.class:
			changed = append(changed, Change{Name: name, From: a.class, To: b.class, Why: b.why})
		}
	}
	for name, b := range to {
		if _, ok := from[name]; !ok {
			added = append(added, Change{Name: name, To: b.class})
		}
	}
	for _, l := range [][]Change{changed, removed, added} {
		sort.Slice(l, func(i, j int) bool { return l[i].Name < l[j].Name })
	}
	return changed, removed, added
}

func places(b *Boundary) map[string]place {
	type key struct{ name, file string }
	whole := map[key]*Function{} // of a function and its parts, the whole one speaks
	files := map[string]map[string]bool{}
	for _, f := range b.Functions {
		k := key{f.Base, f.DeclFile}
		if old := whole[k]; old == nil || old.Clone() && !f.Clone() {
			whole[k] = f
		}
		if files[f.Base] == nil {
			files[f.Base] = map[string]bool{}
		}
		files[f.Base][f.DeclFile] = true
	}
	out := map[string]place{}
	for k, f := range whole {
		name := k.name
		if len(files[name]) > 1 {
			name += " (" + k.file + ")"
		}
		out[name] = place{string(f.Class), f.Facts[0].Text}
	}
	for _, x := range b.Absent {
		if files[x.Name] != nil {
			continue
		}
		why := fmt.Sprintf("is inlined into %d functions", len(x.Into))
		switch {
		case x.Over != "":
			why = "is weak and replaced by " + x.Over
		case len(x.Into) == 1:
			why = "is inlined into " + x.Into[0]
		}
		out[x.Name] = place{absent, why}
	}
	return out
}

func objectPlaces(b *Boundary) map[string]place {
	out := map[string]place{}
	for _, o := range b.Objects {
		name := o.Name
		if _, taken := out[name]; taken {
			name += " (" + o.DeclFile + ")"
		}
		class := string(o.Class)
		if o.Type != "" {
			class += " " + o.Type
		}
		out[name] = place{class, o.Why}
	}
	return out
}
