// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// schema grows when a key of a Result goes, or means something else.
const schema = 1

// Result is what a run has measured. Times are in ns, by the host's clock or by that of guests,
// which counts the instructions of all their CPUs together: what several CPUs do at once takes their sum.
type Result struct {
	Schema           int            `json:"schema"`
	Command          string         `json:"command"`
	Date             string         `json:"date"`
	Tool             string         `json:"tool"`
	Release          string         `json:"release"`
	BuildID          string         `json:"build_id"`
	QEMU             string         `json:"qemu,omitempty"`
	Host             string         `json:"host,omitempty"` // the processor, if no guests were measured
	NsPerInstruction int            `json:"ns_per_instruction,omitempty"`
	HostCPUs         int            `json:"host_cpus"`
	HostLoad         string         `json:"host_load"` // at the end, as /proc/loadavg has it
	Repetitions      int            `json:"repetitions"`
	Took             string         `json:"took"`
	Series           []SeriesResult `json:"series"`
	Overhead         []Overhead     `json:"overhead,omitempty"`
	Analyses         []Analysis     `json:"analyses,omitempty"`
	Against          *Comparison    `json:"against,omitempty"`
}

// SeriesResult is a series that was measured.
type SeriesResult struct {
	Name   string  `json:"name"`
	What   string  `json:"what"`
	CPUs   int     `json:"cpus,omitempty"` // 0: they are what was varied
	Points []Point `json:"points"`
	Fits   []Fit   `json:"fits"`
}

// Point is what was measured for one value.
type Point struct {
	Value int    `json:"value"`
	Label string `json:"label,omitempty"` // what has that value
	Rows  []Row  `json:"rows"`
}

// Row is a way to update in a direction.
type Row struct {
	Way       Way              `json:"way"`
	Direction string           `json:"direction"`
	Updates   int              `json:"updates"`
	Busy      int              `json:"busy"` // tries before these in which tasks were in the way
	Figures   map[string]Stats `json:"figures"`
}

// MarshalText implements encoding.TextMarshaler.
func (w Way) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *Way) UnmarshalText(text []byte) error {
	for _, is := range []Way{Ours, Serial, Parallel} {
		if is.String() == string(text) {
			*w = is
			return nil
		}
	}
	return fmt.Errorf("there is no way %q", text)
}

// directions are those of updates, in order.
var directions = []string{"install", "remove"}

// point puts together what updates of one value have in common.
func point(value int, updates []Update) *Point {
	p := &Point{Value: value}
	for _, w := range []Way{Ours, Serial, Parallel} {
		for _, d := range directions {
			row := Row{Way: w, Direction: d, Figures: map[string]Stats{}}
			values := map[string][]int64{}
			for _, u := range updates {
				if u.Way != w || u.Direction != d {
					continue
				}
				row.Updates++
				row.Busy += u.Tries - 1
				for name, v := range u.Figures {
					values[name] = append(values[name], v)
				}
			}
			for name, v := range values {
				row.Figures[name] = statsOf(v)
			}
			if row.Updates > 0 {
				p.Rows = append(p.Rows, row)
			}
		}
	}
	return p
}

// Name is what a point is called: by what was varied, or by its value.
func (p *Point) Name() string {
	if p.Label != "" {
		return p.Label
	}
	return strconv.Itoa(p.Value)
}

// Row returns that of a way and a direction, or nil.
func (p *Point) Row(w Way, direction string) *Row {
	i := slices.IndexFunc(p.Rows, func(r Row) bool { return r.Way == w && r.Direction == direction })
	if i < 0 {
		return nil
	}
	return &p.Rows[i]
}

// median is 0 for a figure that there is not.
func (p *Point) median(w Way, direction, figure string) int64 {
	if r := p.Row(w, direction); r != nil {
		return r.Figures[figure].Median
	}
	return 0
}

// Unnamed is what of the stop is in none of its parts, as a share of it. Medians of parts need
// not add up to the median of the whole; of one update they do.
func (r *Row) Unnamed() float64 {
	var sum int64
	for _, part := range Parts {
		sum += r.Figures[part].Median
	}
	stop := r.Figures[Stop].Median
	return float64(stop-sum) / float64(max(stop, 1))
}

// Find returns a series by its name, or nil.
func (r *Result) Find(name string) *SeriesResult {
	i := slices.IndexFunc(r.Series, func(s SeriesResult) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Series[i]
}

// Parse reads a result that was written as JSON.
func Parse(text []byte) (*Result, error) {
	r := &Result{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("no result of `plugsched bench`: %w", err)
	}
	if r.Schema != schema {
		return nil, fmt.Errorf("a result with schema %d, not %d: measure again", r.Schema, schema)
	}
	return r, nil
}
