// SPDX-License-Identifier: BSD-3-Clause

// Package metrics tells monitoring what is known about a machine's scheduler, in
// Prometheus' text format and in OpenMetrics.
package metrics

import (
	"maps"
	"math"
	"slices"
	"sort"
	"time"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/history"
	"plugsched/internal/operate/live"
	"plugsched/internal/operate/view"
	"plugsched/internal/outcome"
	"plugsched/scx"
)

// State is what the metrics are made from.
type State struct {
	Status *live.Status
	// Schedulers are those that run, whichever way they came.
	Schedulers []view.Scheduler
	BPF        *scx.Snapshot      // nil where the kernel has no schedulers in BPF
	Package    *installed.Package // that the running scheduler is from, nil: none
	Since      time.Time          // that scheduler runs; zero when not known
	Guard      bool               // the boot guard keeps the installed package back
	History    []history.Entry
	Damaged    int // lines of the history
}

// buckets of downtime, in seconds: a hundred microseconds to three seconds, and all.
var buckets = []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3, math.Inf(1)}

func (s *State) families() []family {
	st := s.Status
	out := []family{
		gauge("plugsched_scheduler_active", "Whether a scheduler runs that is not the kernel's own: a module's, or one in BPF.",
			flag(len(s.Schedulers) > 0)),
		s.running(),
		s.info(),
		gauge("plugsched_watchdog_timeout_seconds", "How long a task may wait for a CPU before the kernel rolls back by itself; 0 is never.",
			s.first().Watchdog.Seconds()),
		gauge("plugsched_trial_left_seconds", "How long the trial of the running scheduler goes on; 0 when there is none.",
			s.first().TrialLeft.Seconds()),
		gauge("plugsched_rolling_back", "Whether the running scheduler is to be left and something holds that up.", flag(st.RollingBack != "")),
		gauge("plugsched_conflicts", "Redirected functions that a livepatch has replaced or that a kprobe is in.",
			float64(len(st.TakenOver)+len(st.Probes))),
		gauge("plugsched_guard_tripped", "Whether the boot guard keeps the installed package's scheduler from being loaded.", flag(s.Guard)),
		gauge("plugsched_history_damaged_lines", "Lines of the history that cannot be read.", float64(s.Damaged)),
	}
	if !s.Since.IsZero() {
		out = append(out, gauge("plugsched_scheduler_start_time_seconds", "When the running scheduler became it, in Unix time.",
			float64(s.Since.UnixMilli())/1000))
	}
	if t := st.Timings; t != nil {
		out = append(out, gauge("plugsched_last_downtime_seconds", "How long the machine stood still for the last update.",
			time.Duration(t.StopMachine).Seconds()))
	}
	return append(append(out, s.bpf()...), s.updates(), s.wentBack(), s.downtime())
}

// first is the scheduler that runs, a module's if there are two.
func (s *State) first() view.Scheduler {
	if len(s.Schedulers) == 0 {
		return view.Scheduler{}
	}
	return s.Schedulers[0]
}

// running has a sample for each scheduler.
func (s *State) running() family {
	f := family{"plugsched_scheduler_running", "Schedulers that run and are not the kernel's own, whichever way they came.", "gauge", nil}
	for _, r := range s.Schedulers {
		labels := []string{"way", string(r.Way), "name", r.Name, "scope", string(r.Scope), "owner", string(r.Owner)}
		f.samples = append(f.samples, sample{"", labels, 1})
	}
	return f
}

// bpf is what the kernel counts of schedulers in BPF, where it has such.
func (s *State) bpf() []family {
	b := s.BPF
	if b == nil {
		return nil
	}
	out := []family{
		{"plugsched_bpf_loads_total", "How many schedulers in BPF have begun since boot, whoever has loaded them.", "counter",
			[]sample{{value: float64(b.Loads)}}},
		{"plugsched_bpf_rejected_tasks_total", "Tasks that were not let into SCHED_EXT.", "counter", []sample{{value: float64(b.Rejected)}}},
	}
	events := family{"plugsched_bpf_events_total", "What the kernel has counted of the scheduler in BPF that runs, by the kernel's names.",
		"counter", nil}
	for _, name := range slices.Sorted(maps.Keys(b.Events)) {
		events.samples = append(events.samples, sample{"", []string{"event", name}, float64(b.Events[name])})
	}
	if len(events.samples) > 0 {
		out = append(out, events)
	}
	return out
}

func gauge(name, help string, value float64) family {
	return family{name, help, "gauge", []sample{{value: value}}}
}

func (s *State) info() family {
	p := s.Package
	if p == nil {
		p = &installed.Package{}
	}
	return family{"plugsched_scheduler_info", "The running module, and the package of what runs.", "gauge",
		[]sample{{"", []string{"module", s.Status.Name, "release", s.Status.Release, "package", p.Name, "version", p.Version}, 1}}}
}

// updates counts what was tried. That which never happened is there with 0, so that its
// first time is an increase.
func (s *State) updates() family {
	type key struct{ direction, result string }
	n := map[key]float64{}
	for _, d := range []string{"install", "replace", "remove"} {
		n[key{d, outcome.Done.String()}] = 0
	}
	for _, o := range outcome.All() {
		n[key{"none", o.String()}] = 0
	}
	for _, e := range s.History {
		d := e.Direction
		if d == "" {
			d = "none"
		}
		n[key{d, e.Result}]++
	}
	f := family{"plugsched_updates_total", "Updates by direction (none: the scheduler did not change) and result, as far back as the history reaches.", "counter", nil}
	for k, v := range n {
		f.samples = append(f.samples, sample{"", []string{"direction", k.direction, "result", k.result}, v})
	}
	sort.Slice(f.samples, func(i, j int) bool { return slices.Compare(f.samples[i].labels, f.samples[j].labels) < 0 })
	return f
}

func (s *State) wentBack() family {
	n := 0.0
	for _, e := range s.History {
		if e.Action == history.RolledBack {
			n++
		}
	}
	return family{"plugsched_rollbacks_total", "How often the kernel left a scheduler by itself: a trial ended, or the watchdog fired.", "counter", []sample{{value: n}}}
}

func (s *State) downtime() family {
	var total, sum float64
	counts := make([]float64, len(buckets))
	for _, e := range s.History {
		if e.Direction == "" || e.BPF != "" {
			continue // the machine does not stand still for a scheduler in BPF
		}
		seconds := e.Downtime.Seconds()
		total++
		sum += seconds
		for i, b := range buckets {
			if seconds <= b {
				counts[i]++
			}
		}
	}
	f := family{"plugsched_downtime_seconds", "How long the machine stood still for updates, as far back as the history reaches.",
		"histogram", nil}
	for i, b := range buckets {
		f.samples = append(f.samples, sample{"_bucket", []string{"le", number(b)}, counts[i]})
	}
	f.samples = append(f.samples, sample{"_sum", nil, sum}, sample{"_count", nil, total})
	return f
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
