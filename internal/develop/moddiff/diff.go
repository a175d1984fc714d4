// SPDX-License-Identifier: BSD-3-Clause

package moddiff

import (
	"debug/elf"
	"fmt"
	"maps"
	"slices"
	"strings"

	"plugsched/internal/artefact/desc"
	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/module"
	"plugsched/internal/kernel/image"
	"plugsched/internal/outcome"
)

// Comparison is what differs between two modules.
type Comparison struct {
	Same      bool     `json:"same"`
	Old       Compared `json:"old"`
	New       Compared `json:"new"`
	Functions Delta    `json:"functions"`
	Variables Delta    `json:"variables"`
	// Structures are only known of modules with debug information.
	Structures Delta `json:"structures"`
	Layouts    bool  `json:"layouts"` // both had it
	Runtime    Delta `json:"runtime"` // functions and variables of plugsched's own
	Redirected Delta `json:"redirected"`
	Sidecars   Delta `json:"sidecars"`
	Features   Delta `json:"features"`
	Settings   Delta `json:"settings"`
	Warnings   Delta `json:"warnings"`
}

// Compared is one of two modules.
type Compared struct {
	Path    string `json:"path"`
	Name    string `json:"name"`
	Release string `json:"release"`
	BuildID string `json:"build_id"`
	Commit  string `json:"commit,omitempty"`
	Tool    string `json:"tool"`
}

// Delta is how a set differs.
type Delta struct {
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	Changed []string `json:"changed,omitempty"`
}

// Empty reports that nothing differs.
func (d *Delta) Empty() bool { return len(d.Added)+len(d.Removed)+len(d.Changed) == 0 }

// Compare holds a module against an older one.
func Compare(old, now *Module) (*Comparison, error) {
	if (old.anchor == 0 || now.anchor == 0) && (old.Desc.BuildID != now.Desc.BuildID || old.anchored != now.anchored) {
		return nil, outcome.With(outcome.Precondition, fmt.Errorf("%s and %s: one was made by a plugsched that did not write down which of "+
			"the kernel's symbols it uses: build it again", old.Path, now.Path))
	}
	if old.anchor == 0 || now.anchor == 0 {
		old.anchor, now.anchor = 0, 0 // by distance then, which one kernel allows
	}
	c := &Comparison{Old: old.compared(), New: now.compared()}
	was, is := old.definitions(), now.definitions()
	c.Functions, c.Variables = delta(was.functions, is.functions), delta(was.variables, is.variables)
	c.Runtime = delta(was.runtime, is.runtime)
	c.Redirected = delta(set(old.Desc.Replaced), set(now.Desc.Replaced))
	c.Sidecars = delta(set(old.Desc.Sidecar), set(now.Desc.Sidecar))
	c.Features = delta(set(old.features()), set(now.features()))
	c.Settings = delta(settings(old.Desc), settings(now.Desc))
	c.Warnings = delta(set(old.Desc.Warnings), set(now.Desc.Warnings))
	if err := c.layouts(old, now); err != nil {
		return nil, err
	}
	c.Same = old.Desc.BuildID == now.Desc.BuildID
	for _, d := range []*Delta{&c.Functions, &c.Variables, &c.Structures, &c.Runtime, &c.Redirected, &c.Sidecars, &c.Features, &c.Settings,
		&c.Warnings} {
		c.Same = c.Same && d.Empty()
	}
	return c, nil
}

func (m *Module) compared() Compared {
	return Compared{m.Path, m.Desc.Name, m.Desc.Release, m.Desc.BuildID, m.Desc.Commit, m.Desc.Tool}
}

type definitions struct{ functions, variables, runtime map[string]string }

// hooks are the scheduler's, although they are named like the runtime's.
var hooks = bind.Hooks()

// definitions are what a module has, in normal form. Names that stand for several, of different
// units or functions, stand for all of them.
func (m *Module) definitions() definitions {
	d := definitions{map[string]string{}, map[string]string{}, map[string]string{}}
	var start, end elf.Symbol
	for _, s := range m.symbols {
		switch s.Name {
		case bind.RuntimeStart:
			start = s
		case bind.RuntimeEnd:
			end = s
		}
	}
	all := map[*map[string]string]map[string][]string{&d.functions: {}, &d.variables: {}, &d.runtime: {}}
	for section, list := range m.spans {
		for _, s := range list {
			function := elf.ST_TYPE(s.Info) == elf.STT_FUNC
			if !function && (strings.HasPrefix(s.Name, "__UNIQUE_ID_") || s.Name == "__this_module") {
				continue
			}
			to := &d.variables
			between := section == int(start.Section) && s.Section == end.Section && s.Value >= start.Value && s.Value < end.Value
			switch {
			case slices.Contains(hooks, s.Name):
				to = &d.functions
			case between || strings.HasPrefix(s.Name, bind.RuntimePrefix):
				to = &d.runtime
			case function:
				to = &d.functions
			}
			name := stem(s)
			all[to][name] = append(all[to][name], m.normal(s))
		}
	}
	for to, names := range all {
		for name, list := range names {
			slices.Sort(list)
			(*to)[name] = strings.Join(list, "\x00")
		}
	}
	return d
}

// featureNames is the array of features' names (kernel/sched/debug.c, sched_feat_names).
const featureNames = "sched_feat_names"

// features are the names of the module's, when it has any of its own.
func (m *Module) features() (names []string) {
	for _, s := range m.symbols {
		if s.Name != featureNames || elf.ST_TYPE(s.Info) != elf.STT_OBJECT || s.Section == elf.SHN_UNDEF {
			continue
		}
		for _, r := range m.within(s) {
			names = append(names, strings.Trim(m.target(r, 0), `"`))
		}
	}
	return names
}

// settings are what a module sets when it takes over.
func settings(d *desc.Description) map[string]string {
	m := map[string]string{}
	for name, on := range d.Features {
		m[name] = fmt.Sprint(on)
	}
	for name, value := range d.Values {
		m[name] = fmt.Sprint(value)
	}
	return m
}

func set(names []string) map[string]string {
	m := map[string]string{}
	for _, n := range names {
		m[n] = ""
	}
	return m
}

func delta(was, is map[string]string) (d Delta) {
	for _, name := range slices.Sorted(maps.Keys(is)) {
		before, ok := was[name]
		switch {
		case !ok:
			d.Added = append(d.Added, name)
		case before != is[name]:
			d.Changed = append(d.Changed, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if _, ok := is[name]; !ok {
			d.Removed = append(d.Removed, name)
		}
	}
	return d
}

// layouts compares structures, if both modules have their debug information beside them.
func (c *Comparison) layouts(old, now *Module) error {
	var types [2]*image.Types
	for i, m := range []*Module{old, now} {
		path := m.Path + module.DebugSuffix
		// One of another build says nothing of this module.
		mine, err := module.ID(m.Path)
		if err != nil {
			return nil
		}
		if its, err := module.ID(path); err != nil || its != mine {
			return nil
		}
		if types[i], err = bind.ReadTypes(path); err != nil {
			return err
		}
	}
	var sides [2]map[string]string
	for i, t := range types {
		sides[i] = map[string]string{}
		for name, l := range t.Layouts {
			l.DeclFile, l.DeclLine = "", 0
			sides[i][name] = fmt.Sprintf("%+v", l)
		}
	}
	c.Structures, c.Layouts = delta(sides[0], sides[1]), true
	return nil
}
