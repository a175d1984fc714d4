// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"slices"
	"strings"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/edits"
)

// hooks are the functions of the runtime that the scheduler's files may define: it has weak ones
// (runtime/hooks.c). offered are those that they may call (runtime/api.h).
var (
	hooks   = []string{"plugsched_init", exitHook, leavingHook, "plugsched_staying", "plugsched_rebuild", "plugsched_may_starve"}
	offered = []string{"plugsched_data_create", "plugsched_task_data_create", "plugsched_data_get", "plugsched_data_add",
		"plugsched_data_del", "plugsched_active"}
)

// Hooks returns them.
func Hooks() []string { return slices.Clone(hooks) }

// CompareDefinitions refuses names that the linker would find defined twice: by two units, or by
// one and the runtime.
func (k *Kernel) CompareDefinitions(src *edits.Set) []Refusal {
	units := map[string][]string{}
	for _, unit := range unitNames(k.edited) {
		for _, d := range k.edited[unit].Defs {
			if d.Global && !d.Weak && d.Kind != asm.Alias {
				units[d.Name] = append(units[d.Name], unit)
			}
		}
	}
	var out []Refusal
	for _, name := range sortedNames(units) {
		own := strings.HasPrefix(name, RuntimePrefix) && !slices.Contains(hooks, name) || slices.Contains(modules, name)
		in := units[name]
		r := Refusal{Class: Twice, Name: name, File: in[len(in)-1], Do: "give one of them another name, or make it static"}
		switch {
		case own:
			r.Why, r.Do = "is a name that the runtime has, or may get", "give it another name, or make it static"
		case len(in) > 1:
			r.Why = "is defined by " + strings.Join(in, " and by ")
		default:
			continue
		}
		for _, e := range src.Changes {
			if e.Name == name && !e.Gone && (e.Kind == edits.Function || e.Kind == edits.Variable) {
				r.File, r.Line = e.File, e.At
			}
		}
		out = append(out, r)
	}
	return out
}
