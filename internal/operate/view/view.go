// SPDX-License-Identifier: BSD-3-Clause

// Package view is a machine's schedulers as operators see them, whichever way they came.
package view

import (
	"fmt"
	"strings"
	"time"

	"plugsched/internal/operate/live"
	"plugsched/scx"
)

// Way is how a scheduler came into the kernel.
type Way string

// The ways.
const (
	Module Way = "module"
	BPF    Way = "bpf"
)

// Scope is which tasks a scheduler has.
type Scope string

// The scopes.
const (
	AllTasks Scope = "all" // of the fair class; of a module, also those of realtime classes
	ExtTasks Scope = "sched_ext"
)

// Scheduler is one that runs and is not the kernel's own.
type Scheduler struct {
	Way   Way       `json:"way"`
	Name  string    `json:"name"`
	Scope Scope     `json:"scope"`
	Since time.Time `json:"since,omitzero"` // by the wall clock
	Owner scx.Owner `json:"owner"`          // who has loaded it
	// Holders are processes without which it ends.
	Holders []string `json:"holders,omitempty"`
	// Health is OK, or what there is to know.
	Health string `json:"health"`
	// Watchdog is how long a task may wait for a CPU, and TrialLeft how long the trial goes on; 0 is off, and none.
	Watchdog  time.Duration `json:"watchdog_ns,omitempty"`
	TrialLeft time.Duration `json:"trial_left_ns,omitempty"`
}

// OK is the health of a scheduler about which there is nothing to say.
const OK = "in order"

// Ended is how a scheduler ended by itself, or was ended.
type Ended struct {
	Way    Way       `json:"way"`
	Name   string    `json:"name"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"` // one line; only root may read it
}

// Clock turns a time by CLOCK_BOOTTIME into one by the wall clock.
type Clock func(time.Duration) time.Time

// Now is the machine's.
func Now(t time.Duration) time.Time { return time.Now().Add(t - live.Boottime()) }

// Schedulers are those that run: none is the kernel's own. There are two where a BPF scheduler has begun while a module was in.
// Since is when the module's began. b is nil where the kernel has no schedulers in BPF.
func Schedulers(s *live.Status, since time.Time, b *scx.Snapshot, at Clock) []Scheduler {
	out := []Scheduler{}
	if s.Active {
		out = append(out, Scheduler{Way: Module, Name: s.Name, Scope: AllTasks, Since: since, Owner: scx.Ours, Health: health(s),
			Watchdog: s.Watchdog, TrialLeft: s.TrialLeft})
	}
	if b == nil || b.State == "disabled" {
		return out
	}
	r := Scheduler{Way: BPF, Name: b.Name, Scope: ExtTasks, Owner: b.Owner, Health: OK, Watchdog: b.Timeout, TrialLeft: b.TrialLeft}
	if b.All {
		r.Scope = AllTasks
	}
	if b.Since != 0 {
		r.Since = at(b.Since)
	}
	for _, h := range b.Holders {
		r.Holders = append(r.Holders, h.String())
	}
	if b.State != "enabled" {
		r.Health = "it is " + b.State
	}
	return append(out, r)
}

// health is a module's.
func health(s *live.Status) string {
	var bad []string
	if s.RollingBack != "" {
		why, _, _ := strings.Cut(s.RollingBack, "\n")
		bad = append(bad, "it is to be left: "+why)
	}
	if n := len(s.TakenOver); n > 0 {
		bad = append(bad, fmt.Sprintf("a livepatch has replaced %d of its functions", n))
	}
	if n := len(s.Probes); n > 0 {
		bad = append(bad, fmt.Sprintf("%d kprobes do not see its functions", n))
	}
	if len(bad) == 0 {
		return OK
	}
	return strings.Join(bad, "; ")
}

// LastEnd is the latest end of a scheduler in this boot that the kernel knows of, nil if there is none. Back are the modules that were
// rolled back; that one was uninstalled the kernel does not know.
func LastEnd(back []live.RolledBack, b *scx.Snapshot, at Clock) *Ended {
	var last *Ended
	add := func(e Ended) {
		if last == nil || e.Time.After(last.Time) {
			last = &e
		}
	}
	for _, r := range back {
		if r.Timings != nil {
			add(Ended{Way: Module, Name: r.Name, Time: at(time.Duration(r.Timings.Finished)), Reason: r.Reason})
		}
	}
	if b != nil {
		for i := range b.Ends {
			e := &b.Ends[i]
			add(Ended{Way: BPF, Name: e.Name, Time: at(time.Duration(e.At)), Reason: e.String()})
		}
	}
	return last
}
