// SPDX-License-Identifier: BSD-3-Clause

// Package bench measures updates in guests whose time is a count of instructions, so that
// what it finds can be found again, and says how each part of the downtime grows.
package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"plugsched/internal/guest/vm"
)

// Options say what to measure, and where.
type Options struct {
	Kernel      string  // a bootable image
	Module      string  // made by project.BuildBench
	Others      []Other // whose sizes are compared
	Tool        string  // this program
	Series      []Series
	Overhead    bool // measure that too
	Repetitions int
	QEMU        string // the emulator; the usual one if empty
	ConsoleLog  string // of the guest that runs; the next one's overwrites it
	// Say is told what is measured, and Done of a point that is: both may be nil.
	Say  func(series string, value, done, total int)
	Done func(series string, p Point)
}

// Other is another module, for the same kernel.
type Other struct{ Name, Module string }

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
	all := o.Series
	if len(o.Others) > 0 {
		all = append(slices.Clone(all), Updates(len(o.Others)))
	}
	for _, s := range all {
		out := SeriesResult{Name: s.Name, What: s.What, CPUs: s.CPUs}
		for _, v := range s.Values {
			one := *o
			if s.Name == UpdatesName {
				one.Module = o.Others[v].Module
			}
			p, err := measure(ctx, &one, s, v, r)
			if err != nil {
				return nil, fmt.Errorf("%s, %d: %w", s.Name, v, err)
			}
			if s.Name == UpdatesName {
				p.Label = o.Others[v].Name
			}
			out.Points = append(out.Points, *p)
			if o.Done != nil {
				o.Done(s.Name, *p)
			}
		}
		slices.SortStableFunc(out.Points, func(a, b Point) int { return a.Value - b.Value })
		out.fit()
		r.Series = append(r.Series, out)
	}
	if o.Overhead {
		if err := measureOverhead(ctx, o, r); err != nil {
			return nil, fmt.Errorf("%s: %w", OverheadName, err)
		}
	}
	return r, nil
}

// measure boots a guest for one value: nothing of another's is left in it.
func measure(ctx context.Context, o *Options, s Series, value int, r *Result) (*Point, error) {
	total := 0
	for _, w := range s.Ways {
		total += len(directions) * w.repetitions(o.Repetitions, s.load(value))
	}
	j := job{Load: s.load(value), Ways: s.Ways, Repetitions: o.Repetitions}
	updates, err := inGuest[Update](ctx, o, r, s.cpusFor(value), s.MiB(value), j, total, func(done int) {
		if o.Say != nil {
			o.Say(s.Name, value, done, total)
		}
	})
	if err != nil {
		return nil, err
	}
	p := point(value, updates)
	if s.figure != "" {
		p.Value = int(p.median(Ours, directions[0], s.figure))
	}
	return p, nil
}

// measureOverhead measures on one CPU: nothing waits there, and so nothing is counted but work.
func measureOverhead(ctx context.Context, o *Options, r *Result) error {
	total := 2 * len(operations) * o.Repetitions
	turns, err := inGuest[Turn](ctx, o, r, 1, overheadMiB, job{Overhead: true, Repetitions: o.Repetitions}, total, func(done int) {
		if o.Say != nil {
			o.Say(OverheadName, 1, done, total)
		}
	})
	if err != nil {
		return err
	}
	r.Overhead = overheads(turns, r.NsPerInstruction)
	return nil
}

const overheadMiB = 1024

// inGuest boots a guest, has it measure, and reads what it prints: so many lines, of which each
// is told the number. It has no huge pages: whether those of this program have been split by an earlier fork makes a fifth of
// what the next one takes.
func inGuest[T any](ctx context.Context, o *Options, r *Result, cpus, memory int, j job, total int, each func(done int)) ([]T, error) {
	m, err := vm.Boot(ctx, vm.Config{
		Kernel: o.Kernel, CPUs: cpus, MemoryMiB: memory, Init: o.Tool, QEMU: o.QEMU, ICount: true, ICountShift: Shift,
		NoKASLR: true, Append: []string{"nohz=off", "transparent_hugepage=never"},
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
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	lines := &counter{each: each}
	lines.each(0)
	res, err := m.Run(ctx, vm.Cmd{Argv: []string{insideTool, insideWord, string(text)}, Stdout: lines, Timeout: pointTimeout})
	if err != nil {
		return nil, err
	}
	if res.ExitCode != 0 {
		return nil, fmt.Errorf("the guest failed: %s", strings.TrimSpace(string(res.Stderr)))
	}
	var out []T
	d := json.NewDecoder(&lines.text)
	for d.More() {
		var v T
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	if len(out) != total {
		return nil, fmt.Errorf("the guest measured %d times, not %d", len(out), total)
	}
	if err := m.Settle(ctx); err != nil {
		return nil, err
	}
	if f := m.Faults(); len(f) > 0 {
		return nil, &vm.KernelFault{Faults: f, ConsolePath: m.ConsolePath()}
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
