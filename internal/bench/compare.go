// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"fmt"
	"math"
	"slices"
)

// Merge adds the series of another run of the same.
func (r *Result) Merge(other *Result) error {
	switch {
	case r.BuildID != other.BuildID || r.Where() != other.Where() || r.Tool != other.Tool:
		return fmt.Errorf("those runs were of different kernels, emulators or tools")
	case r.NsPerInstruction != other.NsPerInstruction:
		return fmt.Errorf("instructions of those runs took different times")
	}
	for _, s := range other.Series {
		if r.Find(s.Name) != nil {
			return fmt.Errorf("both runs have the series %s", s.Name)
		}
		r.Series = append(r.Series, s)
	}
	if len(r.Overhead) > 0 && len(other.Overhead) > 0 {
		return fmt.Errorf("both runs have the overhead")
	}
	r.Overhead = append(r.Overhead, other.Overhead...)
	r.Analyses = append(r.Analyses, other.Analyses...)
	r.Repetitions = min(r.Repetitions, other.Repetitions)
	r.Command += "; " + other.Command
	r.Took += ", " + other.Took
	r.HostLoad += "; " + other.HostLoad
	return nil
}

// Comparison is how far two runs of the same are apart.
type Comparison struct {
	Date     string       `json:"date"`
	HostLoad string       `json:"host_load"`
	Points   int          `json:"points"`  // values, ways and directions that both have
	Figures  []Difference `json:"figures"` // of the stop and its parts
}

// Difference is how far apart the medians of a figure are, as shares of the stop.
type Difference struct {
	Figure string  `json:"figure"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
	Where  string  `json:"where"` // Max was
}

// Compare holds a run against another one of the same kernel.
func (r *Result) Compare(other *Result) error {
	if r.BuildID != other.BuildID {
		return fmt.Errorf("that run was of another kernel (%s, build-id %s)", other.Release, other.BuildID)
	}
	c := &Comparison{Date: other.Date, HostLoad: other.HostLoad}
	for _, figure := range append([]string{Stop}, Parts...) {
		d := Difference{Figure: figure}
		var all []float64
		r.pairs(other, func(where string, a, b *Row) {
			stop := float64(max(b.Figures[Stop].Median, 1))
			x := math.Abs(float64(a.Figures[figure].Median-b.Figures[figure].Median)) / stop
			if all = append(all, x); x > d.Max {
				d.Max, d.Where = x, where
			}
		})
		if c.Points = len(all); c.Points == 0 {
			return fmt.Errorf("that run has nothing in common with this one")
		}
		slices.Sort(all)
		d.Median = all[(len(all)-1)/2]
		c.Figures = append(c.Figures, d)
	}
	r.Against = c
	return nil
}

// pairs calls fn for what two runs have in common.
func (r *Result) pairs(other *Result, fn func(where string, a, b *Row)) {
	for _, s := range r.Series {
		t := other.Find(s.Name)
		for i := range s.Points {
			p := &s.Points[i]
			if t == nil {
				continue
			}
			j := slices.IndexFunc(t.Points, func(q Point) bool { return q.Value == p.Value && q.Label == p.Label })
			if j < 0 {
				continue
			}
			for k := range p.Rows {
				a := &p.Rows[k]
				if b := t.Points[j].Row(a.Way, a.Direction); b != nil {
					fn(fmt.Sprintf("%s %d, %s, %s", s.Name, p.Value, a.Way, a.Direction), a, b)
				}
			}
		}
	}
}
