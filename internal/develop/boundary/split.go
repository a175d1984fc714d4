// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"fmt"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
	"plugsched/internal/kernel/image"
)

// Split is __schedule at its context switch: what is before it moves, what is behind it
// stays, as it is where every sleeper wakes up.
type Split struct {
	Tail        []string         // what the part that stays can call
	Springboard *isa.Springboard // nil if there is an obstacle
	Obstacle    error            // why the part that moves cannot be replaced
}

// SplitSchedule looks at a kernel's __schedule. An obstacle is no error: the boundary can be
// derived all the same.
func SplitSchedule(prog *image.Program, a *arch.Arch) (*Split, error) {
	list := prog.Func("__schedule")
	if len(list) != 1 {
		return nil, fmt.Errorf("the kernel has %d functions __schedule", len(list))
	}
	f := list[0]
	s := &Split{}
	var switches []image.Call
	for _, c := range f.Calls {
		if c.To.Name == a.SwitchTo {
			switches = append(switches, c)
		}
	}
	if len(switches) == 0 {
		return nil, fmt.Errorf("__schedule does not call %s", a.SwitchTo)
	}
	for _, c := range switches {
		r, err := prog.ReachFrom(f, c.Site)
		if err != nil {
			return nil, fmt.Errorf("__schedule behind the context switch: %w", err)
		}
		for _, g := range r.Calls {
			s.Tail = append(s.Tail, g.Name)
		}
	}
	routine, err := prog.Routine(f)
	if err != nil {
		return nil, err
	}
	s.Springboard, s.Obstacle = a.Springboard(routine)
	if s.Obstacle != nil {
		s.Obstacle = fmt.Errorf("__schedule cannot be replaced yet: %w", s.Obstacle)
	}
	return s, nil
}
