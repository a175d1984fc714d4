// SPDX-License-Identifier: BSD-3-Clause

package boundary

import "plugsched/internal/kernel/image"

// builders marks the functions that are for building something that lasts, or for setting up
// what comes and goes: those that the configuration names, and what only they call. Who is
// called by code that ran at boot alone does not run any more at all.
func (d *deriver) builders() {
	for _, n := range d.order {
		n.result.Builds, n.result.Makes = d.cfg.Builders[n.fn.Base], d.cfg.Makers[n.fn.Base]
	}
	for again := true; again; {
		again = false
		for _, n := range d.order {
			again = d.follows(n) || again
		}
	}
	for _, n := range d.order {
		for _, text := range []string{n.result.Builds, n.result.Makes} {
			if text != "" && n.result.Class.Moves() {
				n.result.Facts = append(n.result.Facts, Fact{Kind: "builds", Text: "sets up what others go on with: " + text})
			}
		}
		if n.result.Boot {
			n.result.Facts = append(n.result.Facts, Fact{Kind: "boot", Text: "ran at boot only"})
		}
	}
}

// follows marks a function that is only called by marked ones, and reports whether it did.
func (d *deriver) follows(n *node) bool {
	r := n.result
	if r.Class != Internal || marked(r) || len(n.callers) == 0 || len(n.takers)+len(n.tables) > 0 {
		return false
	}
	var builds, makes string
	for _, c := range n.callers {
		by := d.nodes[c]
		switch {
		case c == n.fn || gone(c, by):
		case by == nil || !marked(by.result):
			return false
		case by.result.Builds != "":
			builds = by.result.Builds
		default:
			makes = by.result.Makes
		}
	}
	r.Builds, r.Makes, r.Boot = builds, makes, builds == "" && makes == ""
	if makes != "" {
		r.Builds = "" // new things get the new code
	}
	return true
}

func marked(f *Function) bool { return f.Builds != "" || f.Makes != "" || f.Boot }

// gone reports a caller that does not run any more.
func gone(f *image.Function, n *node) bool {
	return len(f.Section) >= 5 && f.Section[:5] == ".init" || n != nil && (n.init || n.result.Boot)
}
