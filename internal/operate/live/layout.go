// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"plugsched/internal/artefact/layout"
)

// A shownPlace is a line of a module's file layout.
type shownPlace struct {
	span
	name string
}

// layout is what the module shows of where the kernel has its data, and the module its jumps.
func (l *Loaded) layout() (out []shownPlace, err error) {
	text, err := l.read("layout")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(text) {
		var p shownPlace
		var size uint64
		if n, err := fmt.Sscanf(line, "%x %d %s", &p.start, &size, &p.name); n != 3 {
			return nil, fmt.Errorf("%s: unreadable line %q: %w", l.file("layout"), line, err)
		}
		p.end = p.start + size
		out = append(out, p)
	}
	return out, nil
}

// shownLayout is what modules show of the kernel's layout, and of their own. Those of older tools show nothing.
func (h Host) shownLayout(list []Loaded) (out []shownPlace, err error) {
	for i := range list {
		shown, err := list[i].layout()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		out = append(out, shown...)
	}
	return out, nil
}

// add takes from what modules showed the names of data, if /proc/kallsyms has none at all.
func (s *symbols) add(shown []shownPlace) {
	if s.one(layout.Data[0][0]) != 0 {
		return
	}
	for _, p := range shown {
		if slices.Contains(layout.Names(), p.name) {
			s.byName[p.name] = []uint64{p.start}
			s.shown = append(s.shown, p)
		}
	}
}

// by are the spans and, besides, that of the code by way of which jumps led to them.
func (s *spans) by(shown []shownPlace) *spans {
	out := &spans{names: s.names, list: slices.Clone(s.list)}
	for _, p := range shown {
		if p.name == layout.Jumps {
			out.list = append(out.list, p.span)
		}
	}
	return out
}

// showing names a place by the nearest one that was shown; ok is false in what is harmless.
func (s *symbols) showing(at uint64) (name string, ok bool) {
	var nearest shownPlace
	for _, p := range s.shown {
		switch {
		case layout.Harmless[p.name] != "" && p.holds(at):
			return "", false
		case p.start <= at && p.start >= nearest.start:
			nearest = p
		}
	}
	return fmt.Sprintf("%s+%#x", nearest.name, at-nearest.start), true
}
