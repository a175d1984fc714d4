// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sysfs is where the module shows itself.
const sysfs = "/sys/kernel/plugsched"

// Timings are the figures of the last update, in nanoseconds, read from the
// module. Downtime is StopMachine: from the call of stop_machine() to its return.
type Timings struct {
	Direction   string `json:"direction,omitempty"` // "install" or "remove"
	CPUs        int    `json:"cpus"`
	Threads     int    `json:"threads"` // whose stacks were inspected
	Init        int64  `json:"init_ns"`
	StopMachine int64  `json:"stop_machine_ns"`
	Handler     int64  `json:"handler_ns"`
	StackCheck  int64  `json:"stack_check_ns"`
	Clear       int64  `json:"clear_ns"`
	Redirect    int64  `json:"redirect_ns"`
	Rebuild     int64  `json:"rebuild_ns"`
}

// Status is what the kernel says about its scheduler.
type Status struct {
	Loaded    bool     `json:"loaded"`
	Active    bool     `json:"active"`
	Release   string   `json:"release"`
	BuildID   string   `json:"build_id"`
	Timings   *Timings `json:"timings,omitempty"`
	Functions []string `json:"functions,omitempty"` // redirected ones, in order of address
	// Leftovers is what Uninstall with Options.Verify found.
	Leftovers *Leftovers `json:"leftovers,omitempty"`
}

// Read asks the kernel.
func Read() (*Status, error) {
	s := &Status{}
	var err error
	if s.Release, err = Release(); err != nil {
		return nil, err
	}
	if s.BuildID, err = BuildID(); err != nil {
		return nil, err
	}
	state, err := os.ReadFile(filepath.Join(sysfs, "state"))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.Loaded = true
	s.Active = strings.TrimSpace(string(state)) == "active"
	if text, err := os.ReadFile(filepath.Join(sysfs, "timings")); err == nil {
		s.Timings = parseTimings(string(text))
	}
	if text, err := os.ReadFile(filepath.Join(sysfs, "functions")); err == nil {
		s.Functions = strings.Fields(string(text))
	}
	return s, nil
}

func parseTimings(text string) *Timings {
	t := &Timings{}
	numbers := map[string]*int64{
		"init_ns": &t.Init, "stop_machine_ns": &t.StopMachine, "handler_ns": &t.Handler,
		"stack_check_ns": &t.StackCheck, "clear_ns": &t.Clear, "redirect_ns": &t.Redirect, "rebuild_ns": &t.Rebuild,
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
		default:
			if p := numbers[k]; p != nil {
				*p = n
			}
		}
	}
	return t
}
