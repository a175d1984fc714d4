// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// micro is a time as tables show it, in µs.
func micro(ns int64) string { return fmt.Sprintf("%.1f", float64(ns)/1e3) }

// known is the median of a figure that not every run has.
func known(f map[string]Stats, figure string) string {
	if s, ok := f[figure]; ok {
		return micro(s.Median)
	}
	return "-"
}

// Brief is a point in a line.
func (p *Point) Brief() string {
	var out []string
	for _, r := range p.Rows {
		out = append(out, fmt.Sprintf("%s %s %s µs", r.Way, r.Direction, micro(r.Figures[Stop].Median)))
	}
	return strings.Join(out, ", ")
}

// Table prints the medians in µs, and how much least and greatest stop differ.
func (r *Result) Table(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s, %s, medians of %d in µs", r.Release, r.Where(), r.Repetitions)
	if r.NsPerInstruction > 0 {
		fmt.Fprintf(w, "; an instruction is %d ns", r.NsPerInstruction)
	}
	fmt.Fprintln(w)
	for _, s := range r.Series {
		fmt.Fprintf(w, "\n%s\t\t\tstop\tspread\t%s\tempty\tinspected\tscan\t\n", s.Name, strings.Join(Parts, "\t"))
		for _, p := range s.Points {
			for _, row := range p.Rows {
				f := row.Figures
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t", p.Name(), row.Way, row.Direction, micro(f[Stop].Median), micro(f[Stop].Max-f[Stop].Min))
				for _, part := range Parts {
					fmt.Fprintf(w, "%s\t", micro(f[part].Median))
				}
				fmt.Fprintf(w, "%s\t%d\t%s\t\n", known(f, "empty"), f[Stopped].Median, micro(f[Scan].Median))
			}
		}
	}
	if len(r.Overhead) > 0 {
		fmt.Fprint(w, "\ninstructions\tkernel's\tmodule's\tmore, %\tleast\tgreatest\t\n")
	}
	for _, o := range r.Overhead {
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%s\t%+.2f\t%+.2f\t\n", o.Operation, o.Stock, o.Module, o.Percent(), 100*(o.Least-1), 100*(o.Greatest-1))
	}
	for _, a := range r.Analyses {
		fmt.Fprintf(w, "\n%s\t.text %.1f MB\tDWARF %.0f MB\t%.1f s\t%.0f MB\t", a.Release, mega(a.Text), mega(a.DWARF), a.Seconds, mega(a.Memory))
	}
	if len(r.Analyses) > 0 {
		fmt.Fprintln(w)
	}
	if c := r.Against; c != nil {
		fmt.Fprintf(w, "\nagainst the run of %s, in %% of the stop, over %d rows\n", c.Date, c.Points)
		for _, d := range c.Figures {
			fmt.Fprintf(w, "%s\tmedian %.2f\tmax %.2f\t%s\t\n", d.Figure, 100*d.Median, 100*d.Max, d.Where)
		}
	}
	return w.Flush()
}
