// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"slices"

	"plugsched/internal/operate/live"
)

// The names of figures.
const (
	Stop    = "stop"
	Threads = "threads"
	Stopped = "stopped" // threads that were inspected in the stop
	Scan    = "scan"    // before the stop
	Bytes   = "bytes"
	Frames  = "frames"    // how deep sleepers sleep
	Jumps   = "redirects" // functions that are redirected
)

// Parts are what a stop consists of, in order: they add up to it.
var Parts = []string{"gather", "enter", "inspection", "clear", "redirection", "rebuild", "leave"}

// floors are what no update can be quicker than, and the module's parameters that tell.
var floors = map[string]string{
	"empty": "empty_ns", "empty gather": "gather_ns", "meet": "meet_ns", "write": "write_ns",
	"compare": "compare_ns", Bytes: "write_bytes", Jumps: "redirects",
}

func figuresOf(t *live.Timings) map[string]int64 {
	return map[string]int64{
		Stop: t.StopMachine, Threads: int64(t.Threads), Stopped: int64(t.Stopped), Scan: t.Scan,
		"gather": t.Gather, "enter": t.Enter, "inspection": t.StackCheck, "clear": t.Clear,
		"redirection": t.Redirect, "rebuild": t.Rebuild, "leave": t.Leave,
	}
}

// Stats are what repetitions of one figure gave.
type Stats struct {
	Median int64 `json:"median"`
	Min    int64 `json:"min"`
	Max    int64 `json:"max"`
}

// statsOf needs a value at least.
func statsOf(values []int64) Stats {
	v := slices.Sorted(slices.Values(values))
	return Stats{Median: v[(len(v)-1)/2], Min: v[0], Max: v[len(v)-1]}
}
