// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"
)

// Timings are the figures of the last update, in nanoseconds, read from the
// module. Downtime is StopMachine: from when one CPU calls the others to when all have left.
type Timings struct {
	Direction   string `json:"direction,omitempty"` // "install", "replace" or "remove"
	CPUs        int    `json:"cpus"`
	Threads     int    `json:"threads"`         // whose stacks were inspected
	Stopped     int    `json:"threads_stopped"` // of them, while the machine was stopped
	Scan        int64  `json:"scan_ns"`         // inspection before the stop
	StopMachine int64  `json:"stop_machine_ns"`
	Gather      int64  `json:"gather_ns"` // of it, until all CPUs had come
	Enter       int64  `json:"enter_ns"`  // from then on, until all had begun
	Handler     int64  `json:"handler_ns"`
	StackCheck  int64  `json:"stack_check_ns"`
	Clear       int64  `json:"clear_ns"`
	Redirect    int64  `json:"redirect_ns"`
	Rebuild     int64  `json:"rebuild_ns"`
	Leave       int64  `json:"leave_ns"`             // until all had left
	Finished    int64  `json:"finished_boottime_ns"` // by CLOCK_BOOTTIME
}

// Status is what the kernel says about its scheduler.
type Status struct {
	Active  bool   `json:"active"`         // a module's scheduler runs
	Name    string `json:"name,omitempty"` // of that module
	Release string `json:"release"`
	BuildID string `json:"build_id"`
	// Modules are all scheduler modules that are loaded.
	Modules []Loaded `json:"modules,omitempty"`
	// TrialLeft is how long the trial goes on, 0 when none runs; Watchdog how long a
	// task may wait for a CPU, 0 when it is off.
	TrialLeft time.Duration `json:"trial_left_ns,omitempty"`
	Watchdog  time.Duration `json:"watchdog_ns,omitempty"`
	Timings   *Timings      `json:"timings,omitempty"`   // only root may read them
	Functions []string      `json:"functions,omitempty"` // redirected ones, in order of address; only root may read them
	// TakenOver are redirected functions that a livepatch has replaced since: the
	// module's version of them does not run.
	TakenOver []string `json:"taken_over,omitempty"`
	// Probes are kprobes in the kernel's versions of redirected functions. They see
	// nothing of the module's, and one on a jump forbids to roll back. Only root sees them.
	Probes []string `json:"probes,omitempty"`
	// RollingBack says why the running module is to be left, and what that waits for;
	// only root may read it.
	RollingBack string `json:"rolling_back,omitempty"`
	// Report says why a module was rolled back by the kernel; only root may read it.
	Report string `json:"report,omitempty"`
	// Leftovers is what Uninstall with UninstallOptions.Verify found.
	Leftovers *Leftovers `json:"leftovers,omitempty"`
}

// Read asks the machine's kernel.
func (h Host) Read() (*Status, error) {
	s := &Status{}
	var err error
	if s.Release, err = h.Release(); err != nil {
		return nil, err
	}
	if s.BuildID, err = h.BuildID(); err != nil {
		return nil, err
	}
	list, err := h.loadedModules()
	if err != nil {
		return nil, err
	}
	s.Modules = list
	for i := range list {
		if list[i].State == stateRolledBack {
			s.Report, _ = list[i].report("report")
			s.Timings = list[i].timings()
		}
	}
	if active := list.active(); active != nil {
		s.Active, s.Name = true, active.Name
		s.TrialLeft, s.Watchdog = active.trialLeft(), active.milliseconds("watchdog")
		s.Timings = active.timings()
		s.RollingBack, _ = active.report("report")
		if s.Functions, err = active.functions(); err != nil && !errors.Is(err, os.ErrPermission) {
			return nil, err
		}
		s.TakenOver = h.livepatched(s.Functions)
		s.Probes = h.probesOn(s.Functions)
	}
	return s, nil
}

// Running returns the module of the running scheduler, "" for the kernel's own. Unlike
// Read it needs no memory of the module, so it answers when Read cannot.
func (h Host) Running() (string, error) {
	list, err := h.loadedModules()
	if active := list.active(); err == nil && active != nil {
		return active.Name, nil
	}
	return "", err
}

// RolledBack is a module that was rolled back by the kernel and is still loaded.
type RolledBack struct {
	Name    string
	Reason  string   // one line; only root may read it
	Timings *Timings // of the way back, nil while it is not finished
}

// RolledBack returns the modules that were rolled back by the kernel since they were loaded.
func (h Host) RolledBack() ([]RolledBack, error) {
	list, err := h.loadedModules()
	if err != nil {
		return nil, err
	}
	var out []RolledBack
	for i := range list {
		if l := &list[i]; l.State == stateRolledBack {
			out = append(out, RolledBack{l.Name, l.whyRolledBack(), l.timings()})
		}
	}
	return out, nil
}

// whyRolledBack is the first line of the module's report.
func (l *Loaded) whyRolledBack() string {
	report, _ := l.report("report")
	why, _, _ := strings.Cut(report, "\n")
	return why
}

// timings returns the figures of the module's last update, nil when there was none.
func (l *Loaded) timings() *Timings {
	text, err := l.read("timings")
	if err != nil || text == "" {
		return nil
	}
	return ParseTimings(text)
}

// ParseTimings reads a module's file timings. What is damaged, or of another version, is left out.
func ParseTimings(text string) *Timings {
	t := &Timings{}
	numbers := map[string]*int64{
		"scan_ns": &t.Scan, "stop_machine_ns": &t.StopMachine, "gather_ns": &t.Gather, "enter_ns": &t.Enter, "handler_ns": &t.Handler, "leave_ns": &t.Leave,
		"stack_check_ns": &t.StackCheck, "clear_ns": &t.Clear, "redirect_ns": &t.Redirect, "rebuild_ns": &t.Rebuild,
		"finished_boottime_ns": &t.Finished,
	}
	for _, l := range strings.Split(text, "\n") {
		k, v, _ := strings.Cut(l, " ")
		n, _ := strconv.ParseInt(v, 10, 64)
		switch k {
		case "direction":
			t.Direction = v
		case "cpus":
			t.CPUs = int(n)
		case "threads":
			t.Threads = int(n)
		case "threads_stopped":
			t.Stopped = int(n)
		default:
			if p := numbers[k]; p != nil {
				*p = n
			}
		}
	}
	return t
}
