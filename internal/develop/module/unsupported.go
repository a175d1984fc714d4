// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"errors"
	"fmt"
	"slices"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/kernel/arch"
)

// movable are the scheduling classes whose queues the runtime can empty and fill
// (runtime/rebuild.c), or knows to be empty: by the symbol that says so.
var movable = map[string]string{"stop_sched_class": "", "dl_sched_class": "", "rt_sched_class": "", "fair_sched_class": "",
	"ext_sched_class": "scx_root", "idle_sched_class": ""}

// unsupported are configurations that the runtime is not made for on any architecture.
var unsupported = []arch.Obstacle{
	{Symbol: "rt_spin_lock",
		Why: "on PREEMPT_RT, the locks that the update takes while the machine is stopped would sleep (kernel/locking/spinlock_rt.c)"},
	{Symbol: "sched_rt_can_attach",
		Why: "groups have realtime queues, which the runtime does not move (CONFIG_RT_GROUP_SCHED, kernel/sched/rt.c)"},
}

// Unsupported says why the runtime could not take over from a kernel's scheduler, or
// give it back; nil if it can. Symbol looks a symbol of the kernel up.
func Unsupported(a *arch.Arch, symbol func(name string) (addr uint64, ok bool), b *boundary.Boundary) error {
	if err := Obstacle(a, symbol); err != nil {
		return err
	}
	for _, o := range b.Objects {
		if o.Class == boundary.Table && !Movable(o.Name, symbol) {
			return fmt.Errorf("the kernel has a scheduling class, %s, that cannot be moved", o.Name)
		}
	}
	return nil
}

// Movable reports a scheduling class that the runtime can move.
func Movable(class string, symbol func(name string) (addr uint64, ok bool)) bool {
	by, known := MovedBy(class)
	if by == "" {
		return known
	}
	_, ok := symbol(by)
	return ok
}

// MovedBy is the symbol without which a scheduling class cannot be moved, "" if it always can; known is false
// for one that never can.
func MovedBy(class string) (symbol string, known bool) {
	symbol, known = movable[class]
	return symbol, known
}

// Obstacle is the part of Unsupported that follows from the kernel's symbols.
func Obstacle(a *arch.Arch, symbol func(name string) (addr uint64, ok bool)) error {
	for _, u := range slices.Concat(unsupported, a.Obstacles) {
		if _, ok := symbol(u.Symbol); ok {
			return errors.New(u.Why)
		}
	}
	return nil
}
