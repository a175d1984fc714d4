// SPDX-License-Identifier: BSD-3-Clause

// Package bench measures updates in guests whose time is a count of instructions, so that
// what it finds can be found again, and says how each part of the downtime grows.
package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"plugsched/internal/guest/vm"
)

// Options say what to measure, and where.
type Options struct {
	Kernel      string // a bootable image
	Module      string // made by project.BuildBench
	Tool        string // this program
	Series      []Series
	Repetitions int
	QEMU        string // the emulator; the usual one if empty
	ConsoleLog  string // of the guest that runs; the next one's overwrites it
	// Say is told what is measured, and Done of a point that is: both may be nil.
	Say  func(series string, value, done, total int)
	Done func(series string, p Point)
}

// Shift is what of a nanosecond an instruction is in a guest, as a power of two.
const Shift = 3

// bounds of time that do not judge: guests count instructions, and are slow on a busy host.
const (
	bootTimeout  = 15 * time.Minute
	hangTimeout  = 15 * time.Minute
	pointTimeout = 3 * time.Hour
)

// Run measures all series. What it has so far is lost when it fails or is interrupted: figures
// of half a run compare with nothing.
func Run(ctx context.Context, o *Options) (*Result, error) {
	r := &Result{Schema: schema, Repetitions: o.Repetitions, NsPerInstruction: 1 << Shift}
	for _, s := range o.Series {
		out := SeriesResult{Name: s.Name, What: s.What, CPUs: s.CPUs}
		for _, v := range s.Values {
			p, err := measure(ctx, o, s, v, r)
			if err != nil {
				return nil, fmt.Errorf("%s, %d: %w", s.Name, v, err)
			}
			out.Points = append(out.Points, *p)
			if o.Done != nil {
				o.Done(s.Name, *p)
			}
		}
		out.fit()
		r.Series = append(r.Series, out)
	}
	return r, nil
}

// measure boots a guest for one value: nothing of another's is left in it.
func measure(ctx context.Context, o *Options, s Series, value int, r *Result) (*Point, error) {
	m, err := vm.Boot(ctx, vm.Config{
		Kernel: o.Kernel, CPUs: s.cpusFor(value), MemoryMiB: s.MiB(value), Init: o.Tool, QEMU: o.QEMU, ICount: true, ICountShift: Shift,
		ConsoleLog: o.ConsoleLog, BootTimeout: bootTimeout, HangTimeout: hangTimeout,
		Files: []vm.File{
			{GuestPath: insideTool, HostPath: o.Tool, Mode: 0o755},
			{GuestPath: insideModule, HostPath: o.Module},
		}})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	r.Release = m.Release()
	if r.QEMU, err = m.Emulator(); err != nil {
		return nil, err
	}
	updates, err := drive(ctx, m, o, s, value)
	if err != nil {
		return nil, err
	}
	if err := m.Settle(ctx); err != nil {
		return nil, err
	}
	if f := m.Faults(); len(f) > 0 {
		return nil, &vm.KernelFault{Faults: f, ConsolePath: m.ConsolePath()}
	}
	return point(value, updates), nil
}

// drive has the guest measure, and reads what it prints.
func drive(ctx context.Context, m *vm.Machine, o *Options, s Series, value int) ([]Update, error) {
	text, err := json.Marshal(job{Load: s.load(value), Ways: s.Ways, Repetitions: o.Repetitions})
	if err != nil {
		return nil, err
	}
	total := 0
	for _, w := range s.Ways {
		total += len(directions) * w.repetitions(o.Repetitions)
	}
	lines := &counter{each: func(done int) {
		if o.Say != nil {
			o.Say(s.Name, value, done, total)
		}
	}}
	lines.each(0)
	res, err := m.Run(ctx, vm.Cmd{Argv: []string{insideTool, insideWord, string(text)}, Stdout: lines, Timeout: pointTimeout})
	if err != nil {
		return nil, err
	}
	if res.ExitCode != 0 {
		return nil, fmt.Errorf("the guest failed: %s", strings.TrimSpace(string(res.Stderr)))
	}
	var out []Update
	d := json.NewDecoder(&lines.text)
	for d.More() {
		var u Update
		if err := d.Decode(&u); err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	if len(out) != total {
		return nil, fmt.Errorf("the guest measured %d updates, not %d", len(out), total)
	}
	return out, nil
}

// counter keeps what is written and counts its lines.
type counter struct {
	text bytes.Buffer
	n    int
	each func(int)
}

func (c *counter) Write(b []byte) (int, error) {
	if n := bytes.Count(b, []byte("\n")); n > 0 {
		c.n += n
		c.each(c.n)
	}
	return c.text.Write(b)
}
