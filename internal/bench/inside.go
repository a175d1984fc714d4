// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/operate/live"
)

// Way is how an update inspects stacks and rebuilds queues, as runtime/plugsched.h numbers them.
type Way int

// The ways.
const (
	Ours     Way = iota
	Serial       // one CPU inspects all stacks in the stop, with a linear search
	Parallel     // all CPUs do, with a binary search, and look for what is queued among all tasks
)

func (w Way) String() string { return [...]string{"ours", "serial", "parallel"}[w] }

// otherRepetitions bounds those of the ways that take seconds of thousands of sleepers.
const otherRepetitions = 3

// many sleepers take the other ways so long that they get one update of a direction, and none before that.
const many = 10000

// repetitions is how many of so many a way gets.
func (w Way) repetitions(n int, l Load) int {
	switch {
	case w == Ours:
		return n
	case l.Sleepers >= many:
		return 1
	}
	return min(n, otherRepetitions)
}

// job is what the inside of a guest is told to measure.
type job struct {
	Load        Load  `json:"load"`
	Ways        []Way `json:"ways"`
	Repetitions int   `json:"repetitions"`
	Overhead    bool  `json:"overhead"` // measure that instead
}

// Update is one update that was measured, in ns of the guest.
type Update struct {
	Way       Way              `json:"way"`
	Direction string           `json:"direction"` // install or remove
	Tries     int              `json:"tries"`     // more than 1: tasks were in the way
	Figures   map[string]int64 `json:"figures"`
}

// Where guests have what they need.
const (
	insideModule = "/bench.ko"
	insideTool   = "/bin/plugsched"
	insideWord   = "bench-inside"
)

// The pauses let what an update and its report have woken go back to sleep.
const (
	settleLoad   = time.Second
	settleUpdate = 100 * time.Millisecond
	// As long as something runs in the guest, this lasts longer than the host needs to read a report.
	settleReport = 500 * time.Millisecond
)

// Invoked reports whether this program is the inside of a benchmark's guest.
func Invoked() bool { return len(os.Args) == 3 && os.Args[1] == insideWord }

// Inside measures in a guest what os.Args says, prints an Update a line, and returns the exit code.
func Inside() int {
	if err := inside(os.Args[2], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func inside(text string, out io.Writer) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	runtime.LockOSThread()
	// No work of Go's runtime beside what is measured, and timers on time.
	debug.SetGCPercent(-1)
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	if j.Overhead {
		// What it forks is like any other process.
		return withModule(func(m loaded) error { return m.overhead(j, json.NewEncoder(out)) })
	}
	// Before all others, and what it makes is not.
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Nice: -20, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	if err := unix.SchedSetAttr(0, attr, 0); err != nil {
		return fmt.Errorf("sched_setattr: %w", err)
	}
	return withModule(func(m loaded) (err error) {
		l, err := begin(j.Load)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.end()) }()
		time.Sleep(settleLoad)
		// The idler is the first.
		if m.frames = 0; j.Load.Sleepers > 0 {
			if m.frames, err = frames(l.pids[j.Load.Sleepers]); err != nil {
				return err
			}
		}
		return m.measure(j, out)
	})
}

// withModule loads the module for as long as fn runs.
func withModule(fn func(m loaded) error) (err error) {
	image, err := os.ReadFile(insideModule)
	if err != nil {
		return err
	}
	if err := unix.InitModule(image, ""); err != nil {
		return fmt.Errorf("loading %s: %w", insideModule, err)
	}
	dirs, err := filepath.Glob("/sys/module/plugsched_*")
	if err != nil || len(dirs) != 1 {
		return fmt.Errorf("the module has no files: %v %w", dirs, err)
	}
	m := loaded{dir: dirs[0]}
	defer func() { err = errors.Join(err, m.unload()) }()
	// It looks after starving tasks at times of its own.
	if err := m.write("plugsched/watchdog", "0"); err != nil {
		return err
	}
	return fn(m)
}

// loaded is a module that is loaded.
type loaded struct {
	dir    string
	frames int // how deep sleepers sleep
}

func (m loaded) write(file, value string) error {
	return os.WriteFile(filepath.Join(m.dir, file), []byte(value), 0)
}

func (m loaded) read(file string) (string, error) {
	text, err := os.ReadFile(filepath.Join(m.dir, file))
	return strings.TrimSpace(string(text)), err
}

func (m loaded) unload() error {
	if err := m.write("plugsched/retire", "1"); err != nil {
		return err
	}
	return unix.DeleteModule(filepath.Base(m.dir), unix.O_NONBLOCK)
}

// measure takes the ways in turns. What is first in a guest is not counted: it is slower for
// once, as when memory is first touched.
//
// What it has found is told the host between two turns only: that takes what it told along at a time of its own, and wakes
// processes in the guest with that.
func (m loaded) measure(j job, to io.Writer) error {
	for i := range j.Repetitions + 1 {
		var found bytes.Buffer
		out := json.NewEncoder(&found)
		for _, w := range j.Ways {
			if i > w.repetitions(j.Repetitions, j.Load) || i == 0 && w != Ours && j.Load.Sleepers >= many {
				continue
			}
			if err := m.write("parameters/way", strconv.Itoa(int(w))); err != nil {
				return err
			}
			for _, on := range []string{"1", "0"} {
				if err := settle(i, j.Repetitions+1); err != nil {
					return err
				}
				u, err := m.update(w, on)
				if err != nil {
					return err
				}
				if i == 0 {
					continue
				}
				if err := out.Encode(u); err != nil {
					return err
				}
			}
		}
		if _, err := found.WriteTo(to); err != nil {
			return err
		}
		time.Sleep(settleReport)
	}
	return nil
}

// beat is a multiple of every tick's period that kernels have, and period is that of Debian's.
const (
	beat   = 100 * time.Millisecond
	period = 4 * time.Millisecond
)

// settle lets what was woken go back to sleep. Each of some turns goes on at another time between two ticks, the
// same in every run: so ticks that fall into a part are in no more turns than they have to be.
func settle(turn, turns int) error {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return err
	}
	t = unix.NsecToTimespec(((t.Nano()+int64(settleUpdate))/int64(beat)+1)*int64(beat) + int64(period)*int64(2*turn+1)/int64(2*turns))
	for {
		if err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &t, nil); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// maxTries is how often an update is tried before what is in the way is an error.
const maxTries = 20

func (m loaded) update(w Way, on string) (*Update, error) {
	u := &Update{Way: w, Tries: 1}
	err := m.write("plugsched/enable", on)
	for ; errors.Is(err, unix.EBUSY) && u.Tries < maxTries; u.Tries++ {
		time.Sleep(settleUpdate)
		err = m.write("plugsched/enable", on)
	}
	if err != nil {
		busy, _ := m.read("plugsched/busy")
		return nil, fmt.Errorf("%s, enable %s: %w: %s", w, on, err, busy)
	}
	text, err := m.read("plugsched/timings")
	if err != nil {
		return nil, err
	}
	t := live.ParseTimings(text)
	u.Direction, u.Figures = t.Direction, figuresOf(t)
	u.Figures[Frames] = int64(m.frames)
	for name, file := range floors {
		text, err := m.read("parameters/" + file)
		if err != nil {
			return nil, err
		}
		if u.Figures[name], err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, fmt.Errorf("parameters/%s: %w", file, err)
		}
	}
	return u, nil
}
