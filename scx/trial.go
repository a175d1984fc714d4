// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// What a trial is made of, by the names of bpf/scx.h.
const (
	trialMap     = "plugsched_trial"
	trialProgram = "plugsched_confirm"
	trialLength  = "plugsched_trial_ns"
)

// Where the members of struct trial are.
const (
	trialUntil = 16
	trialState = 24
	trialSize  = 32
)

// The states of a trial, enum trial_state.
const (
	trialRuns      = 1
	trialConfirmed = 2
	trialLapsed    = 3
)

// MaxTrial is how long a trial may be.
const MaxTrial = 24 * time.Hour

// triable says whether the object has what a trial is made of.
func (o *Object) triable() error {
	if o.spec.Maps[trialMap] == nil || o.spec.Programs[trialProgram] == nil || o.spec.Variables[trialLength] == nil {
		return &PreconditionError{fmt.Errorf("the scheduler %s cannot be tried: it was not compiled with a header that has begin_trial", o.name)}
	}
	return nil
}

// setTrial puts a trial's length into the object.
func (o *Object) setTrial(length time.Duration) error {
	if length == 0 {
		return nil
	}
	if length < time.Second || length > MaxTrial {
		return &PreconditionError{fmt.Errorf("a trial of %v: it must be from 1s to %v", length, MaxTrial)}
	}
	if err := o.triable(); err != nil {
		return err
	}
	return o.spec.Variables[trialLength].Set(uint64(length))
}

// unpin removes what of a scheduler is only needed while it runs, its link first. Why it ended stays.
func unpin(name string) error {
	files, err := os.ReadDir(filepath.Join(Pins, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(pinned(name, pinLink)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range files {
		if f.Name() == pinLink || f.Name() == pinEnd {
			continue
		}
		if err := os.Remove(pinned(name, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// trial is what a map says.
type trial struct {
	state uint32
	until time.Duration // by CLOCK_BOOTTIME
}

// left is how long a trial goes on, 0 without one.
func (t trial) left(now time.Duration) time.Duration {
	if t.state != trialRuns {
		return 0
	}
	return max(t.until-now, 1) // its timer is about to fire
}

func parseTrial(name string, b []byte) (trial, error) {
	if len(b) != trialSize {
		return trial{}, fmt.Errorf("the map %s of the scheduler %s has values of %d bytes, not %d: it is of another header",
			trialMap, name, len(b), trialSize)
	}
	return trial{binary.NativeEndian.Uint32(b[trialState:]), time.Duration(binary.NativeEndian.Uint64(b[trialUntil:]))}, nil
}

func readTrial(name string, m *ebpf.Map) (trial, error) {
	b, err := m.LookupBytes(uint32(0))
	if err != nil {
		return trial{}, fmt.Errorf("the trial of %s: %w", name, err)
	}
	return parseTrial(name, b)
}

// trialOf is that of a scheduler that has one pinned.
func trialOf(name string) (trial, error) {
	m, err := ebpf.LoadPinnedMap(pinned(name, pinnedTrial), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return trial{}, nil
	}
	if err != nil {
		return trial{}, err
	}
	defer m.Close()
	return readTrial(name, m)
}

// boottime is CLOCK_BOOTTIME.
func boottime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0 // no kernel is without it
	}
	return time.Duration(t.Nano())
}

// Confirm ends the trial of the scheduler that runs, which stays, and returns its name.
//
// Errors to look for are *UnsupportedError, *NotRunningError, *NoTrialError and *LapsedError.
func Confirm(ctx context.Context) (string, error) {
	if _, err := state(); err != nil {
		return "", err
	}
	unlock, err := lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	s, err := lookSettled(ctx)
	if err != nil {
		return "", err
	}
	switch {
	case s.State == disabled:
		return "", lapsed()
	case s.Owner != Ours:
		return "", &NoTrialError{s.Name}
	}
	p, err := ebpf.LoadPinnedProgram(pinned(s.Name, pinnedConfirm), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return "", &NoTrialError{s.Name}
	}
	if err != nil {
		return "", err
	}
	defer p.Close()
	// Either this or the timer changes the state, and whoever does has decided.
	was, err := p.Run(&ebpf.RunOptions{})
	switch {
	case err != nil:
		return "", fmt.Errorf("confirming %s: %w", s.Name, err)
	case was == trialRuns:
		return s.Name, nil
	case was == trialLapsed:
		return "", &LapsedError{s.Name}
	}
	return "", &NoTrialError{s.Name}
}

// lapsed is why there is nothing to confirm when no scheduler runs.
func lapsed() error {
	pins, err := pinnedLinks()
	if err != nil {
		return err
	}
	for name := range pins {
		end, err := endOf(name)
		if err != nil {
			return err
		}
		if end != nil && end.Lapsed() {
			return &LapsedError{name}
		}
	}
	return &NotRunningError{}
}
