// SPDX-License-Identifier: BSD-3-Clause

package ghost

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
)

// Stats counts what an agent did.
type Stats struct {
	Messages [Priority + 1]uint64 // that were read, by type; those of unknown types at 0
	Lost     uint64               // messages for which there was no room
	Calls    uint64               // of Commit, with at least one transaction
	Commits  uint64               // transactions
	Stale    uint64               // of them, those that a barrier forbade
	Refused  uint64               // of them, those that were not OK for another reason
	Errors   uint64               // system calls that failed
}

func (s *Stats) add(o Stats) {
	for i, n := range o.Messages {
		s.Messages[i] += n
	}
	s.Lost += o.Lost
	s.Calls += o.Calls
	s.Commits += o.Commits
	s.Stale += o.Stale
	s.Refused += o.Refused
	s.Errors += o.Errors
}

// count adds to a counter that the agent's thread alone writes, and others read.
func count(n *uint64, by uint64) { atomic.StoreUint64(n, *n+by) }

// Snapshot is what the agent has done so far. Any thread may ask; the counters may be of
// different instants.
func (a *Agent) Snapshot() Stats {
	var s Stats
	for i := range s.Messages {
		s.Messages[i] = atomic.LoadUint64(&a.Stats.Messages[i])
	}
	s.Lost = atomic.LoadUint64(&a.Stats.Lost)
	s.Calls = atomic.LoadUint64(&a.Stats.Calls)
	s.Commits = atomic.LoadUint64(&a.Stats.Commits)
	s.Stale = atomic.LoadUint64(&a.Stats.Stale)
	s.Refused = atomic.LoadUint64(&a.Stats.Refused)
	s.Errors = atomic.LoadUint64(&a.Stats.Errors)
	return s
}

// Metrics are what agents did, by the CPU that an agent's ring belongs to.
type Metrics map[int]Stats

// Write prints them in Prometheus' text format.
func (m Metrics) Write(w io.Writer) error {
	var b strings.Builder
	m.family(&b, "messages_total", "Messages read, by type.", func(s Stats) []sample {
		out := []sample{{`,type="unknown"`, s.Messages[0]}}
		for _, t := range Types() {
			out = append(out, sample{fmt.Sprintf(",type=%q", t), s.Messages[t]})
		}
		return out
	})
	for _, f := range []struct {
		name, help string
		value      func(Stats) uint64
	}{
		{"messages_lost_total", "Messages for which a ring had no room.", func(s Stats) uint64 { return s.Lost }},
		{"commit_calls_total", "System calls that carried transactions.", func(s Stats) uint64 { return s.Calls }},
		{"commits_total", "Transactions.", func(s Stats) uint64 { return s.Commits }},
		{"commits_stale_total", "Transactions that a barrier forbade.", func(s Stats) uint64 { return s.Stale }},
		{"commits_refused_total", "Transactions that were void for another reason.", func(s Stats) uint64 { return s.Refused }},
		{"commit_errors_total", "System calls with transactions that failed.", func(s Stats) uint64 { return s.Errors }},
	} {
		m.family(&b, f.name, f.help, func(s Stats) []sample { return []sample{{"", f.value(s)}} })
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// sample is a value and what its labels have besides the CPU.
type sample struct {
	labels string
	value  uint64
}

func (m Metrics) family(b *strings.Builder, name, help string, samples func(Stats) []sample) {
	name = "plugsched_ghost_" + name
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s counter\n", name, help, name)
	for _, cpu := range slices.Sorted(maps.Keys(m)) {
		for _, v := range samples(m[cpu]) {
			fmt.Fprintf(b, "%s{cpu=\"%d\"%s} %d\n", name, cpu, v.labels, v.value)
		}
	}
}
