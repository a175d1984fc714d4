// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"context"
	"strings"
	"time"

	"plugsched/scx"
)

// extDir tells of schedulers that are BPF programs (kernel/sched/ext).
const extDir = "/sys/kernel/sched_ext"

// BPF names the BPF scheduler that runs, "" if there is none. It is also one that begins or ends just now, then without
// its name. Unlike SCX it needs no rights.
func (h Host) BPF() string {
	state := h.text(extDir + "/state")
	if state == "" || state == "disabled" {
		return ""
	}
	if name := h.text(extDir + "/root/ops"); name != "" {
		return name
	}
	return "one that is " + state
}

// SCX is what the kernel says of BPF schedulers, nil where it has none. Of a machine that tests make up nothing is said.
func (h Host) SCX() (*scx.Snapshot, error) {
	if h.Root != "" || h.text(extDir+"/state") == "" {
		return nil, nil
	}
	return scx.Look()
}

const endBPF = "end it first: plugsched scx stop, with --foreign if another program has loaded it"

// checkExt refuses to change the scheduler below a BPF program that was written for
// the one that runs, and whose tasks are in queues of its own.
func (h Host) checkExt(*Module, InstallOptions) []error {
	name := h.BPF()
	if name == "" {
		return nil
	}
	fix := endBPF
	if s, err := h.SCX(); err == nil && s != nil && s.Owner == scx.Ours {
		fix = "end it first: plugsched scx stop"
	} else if err == nil && s != nil && len(s.Holders) > 0 {
		name += ", of " + s.HeldBy()
	}
	return obstacle(fix, "a BPF scheduler runs (sched_ext: %s)", name)
}

// findEnds looks for BPF schedulers that the kernel has ended for what they did.
func (h Host) findEnds(*Module, InstallOptions) []error {
	s, err := h.SCX()
	if err != nil {
		return []error{err}
	}
	if s == nil {
		return nil
	}
	return endedBadly(s.Ends)
}

func endedBadly(ends []scx.End) (out []error) {
	for i := range ends {
		if e := &ends[i]; e.Error {
			out = append(out, warning("read `plugsched scx status --json`, which has a dump; that it is loaded again removes this",
				"the kernel has ended the BPF scheduler %s: %s", e.Name, e)...)
		}
	}
	return out
}

// CheckNoModule refuses a BPF scheduler while a module's runs. The kernel would take it; but then the module could not be
// removed, nor replaced, before the BPF scheduler has ended, and nobody could say whose scheduler runs.
func (h Host) CheckNoModule() error {
	name, err := h.Running()
	if err != nil {
		return err
	}
	if name != "" {
		var agents []string
		for _, a := range h.Agents() {
			agents = append(agents, a.String())
		}
		if len(agents) > 0 {
			name += ", for " + strings.Join(agents, ", ")
		}
		return precondition("a module's scheduler runs (%s), and beside it none in BPF is loaded: plugsched uninstall removes it", name)
	}
	return nil
}

// SettleBPF watches a scheduler in BPF that has begun, for a time, as Settle does a module. Of is what it is of.
func (h Host) SettleBPF(ctx context.Context, of string, d time.Duration) error {
	log := h.openLog()
	defer log.close()
	end := time.After(d)
	for {
		if _, err := h.finish(log); err != nil {
			return err
		}
		s, err := h.SCX()
		if err != nil {
			return err
		}
		if s == nil || s.Of != of {
			e := &RolledBackError{Name: of}
			if s != nil && len(s.Ends) > 0 {
				e.Report = s.Ends[len(s.Ends)-1].String()
			}
			return e
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return nil
		case <-time.After(time.Second):
		}
	}
}
