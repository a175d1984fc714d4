// SPDX-License-Identifier: BSD-3-Clause

// Package top watches what a machine's scheduler does, whichever way it came: how many tasks want a CPU, for how long they wait,
// and what has been counted meanwhile.
package top

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/operate/live"
	"plugsched/internal/operate/view"
	"plugsched/scx"
)

// Sample is what the kernel says at one time; a frame is made of two.
type Sample struct {
	At   time.Time
	CPUs map[int]counts
	// Switches of all CPUs from one task to another since boot, and Pressure how long somebody has waited for a CPU since then.
	Switches int64
	Pressure time.Duration
	Runnable map[int]int // tasks, by the CPU that each runs on, waits for, or ran on last
	Agents   []agent
	Schedulers
	Queues []scx.Queue // in which tasks of a scheduler in BPF wait
	// Notes are what could not be asked, and why.
	Notes []string
}

// Schedulers are what is known of those that run, by the way that they came.
type Schedulers struct {
	Status  *live.Status
	Running []view.Scheduler
	BPF     *scx.Snapshot // nil where the kernel has none
	LastEnd *view.Ended
}

// counts are what the kernel has counted of a CPU since boot.
type counts struct {
	busy, all time.Duration // of CPU time, by the kernel's ticks
	// waited is how long tasks were runnable there before they ran, and began how often one began to.
	waited time.Duration
	began  int64
	known  bool // the kernel tells of waiting
}

// agent is a process that schedules others, and what it has had.
type agent struct {
	name     string // COMMAND[PID]
	ran      time.Duration
	switches int64
}

// Machine is what is asked. Root is as live.Host has it.
type Machine struct {
	Root string
	// Ask says which schedulers run.
	Ask func() (Schedulers, error)
	// Lengths are those of queues of schedulers in BPF; nil where none can be asked.
	Lengths func() ([]scx.Queue, error)
}

