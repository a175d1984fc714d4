// SPDX-License-Identifier: BSD-3-Clause

package ghost

// Forbidden remembers which CPUs tasks may not use, as AffinityForbids has told, so that an agent
// of several CPUs does not ask twice. CPUs are known by their place in the policy's list.
//
// A task that is in a section in which it may not move gets AffinityForbids, too, and no message says
// when it has left it. So what is noted has to be forgotten after a while: see Age.
type Forbidden struct {
	places int
	set    []bool   // by slot and place
	since  []uint64 // by slot: when the first was noted
}

// forbiddenFor is how long something noted holds, ns.
const forbiddenFor = 100_000_000

// NewForbidden has room for tasks with slots below tasks.
func NewForbidden(tasks, places int) *Forbidden {
	return &Forbidden{places, make([]bool, tasks*places), make([]uint64, tasks)}
}

func (f *Forbidden) of(t *Task) []bool {
	at := int(t.Slot) * f.places
	return f.set[at : at+f.places]
}

// Add notes that a task may not use a CPU, as was found at a time (Txn.Time).
func (f *Forbidden) Add(t *Task, place int, now uint64) {
	if !f.Any(t) {
		f.since[t.Slot] = now
	}
	f.of(t)[place] = true
}

// Age forgets what was noted of a task long ago. It is for when the task has run, and wants to
// again: it cannot leave such a section without.
func (f *Forbidden) Age(t *Task, now uint64) {
	if now > f.since[t.Slot]+forbiddenFor {
		f.Clear(t)
	}
}

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
