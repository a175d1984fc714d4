// SPDX-License-Identifier: BSD-3-Clause

package ghost

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Run schedules with an agent for each CPU of the enclave, until ctx ends or an error occurs.
// Each has a thread of its own, on its CPU, and the policy that policy returns for it. The
// enclave goes on when it returns, without anybody who answers, until it is closed or run again, when the
// policies are told which tasks there are; an error that is ErrEnded says that the kernel has ended it, and why.
func (e *Enclave) Run(ctx context.Context, policy func(cpu int) Policy) error {
	var agents []*Agent
	for ring, cpu := range e.cpus {
		agents = append(agents, NewAgent(e, ring, policy(cpu)))
	}
	return e.run(ctx, agents, true)
}

// RunGlobal is Run with one agent for all CPUs, on none of them. It reads the first ring, so
// that is the one to join.
func (e *Enclave) RunGlobal(ctx context.Context, p Policy) error {
	return e.run(ctx, []*Agent{NewAgent(e, 0, p)}, false)
}

// Stats is what all agents have done so far, in all runs.
func (e *Enclave) Stats() Stats {
	var sum Stats
	for _, s := range e.Metrics() {
		sum.add(s)
	}
	return sum
}

// Metrics is what agents have done so far, in all runs, by the CPU of their ring. It may be asked while they run.
func (e *Enclave) Metrics() Metrics {
	e.lock.Lock()
	defer e.lock.Unlock()
	out := maps.Clone(e.past)
	out.addAll(e.agents)
	return out
}

func (m Metrics) addAll(agents []*Agent) {
	for _, a := range agents {
		s := m[a.cpu]
		s.add(a.Snapshot())
		m[a.cpu] = s
	}
}

// begins and ends tell Metrics which agents run. Whoever is not the first asks which tasks there are.
func (e *Enclave) begins(agents []*Agent) {
	e.lock.Lock()
	defer e.lock.Unlock()
	if e.known {
		for _, a := range agents {
			a.found = 0
		}
	}
	e.known = true
	e.agents = append(e.agents, agents...)
}

func (e *Enclave) ends(agents []*Agent) {
	e.lock.Lock()
	defer e.lock.Unlock()
	e.past.addAll(agents)
	e.agents = slices.DeleteFunc(e.agents, func(a *Agent) bool { return slices.Contains(agents, a) })
}

func (e *Enclave) run(ctx context.Context, agents []*Agent, pinned bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(stop)
	e.begins(agents)
	defer e.ends(agents)
	var running sync.WaitGroup
	errs := make([]error, len(agents))
	for i, a := range agents {
		running.Go(func() {
			defer cancel()
			errs[i] = e.schedule(a, stop, pinned)
		})
	}
	<-ctx.Done()
	_, err = unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	running.Wait()
	if e.End() != NotEnded {
		return e.over()
	}
	return errors.Join(append(errs, err)...)
}

// schedule is what the thread of an agent does.
func (e *Enclave) schedule(a *Agent, stop int, pinned bool) error {
	// The thread ends with the goroutine: it may be tied to its CPU.
	runtime.LockOSThread()
	if pinned {
		var set unix.CPUSet
		set.Set(a.cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("agent of CPU %d: %w", a.cpu, err)
		}
	}
	// What asks to be woken at a time means that time, not 50 µs later.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("agent of CPU %d: timer slack: %w", a.cpu, err)
	}
	files := []unix.PollFd{{Fd: int32(e.waiters[a.ring]), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
	var left unix.Timespec
	for {
		if err := a.Step(); err != nil {
			return fmt.Errorf("agent of CPU %d: %w", a.cpu, err)
		}
		if _, err := unix.Ppoll(files, a.patience(&left), nil); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if files[1].Revents != 0 || files[0].Revents&unix.POLLHUP != 0 {
			return nil
		}
	}
}

// patience is how long to wait for a message, nil: for as long as it takes.
func (a *Agent) patience(left *unix.Timespec) *unix.Timespec {
	at, ok := a.Due()
	if !ok {
		return nil
	}
	*left = unix.Timespec{}
	if now := a.Now(); at > now {
		*left = unix.NsecToTimespec(int64(min(at-now, math.MaxInt64)))
	}
	return left
}
