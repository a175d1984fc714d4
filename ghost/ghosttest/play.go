// SPDX-License-Identifier: BSD-3-Clause

package ghosttest

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"plugsched/ghost"
)

// A Job is work for a task: it wakes, unless it has others to do first, computes for so long, and
// sleeps.
type Job struct {
	Task *Task
	At   time.Duration // since Play began
	Work time.Duration
	Done time.Duration // out: since Play began
}

// Latency is how long it took from when there was work until it was done.
func (j *Job) Latency() time.Duration { return j.Done - j.At }

// Now implements ghost.Kernel: time that passes in Play and Pass alone.
func (k *Kernel) Now() uint64 { return k.now }

// Pass lets time pass.
func (k *Kernel) Pass(d time.Duration) {
	k.now += uint64(d)
	for _, t := range k.owner {
		t.runtime += uint64(d)
		t.left -= min(t.left, uint64(d))
	}
}

// Play lets time pass until all jobs are done. Agents take none: each is called whenever it has a
// message, and when it asked to be woken. Tasks whose jobs these are must sleep.
func (k *Kernel) Play(jobs []Job, agents ...*ghost.Agent) error {
	began := k.now
	var coming []*Job
	for i := range jobs {
		coming = append(coming, &jobs[i])
	}
	slices.SortStableFunc(coming, func(a, b *Job) int { return cmp.Compare(a.At, b.At) })
	for undone := len(jobs); undone > 0; {
		for len(coming) > 0 && began+uint64(coming[0].At) <= k.now {
			k.arrives(coming[0])
			coming = coming[1:]
		}
		if err := settle(k.now, agents); err != nil {
			return err
		}
		at, ok := k.next(agents)
		if len(coming) > 0 && (!ok || began+uint64(coming[0].At) < at) {
			at, ok = began+uint64(coming[0].At), true
		}
		if !ok {
			return errors.New("ghosttest: there is work, and nobody does it")
		}
		k.Pass(time.Duration(at - k.now))
		undone -= k.finish(time.Duration(k.now - began))
	}
	return settle(k.now, agents)
}

func (k *Kernel) arrives(j *Job) {
	t := j.Task
	t.jobs = append(t.jobs, j)
	if len(t.jobs) == 1 {
		t.left += uint64(j.Work)
		k.Wake(t)
	}
}

// settle calls agents until none has anything to do at this time.
func settle(now uint64, agents []*ghost.Agent) error {
	for range 1000 {
		idle := true
		for _, a := range agents {
			if at, ok := a.Due(); !ok || at > now {
				continue
			}
			idle = false
			if err := a.Step(); err != nil {
				return err
			}
		}
		if idle {
			return nil
		}
	}
	return errors.New("ghosttest: an agent is never idle")
}

// next is when a task has done its job, or an agent is to be woken.
func (k *Kernel) next(agents []*ghost.Agent) (at uint64, ok bool) {
	earlier := func(t uint64) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	for _, t := range k.owner {
		if len(t.jobs) > 0 {
			earlier(k.now + t.left)
		}
	}
	for _, a := range agents {
		if t, wanted := a.Due(); wanted {
			earlier(t)
		}
	}
	return at, ok
}

// finish ends the jobs that are done, and counts them.
func (k *Kernel) finish(now time.Duration) (n int) {
	for _, cpu := range k.cpus {
		t := k.owner[cpu]
		if t == nil || len(t.jobs) == 0 || t.left > 0 {
			continue
		}
		n++
		t.jobs[0].Done = now
		if t.jobs = t.jobs[1:]; len(t.jobs) > 0 {
			t.left = uint64(t.jobs[0].Work)
		} else {
			k.Block(t)
		}
	}
	return n
}
