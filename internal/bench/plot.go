// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// A plot's measures in the units of its SVG: small enough that its text can be read on a telephone.
const (
	plotWidth, plotHeight = 380, 250
	left, right           = 52, 8
	top, bottom           = 10, 30
)

// plot is a picture in the making. Values of x stand side by side, whatever their distances.
type plot struct {
	b    strings.Builder
	n    int // values of x
	y    func(v float64) float64
	name string
}

func newPlot(name string, labels []string, y func(float64) float64, ticks []float64) *plot {
	p := &plot{n: len(labels), y: y, name: name}
	fmt.Fprintf(&p.b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, plotWidth, plotHeight, template.HTMLEscapeString(name))
	for _, t := range ticks {
		fmt.Fprintf(&p.b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`,
			left, plotWidth-right, y(t), y(t), left-5, y(t)+4, axis(t))
	}
	for i, l := range labels {
		fmt.Fprintf(&p.b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, p.x(i), plotHeight-bottom+16, template.HTMLEscapeString(l))
	}
	return p
}

// axis is a time in ns as an axis has it.
func axis(ns float64) string {
	switch {
	case ns == 0:
		return "0"
	case ns < 1e6:
		return fmt.Sprintf("%g µs", ns/1e3)
	case ns < 1e9:
		return fmt.Sprintf("%g ms", ns/1e6)
	}
	return fmt.Sprintf("%g s", ns/1e9)
}

func (p *plot) x(i int) float64 {
	return left + (float64(i)+0.5)*(plotWidth-left-right)/float64(p.n)
}

func (p *plot) end() template.HTML {
	p.b.WriteString("</svg>")
	return template.HTML(p.b.String())
}

// inner is the height of what is plotted.
const inner = plotHeight - top - bottom

// linear makes 0 to greatest an axis, with ticks.
func linear(greatest float64) (func(float64) float64, []float64) {
	step := math.Pow(10, math.Floor(math.Log10(max(greatest, 1))))
	for _, f := range []float64{0.1, 0.2, 0.5, 1, 2} {
		if greatest/(step*f) <= 6 {
			step *= f
			break
		}
	}
	limit := math.Ceil(greatest/step) * step
	var ticks []float64
	for i := 0.0; i*step <= limit; i++ {
		ticks = append(ticks, i*step)
	}
	return func(v float64) float64 { return top + inner*(1-v/limit) }, ticks
}

// logarithmic makes an axis of powers of ten that least and greatest are within.
func logarithmic(least, greatest float64) (func(float64) float64, []float64) {
	from, to := math.Floor(math.Log10(max(least, 1))), math.Ceil(math.Log10(max(greatest, 10)))
	var ticks []float64
	for e := from; e <= to; e++ {
		ticks = append(ticks, math.Pow(10, e))
	}
	return func(v float64) float64 { return top + inner*(1-(math.Log10(max(v, 1))-from)/max(to-from, 1)) }, ticks
}

func (s *SeriesResult) labels() []string {
	var out []string
	for _, p := range s.Points {
		out = append(out, p.Name())
	}
	return out
}

// Bars shows what the stops of ours consist of.
func (s *SeriesResult) Bars(direction string) template.HTML {
	greatest := 0.0
	for i := range s.Points {
		greatest = max(greatest, float64(s.Points[i].median(Ours, direction, Stop)))
	}
	y, ticks := linear(greatest * 1.05)
	p := newPlot(s.What+", "+direction, s.labels(), y, ticks)
	const width = 34
	for i := range s.Points {
		sum := 0.0
		for k, part := range Parts {
			v := float64(s.Points[i].median(Ours, direction, part))
			fmt.Fprintf(&p.b, `<rect class="p%d" x="%.1f" width="%d" y="%.2f" height="%.2f"><title>%s: %s µs</title></rect>`,
				k, p.x(i)-width/2, width, y(sum+v), max(y(sum)-y(sum+v), 0), part, micro(int64(v)))
			sum += v
		}
	}
	return p.end()
}

// Lines shows the stops of all ways.
func (s *SeriesResult) Lines(direction string) template.HTML {
	least, greatest := math.Inf(1), 0.0
	for i := range s.Points {
		for _, r := range s.Points[i].Rows {
			if r.Direction == direction {
				v := float64(r.Figures[Stop].Median)
				least, greatest = min(least, v), max(greatest, v)
			}
		}
	}
	y, ticks := logarithmic(least, greatest)
	p := newPlot(s.What+", "+direction+", all ways", s.labels(), y, ticks)
	for _, w := range []Way{Ours, Serial, Parallel} {
		var points []string
		for i := range s.Points {
			if r := s.Points[i].Row(w, direction); r != nil {
				v := r.Figures[Stop].Median
				points = append(points, fmt.Sprintf("%.1f,%.1f", p.x(i), y(float64(v))))
				fmt.Fprintf(&p.b, `<circle class="w%d" cx="%.1f" cy="%.1f" r="3.5"><title>%s: %s µs</title></circle>`,
					w, p.x(i), y(float64(v)), w, micro(v))
			}
		}
		fmt.Fprintf(&p.b, `<polyline class="w%d" points="%s"/>`, w, strings.Join(points, " "))
	}
	return p.end()
}

// Compares reports whether there is more than our way.
func (s *SeriesResult) Compares() bool {
	return len(s.Points) > 0 && s.Points[0].Row(Parallel, directions[0]) != nil
}
