// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
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

// repetitions is how many of so many a way gets.
func (w Way) repetitions(n int) int {
	if w == Ours {
		return n
	}
	return min(n, otherRepetitions)
}

// job is what the inside of a guest is told to measure.
type job struct {
	Load        Load  `json:"load"`
	Ways        []Way `json:"ways"`
	Repetitions int   `json:"repetitions"`
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

func inside(text string, out io.Writer) (err error) {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	runtime.LockOSThread()
	// Before all others, and what it makes is not.
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Nice: -20, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	if err := unix.SchedSetAttr(0, attr, 0); err != nil {
		return fmt.Errorf("sched_setattr: %w", err)
	}
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
	m := loaded(dirs[0])
	defer func() { err = errors.Join(err, m.unload()) }()
	// It looks after starving tasks at times of its own.
	if err := m.write("plugsched/watchdog", "0"); err != nil {
		return err
	}
	l, err := begin(j.Load)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.end()) }()
	time.Sleep(settleLoad)
	return m.measure(j, json.NewEncoder(out))
}

// loaded is the directory of a module that is loaded.
type loaded string

func (m loaded) write(file, value string) error {
	return os.WriteFile(filepath.Join(string(m), file), []byte(value), 0)
}

func (m loaded) read(file string) (string, error) {
	text, err := os.ReadFile(filepath.Join(string(m), file))
	return strings.TrimSpace(string(text)), err
}

func (m loaded) unload() error {
	if err := m.write("plugsched/retire", "1"); err != nil {
		return err
	}
	return unix.DeleteModule(filepath.Base(string(m)), unix.O_NONBLOCK)
}

// measure takes the ways in turns. What is first in a guest is not counted: it is slower for
// once, as when memory is first touched.
func (m loaded) measure(j job, out *json.Encoder) error {
	for i := range j.Repetitions + 1 {
		for _, w := range j.Ways {
			if i > w.repetitions(j.Repetitions) {
				continue
			}
			if err := m.write("parameters/way", strconv.Itoa(int(w))); err != nil {
				return err
			}
			for _, on := range []string{"1", "0"} {
				time.Sleep(settleUpdate)
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
	}
	return nil
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
