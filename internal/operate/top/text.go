// SPDX-License-Identifier: BSD-3-Clause

package top

import (
	"fmt"
	"io"
	"strings"
	"time"

	"plugsched/internal/operate/view"
)

// Look is how a line is shown where there is a terminal.
type Look int

// The looks.
const (
	Plain Look = iota
	Head       // of a table
	Bad        // something is not in order
)

// Line is one of what is shown.
type Line struct {
	Text string
	Look Look
}

// Lines are a frame in words, the same with and without a terminal.
func (f *Frame) Lines() []Line {
	var out []Line
	add := func(look Look, format string, a ...any) {
		out = append(out, Line{strings.TrimRight(fmt.Sprintf(format, a...), " "), look})
	}
	add(Plain, "%s  %s  of the last %v", f.Time.Local().Format(time.DateTime), f.Release, f.Interval.Round(10*time.Millisecond))
	if len(f.Schedulers) == 0 {
		add(Plain, "scheduler  the kernel's own")
	}
	for i := range f.Schedulers {
		s := &f.Schedulers[i]
		look := Plain
		if s.Health != view.OK {
			look = Bad
		}
		add(look, "scheduler  %s", about(s))
	}
	if e := f.LastEnd; e != nil {
		add(Plain, "last end   %s (%s) at %s %s", e.Name, e.Way, e.Time.Local().Format(time.DateTime), firstLine(e.Reason))
	}
	add(Plain, "tasks      %s", f.summary())
	for _, n := range f.Notes {
		add(Bad, "note       %s", firstLine(n))
	}
	add(Plain, "")
	add(Head, "%5s %7s %9s %9s %9s", "CPU", "BUSY", "RUNNABLE", "WAIT", "BEGAN/s")
	for _, c := range append([]CPU{f.All}, f.CPUs...) {
		number, wait, began := "all", "-", "-"
		if c.Number >= 0 {
			number = fmt.Sprint(c.Number)
		}
		if c.Wait != nil {
			wait, began = short(*c.Wait), f.rate(c.Began)
		}
		add(Plain, "%5s %6.1f%% %9d %9s %9s", number, 100*c.Busy, c.Runnable, wait, began)
	}
	if len(f.Queues) > 0 {
		add(Plain, "")
		add(Head, "%-32s %9s", "QUEUE", "WAITING")
		for _, q := range busiest(f.Queues) {
			add(Plain, "%-32s %9d", q.Name, q.Tasks)
		}
	}
	of := ""
	for _, c := range f.Counters {
		if c.Way == view.BPF && c.Total == 0 {
			continue // the kernel has some twenty names, and most never come up
		}
		if title := fmt.Sprintf("%s %s", c.Way, c.Of); title != of {
			of = title
			add(Plain, "")
			add(Head, "%-40s %12s %9s", of, "TOTAL", "/s")
		}
		more := ""
		if c.More != nil {
			more = f.rate(*c.More)
		}
		add(Plain, "%-40s %12d %9s", c.Name, c.Total, more)
	}
	return out
}

// Write prints a frame for whoever has no terminal.
func (f *Frame) Write(w io.Writer) error {
	var b strings.Builder
	for _, l := range f.Lines() {
		b.WriteString(l.Text + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// about says in words what is known of a scheduler.
func about(s *view.Scheduler) string {
	parts := []string{s.Name + " (" + string(s.Way) + ")"}
	if s.Scope == view.ExtTasks {
		parts = append(parts, "tasks of SCHED_EXT only")
	}
	if !s.Since.IsZero() {
		parts = append(parts, "since "+s.Since.Local().Format(time.DateTime))
	}
	if s.Watchdog > 0 {
		parts = append(parts, "watchdog "+s.Watchdog.String())
	}
	if s.TrialLeft > 0 {
		parts = append(parts, "on trial for "+s.TrialLeft.Round(time.Second).String())
	}
	if len(s.Holders) > 0 {
		parts = append(parts, "held by "+strings.Join(s.Holders, " and "))
	}
	return strings.Join(append(parts, s.Health), ", ")
}

// summary is of all CPUs.
func (f *Frame) summary() string {
	parts := []string{fmt.Sprintf("%d runnable", f.All.Runnable)}
	if f.All.Wait != nil {
		parts = append(parts, fmt.Sprintf("%s until one runs", short(*f.All.Wait)))
	}
	if f.Pressure != nil {
		parts = append(parts, fmt.Sprintf("somebody waits for %.1f%% of the time", 100**f.Pressure))
	}
	return strings.Join(append(parts, f.rate(f.Switches)+" switches/s"), ", ")
}

// rate is how many there were in a second.
func (f *Frame) rate(n int64) string {
	if f.Interval <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", float64(n)/f.Interval.Seconds())
}

// short is a time in some four digits.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
