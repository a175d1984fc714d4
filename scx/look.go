// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// Owner says who has loaded a scheduler.
type Owner string

// The owners.
const (
	Ours    Owner = "plugsched" // it is pinned below Pins
	Others  Owner = "other"
	Unknown Owner = "unknown" // who asks may not know, or it begins or ends just now
)

// Snapshot is what the kernel says at one time.
type Snapshot struct {
	State   string   `json:"state"`             // in the kernel's words: disabled, enabled, or on the way there
	Name    string   `json:"name,omitempty"`    // of the scheduler
	All     bool     `json:"all_tasks"`         // it has all tasks of the fair class, and not those of SCHED_EXT only
	Owner   Owner    `json:"owner,omitempty"`   // of the scheduler that runs
	Of      string   `json:"of,omitempty"`      // what it is of, as Options say; root only
	Link    uint32   `json:"link,omitempty"`    // its number; root only
	Holders []Holder `json:"holders,omitempty"` // processes that have the link open; root only
	// Since is when it began, by CLOCK_BOOTTIME, and Timeout how long a task may wait until the kernel ends it; root only.
	Since   time.Duration `json:"since_boottime_ns,omitempty"`
	Timeout time.Duration `json:"timeout_ns,omitempty"`
	// TrialLeft is how long the trial goes on, 0 without one; root only.
	TrialLeft time.Duration    `json:"trial_left_ns,omitempty"`
	Loads     int64            `json:"loads"`              // how many schedulers have begun since boot
	Rejected  int64            `json:"rejected"`           // tasks that were not let into SCHED_EXT
	Events    map[string]int64 `json:"events,omitempty"`   // counters of the scheduler that runs, by the kernel's names
	Programs  []Program        `json:"programs,omitempty"` // of the scheduler that runs, in the order of the kernel's structure; root only
	Ends      []End            `json:"ends,omitempty"`     // of schedulers that plugsched had loaded, the latest last; root only
}

// HeldBy names the processes that have the link open, "" if none has.
func (s *Snapshot) HeldBy() string {
	var names []string
	for _, h := range s.Holders {
		names = append(names, h.String())
	}
	return strings.Join(names, ", ")
}

// Look asks the kernel. The error is *UnsupportedError where it has no sched_ext.
func Look() (*Snapshot, error) {
	for {
		before, err := sequence()
		if err != nil {
			return nil, err
		}
		s, err := look()
		if err != nil {
			return nil, err
		}
		// Another may have begun or ended between two questions.
		if after, err := sequence(); err != nil || after == before {
			return s, err
		}
	}
}

// lookSettled asks the kernel when it is not on its way from one scheduler to another.
func lookSettled(ctx context.Context) (*Snapshot, error) {
	for {
		s, err := Look()
		if err != nil || s.State == disabled || s.State == enabled {
			return s, err
		}
		if err := pause(ctx); err != nil {
			return nil, fmt.Errorf("sched_ext is %s: %w", s.State, err)
		}
	}
}

// pause is between two questions to the kernel, which has nothing to wait on.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Millisecond):
		return nil
	}
}

// sequence changes whenever the kernel's state does.
func sequence() (string, error) {
	s, err := state()
	if err != nil {
		return "", err
	}
	n, err := attribute("enable_seq")
	return s + " " + n, err
}

func look() (s *Snapshot, err error) {
	s = &Snapshot{}
	if s.State, err = state(); err != nil {
		return nil, err
	}
	if s.Loads, err = number("enable_seq"); err != nil {
		return nil, err
	}
	if s.Rejected, err = number("nr_rejected"); err != nil {
		return nil, err
	}
	if s.Ends, err = ends(); err != nil {
		return nil, err
	}
	if s.State == disabled {
		return s, nil
	}
	if s.Name, err = attribute("root/ops"); err != nil {
		return nil, err
	}
	all, err := number("switch_all")
	if err != nil {
		return nil, err
	}
	s.All = all != 0
	events, err := attribute("root/events")
	if err != nil {
		return nil, err
	}
	if s.Events, err = parseEvents(events); err != nil {
		return nil, err
	}
	return s, s.findOwner()
}

// findOwner finds out whose the scheduler is, as far as who asks may know.
func (s *Snapshot) findOwner() error {
	s.Owner = Unknown
	if s.Name == "" || os.Geteuid() != 0 {
		return nil
	}
	r, err := findRunning(s.Name)
	if errors.Is(err, fs.ErrPermission) {
		return nil // root, without its rights
	}
	if err != nil || r == nil {
		return err
	}
	s.Link, s.Owner = uint32(r.id), Others
	if s.Timeout = time.Duration(r.timeoutMS()) * time.Millisecond; s.Timeout == 0 {
		s.Timeout = MaxTimeout
	}
	if s.Programs, s.Since, err = r.programs(); err != nil {
		return err
	}
	pins, err := pinnedLinks()
	if err != nil {
		return err
	}
	if pins[s.Name] == r.id {
		s.Owner = Ours
		t, err := trialOf(s.Name)
		if err != nil {
			return err
		}
		s.TrialLeft = t.left(boottime())
		if s.Of, err = os.Readlink(pinned(s.Name, pinnedOf)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.Holders, err = holders(r.id)
	return err
}
