// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"plugsched/internal/operate/live"
)

// OnHost installs a module on this machine and removes it, so many times, and says what the stops took: by this
// machine's clock, under whatever load it has. The first pair is not counted: it is slower for once. The kernel's own scheduler
// has to run, and does when this returns, also of an interruption; say may be nil.
func OnHost(ctx context.Context, h live.Host, m *live.Module, repetitions int, say func(done int)) (*Result, error) {
	before, err := h.Read()
	if err != nil {
		return nil, err
	}
	if len(before.Modules) > 0 {
		return nil, &live.PreconditionError{Err: fmt.Errorf(
			"%s is loaded: what is measured is installed and removed; `plugsched uninstall` first", before.Modules[0].Name)}
	}
	var updates []Update
	for i := range repetitions + 1 {
		pair, err := cycle(ctx, h, m)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			updates = append(updates, pair...)
		}
		if say != nil {
			say(i)
		}
	}
	threads := int(updates[0].Figures[Threads])
	return &Result{Schema: schema, Release: before.Release, BuildID: before.BuildID, Host: processor(), Repetitions: repetitions,
		Series: []SeriesResult{{Name: "host", What: "threads of this machine", CPUs: runtime.NumCPU(),
			Points: []Point{*point(threads, updates)}}}}, nil
}

// cycle installs and removes. Whatever happens, the module is gone then, or the error says that it is not.
func cycle(ctx context.Context, h live.Host, m *live.Module) (pair []Update, err error) {
	time.Sleep(settleUpdate)
	in, err := h.Install(ctx, m, live.InstallOptions{})
	if in == nil {
		return nil, err
	}
	time.Sleep(settleUpdate)
	out, e := h.Uninstall(context.WithoutCancel(ctx), live.UninstallOptions{Verify: true})
	if err = errors.Join(err, e, ctx.Err()); err != nil {
		return nil, err
	}
	for _, s := range []*live.Status{in, out} {
		if s.Timings == nil {
			return nil, errors.New("the module does not say what the update took")
		}
		pair = append(pair, Update{Way: Ours, Direction: s.Timings.Direction, Tries: 1, Figures: figuresOf(s.Timings)})
	}
	return pair, nil
}

// processor is what this machine calls its own, and how the kernel knows that it is a guest.
func processor() string {
	name := "an unnamed processor"
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			name = strings.TrimSpace(value)
			break
		}
	}
	if by, err := os.ReadFile("/sys/hypervisor/type"); err == nil {
		name += " under " + strings.TrimSpace(string(by))
	} else if strings.Contains(string(text), " hypervisor ") {
		name += " in a virtual machine"
	}
	return name
}

// Where is the machine that was measured on.
func (r *Result) Where() string {
	if r.Host != "" {
		return r.Host
	}
	return r.QEMU
}

// Clock says in which time the figures are.
func (r *Result) Clock() string {
	if r.Host != "" {
		return "Times are by the machine's clock, under the load that it had."
	}
	return fmt.Sprintf(`Times are the guest's. Its clock counts instructions, of all its virtual CPUs together, and takes %d ns for each, whatever the
host does meanwhile. So figures compare with each other, and do not say what a processor would take: it does several
instructions in a nanosecond, waits for memory, and its CPUs work at the same time.`, r.NsPerInstruction)
}
