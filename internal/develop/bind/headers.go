// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"fmt"
	"strings"

	"plugsched/internal/develop/edits"
)

// Headers is what is known about who else compiles a header.
type Headers struct {
	// Includers are the files outside of the scheduler that include a header of
	// the scheduler's own directory, by its path.
	Includers map[string][]string
	// Users are places outside of the scheduler ("kernel/exit.c:812") that mention
	// a name, by name. There may be more: not all of the kernel's source is at hand.
	Users map[string][]string
	// Ours are names that the project says only the scheduler uses, with the line
	// that says so.
	Ours map[string]string
}

// HeaderChanges are the changes of definitions that somebody outside of the
// scheduler may have compiled too, and that leave no trace in the scheduler's own
// code: macros, enums, inline functions, declarations. A new definition is nobody
// else's. Layouts of structures and signatures are compared in the debug
// information.
func (k *Kernel) HeaderChanges(src *edits.Set, includers map[string][]string) []*edits.Change {
	var out []*edits.Change
	for _, e := range src.Changes {
		outside := !k.Boundary.Owns(e.File) || len(includers[e.File]) > 0
		switch {
		case !outside || !strings.HasSuffix(e.File, ".h") || e.New || e.Gone || e.Appended():
		case e.Kind == edits.Type && !e.Plain():
		case e.Kind == edits.Declaration && len(k.Boundary.Find(e.Name)) > 0:
		default:
			out = append(out, e)
		}
	}
	return out
}

// CompareHeaders refuses changes that only the scheduler would see. changes are
// those of HeaderChanges.
func (k *Kernel) CompareHeaders(changes []*edits.Change, h *Headers) []Refusal {
	var out []Refusal
	for _, e := range changes {
		name := e.Name
		if e.Macro != "" {
			name = e.Macro + "(" + e.Name + ")"
		}
		r := Refusal{Class: Header, Name: name, File: e.File, Line: e.At}
		for i := range registrations {
			if registrations[i].made(e) {
				r = registrations[i].refusal(e)
			}
		}
		users := h.Users[e.Name]
		if in := h.Includers[e.File]; len(in) > 0 {
			users = within(users, in)
			if len(users) == 0 {
				continue
			}
		}
		at, ours := h.Ours[e.Name]
		switch {
		case r.Class != Header:
		case ours && len(users) == 0:
			continue
		case ours:
			r.Why = fmt.Sprintf("is a %s that only the scheduler uses, %s says, but so does %s", e.Kind, at, some(users))
			r.Do = "take it out of `headers:`, and give the scheduler's own a new name"
		case len(users) > 0:
			r.Why = fmt.Sprintf("is a %s that the rest of the kernel was compiled with: %s goes on with the old one", e.Kind, some(users))
			r.Do = "undo the change, and give the scheduler's own a new name"
		default:
			r.Why = fmt.Sprintf("is a %s in a header that the rest of the kernel and its modules include: who uses it goes on with the old one", e.Kind)
			r.Do = "undo the change and give the scheduler's own a new name, or, if nothing else uses it, say so in plugsched.yaml under `headers:`"
		}
		out = append(out, r)
	}
	return out
}

// within keeps the places that are in one of the files.
func within(places, files []string) []string {
	var out []string
	for _, p := range places {
		for _, f := range files {
			if strings.HasPrefix(p, f+":") {
				out = append(out, p)
			}
		}
	}
	return out
}
