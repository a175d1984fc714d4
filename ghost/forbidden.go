// SPDX-License-Identifier: BSD-3-Clause

package ghost

// Forbidden remembers which CPUs tasks may not use, as AffinityForbids has told, so that an agent
// of several CPUs does not ask twice. CPUs are known by their place in the policy's list.
type Forbidden struct {
	places int
	set    []bool // by slot and place
}

// NewForbidden has room for tasks with slots below tasks.
func NewForbidden(tasks, places int) *Forbidden {
	return &Forbidden{places, make([]bool, tasks*places)}
}

func (f *Forbidden) of(t *Task) []bool {
	at := int(t.Slot) * f.places
	return f.set[at : at+f.places]
}

// Add notes that a task may not use a CPU.
func (f *Forbidden) Add(t *Task, place int) { f.of(t)[place] = true }

// Has reports whether that was noted.
func (f *Forbidden) Has(t *Task, place int) bool { return f.of(t)[place] }

// Any reports whether anything is noted of a task.
func (f *Forbidden) Any(t *Task) bool {
	for _, set := range f.of(t) {
		if set {
			return true
		}
	}
	return false
}

// Clear forgets what is noted of a task: it is a new one, or its affinity has changed.
func (f *Forbidden) Clear(t *Task) { clear(f.of(t)) }