// Sample asks the kernel.
func (m *Machine) Sample() (*Sample, error) {
	s := &Sample{CPUs: map[int]counts{}}
	var err error
	if s.Schedulers, err = m.Ask(); err != nil {
		return nil, err
	}
	if s.BPF != nil && s.BPF.State != "disabled" && m.Lengths != nil {
		if s.Queues, err = m.Lengths(); err != nil {
			s.Notes = append(s.Notes, "queues cannot be asked: "+err.Error())
		}
	}
	s.At = time.Now()
	for _, read := range []func(*Sample) error{m.stat, m.schedstat, m.pressure, m.threads, m.agents} {
		if err := read(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (m *Machine) path(name string) string { return filepath.Join("/", m.Root, name) }

// lines calls each with the words of each line of a file.
func (m *Machine) lines(name string, each func(words []string) error) error {
	text, err := os.ReadFile(m.path(name))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if err := each(strings.Fields(line)); err != nil {
			return fmt.Errorf("%s: %q: %w", name, strings.TrimSpace(line), err)
		}
	}
	return nil
}

// numbers are words that are whole numbers.
func numbers(words []string) ([]int64, error) {
	out := make([]int64, len(words))
	for i, w := range words {
		var err error
		if out[i], err = strconv.ParseInt(w, 10, 64); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// cpuLine reads a line that begins with cpuN and has so many numbers at least; n is nil for another line.
func cpuLine(words []string, least int) (cpu int, n []int64, err error) {
	if len(words) == 0 {
		return 0, nil, nil
	}
	text, ok := strings.CutPrefix(words[0], "cpu")
	if cpu, err = strconv.Atoi(text); !ok || err != nil {
		return 0, nil, nil
	}
	if n, err = numbers(words[1:]); err == nil && len(n) < least {
		err = errors.New("it has too few numbers")
	}
	return cpu, n, err
}

// tick is the unit of CPU time in /proc, USER_HZ.
const tick = 10 * time.Millisecond

// stat reads the CPUs' time and how often they have switched (fs/proc/stat.c, show_stat).
func (m *Machine) stat(s *Sample) error {
	return m.lines("/proc/stat", func(words []string) error {
		if len(words) == 2 && words[0] == "ctxt" {
			n, err := numbers(words[1:])
			if err == nil {
				s.Switches = n[0]
			}
			return err
		}
		cpu, n, err := cpuLine(words, 8)
		if n == nil || err != nil {
			return err
		}
		// user, nice, system, idle, iowait, irq, softirq, steal; what a guest has had is in user and nice.
		c := s.CPUs[cpu]
		for i, v := range n[:8] {
			c.all += time.Duration(v) * tick
			if i != 3 && i != 4 {
				c.busy += time.Duration(v) * tick
			}
		}
		s.CPUs[cpu] = c
		return nil
	})
}

// schedstat reads how long tasks have waited (kernel/sched/stats.c, show_schedstat). The kernel counts that for all classes, and
// whether or not kernel.sched_schedstats is on.
func (m *Machine) schedstat(s *Sample) error {
	err := m.lines("/proc/schedstat", func(words []string) error {
		cpu, n, err := cpuLine(words, 9)
		if n == nil || err != nil {
			return err
		}
		c := s.CPUs[cpu]
		c.waited, c.began, c.known = time.Duration(n[7]), n[8], true
		s.CPUs[cpu] = c
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		s.Notes = append(s.Notes, "how long tasks wait is not told: the kernel was built without CONFIG_SCHEDSTATS")
		return nil
	}
	return err
}

// pressure reads how long somebody has waited for a CPU, whoever it was (kernel/sched/psi.c, psi_show).
func (m *Machine) pressure(s *Sample) error {
	s.Pressure = -1
	err := m.lines("/proc/pressure/cpu", func(words []string) error {
		if len(words) == 0 || words[0] != "some" {
			return nil
		}
		total, ok := strings.CutPrefix(words[len(words)-1], "total=")
		n, err := strconv.ParseInt(total, 10, 64)
		if !ok || err != nil {
			return errors.New("it has no total")
		}
		s.Pressure = time.Duration(n) * time.Microsecond
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil // it is off (psi=0)
	}
	return err
}

// threads counts those that are runnable.
func (m *Machine) threads(s *Sample) error {
	s.Runnable = map[int]int{}
	dirs, err := os.ReadDir(m.path("/proc"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if n, err := strconv.Atoi(d.Name()); err != nil || n == os.Getpid() {
			continue // it runs now because somebody looks
		}
		dir := m.path("/proc/" + d.Name())
		st, ok := readStat(dir)
		if !ok {
			continue // it has just ended
		}
		if st.threads <= 1 {
			s.add(st)
			continue
		}
		all, _ := os.ReadDir(dir + "/task")
		for _, thread := range all {
			if st, ok := readStat(dir + "/task/" + thread.Name()); ok {
				s.add(st)
			}
		}
	}
	return nil
}

func (s *Sample) add(st stat) {
	if st.state == 'R' {
		s.Runnable[st.cpu]++
	}
}

// stat is what /proc says of a thread (fs/proc/array.c, do_task_stat).
type stat struct {
	state        byte
	ran          time.Duration
	threads, cpu int
}

func readStat(dir string) (st stat, ok bool) {
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return st, false
	}
	return parseStat(string(text))
}

// parseStat looks behind the name, which may have anything in it.
func parseStat(text string) (st stat, ok bool) {
	end := strings.LastIndex(text, ") ")
	words := strings.Fields(text[end+1:])
	if end < 0 || len(words) < 37 || len(words[0]) != 1 {
		return st, false
	}
	number := func(i int) int64 {
		n, err := strconv.ParseInt(words[i], 10, 64)
		ok = ok && err == nil
		return n
	}
	ok = true
	st.state = words[0][0]
	st.ran = time.Duration(number(11)+number(12)) * tick
	st.threads, st.cpu = int(number(17)), int(number(36))
	return st, ok
}

// agents asks what the processes that schedule others have had.
func (m *Machine) agents(s *Sample) error {
	for _, process := range (live.Host{Root: m.Root}).Agents() {
		a := agent{name: process.String()}
		dir := fmt.Sprintf("/proc/%d", process.PID)
		st, ok := readStat(m.path(dir))
		if !ok {
			continue
		}
		a.ran = st.ran
		threads, _ := os.ReadDir(m.path(dir + "/task"))
		for _, t := range threads {
			// One that has just ended has no more to say.
			_ = m.lines(dir+"/task/"+t.Name()+"/status", func(words []string) error {
				if len(words) == 2 && strings.HasSuffix(words[0], "voluntary_ctxt_switches:") {
					n, err := strconv.ParseInt(words[1], 10, 64)
					a.switches += n
					return err
				}
				return nil
			})
		}
		s.Agents = append(s.Agents, a)
	}
	return nil
}
