// SPDX-License-Identifier: BSD-3-Clause

package bench

// Fit is the line of least squares through a figure's medians: Base + Each * value.
type Fit struct {
	Way       Way     `json:"way"`
	Direction string  `json:"direction"`
	Figure    string  `json:"figure"`
	Base      float64 `json:"base"`
	Each      float64 `json:"each"`
	R2        float64 `json:"r2"` // of the differences, what the line explains
	// Growth is the figure at the greatest value over that at the least, and Part the
	// difference as a share of the stop at the least.
	Growth float64 `json:"growth"`
	Part   float64 `json:"part"`
}

// grows is how much of the first stop a part has to gain over a series to count as one that grows.
const grows = 0.2

// Grows reports whether the figure depends on what was varied, to a degree that matters.
func (f Fit) Grows() bool { return f.Part > grows }

func (s *SeriesResult) fit() {
	s.Fits = nil
	if len(s.Points) < 2 {
		return
	}
	first, last := &s.Points[0], &s.Points[len(s.Points)-1]
	for _, row := range first.Rows {
		for _, figure := range append([]string{Stop}, Parts...) {
			var x, y []float64
			for i := range s.Points {
				x = append(x, float64(s.Points[i].Value))
				y = append(y, float64(s.Points[i].median(row.Way, row.Direction, figure)))
			}
			f := line(x, y)
			f.Way, f.Direction, f.Figure = row.Way, row.Direction, figure
			from, to := first.median(row.Way, row.Direction, figure), last.median(row.Way, row.Direction, figure)
			f.Growth = float64(to) / float64(max(from, 1))
			f.Part = float64(to-from) / float64(max(first.median(row.Way, row.Direction, Stop), 1))
			s.Fits = append(s.Fits, f)
		}
	}
}

// line of values of x that are all the same is level.
func line(x, y []float64) Fit {
	n := float64(len(x))
	var mx, my float64
	for i := range x {
		mx += x[i] / n
		my += y[i] / n
	}
	var sxx, sxy, syy float64
	for i := range x {
		sxx += (x[i] - mx) * (x[i] - mx)
		sxy += (x[i] - mx) * (y[i] - my)
		syy += (y[i] - my) * (y[i] - my)
	}
	f := Fit{}
	if sxx > 0 {
		f.Each = sxy / sxx
	}
	f.Base = my - f.Each*mx
	if f.R2 = 1; syy > 0 && sxx > 0 {
		f.R2 = sxy * sxy / (sxx * syy)
	}
	return f
}
