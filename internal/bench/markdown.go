// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"fmt"
	"io"
	"strings"
)

const head = `<!-- SPDX-License-Identifier: BSD-3-Clause -->
# Performance

<!-- Made by ` + "`plugsched bench`" + `; do not edit. -->

How long the machine stands still for an update, what that time consists of, and what it depends on. Measured with
` + "`%s`" + ` on %s.

| What | |
| --- | --- |
| kernel | %s, build-id %s |
| machine | %s |
| tool | %s |
| repetitions | %d installs and %d removals for each row, %d at most of other ways than ours, after one that is not counted |
| host | %d CPUs; load when it ended: %s; %s in all |

%s

`

// Markdown writes the result as a page of the documentation.
func (r *Result) Markdown(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, head, r.Command, r.Date, r.Release, r.BuildID, r.Where(), r.Tool, r.Repetitions, r.Repetitions, otherRepetitions,
		r.HostCPUs, r.HostLoad, r.Took, r.Clock())
	if claims := r.Claims(); len(claims) > 0 {
		b.WriteString("## In short\n\n")
		for _, c := range claims {
			fmt.Fprintf(&b, "- %s\n", c)
		}
		b.WriteString("\n")
	}
	r.parts(&b)
	for i := range r.Series {
		r.Series[i].markdown(&b)
	}
	r.compared(&b)
	_, err := io.WriteString(to, b.String())
	return err
}

// parts explains what the columns are, and holds them against the floor.
func (r *Result) parts(b *strings.Builder) {
	b.WriteString(`## The parts of a stop

| Part | From | To |
| --- | --- | --- |
| gather | one CPU's stopper calls the others | all have come |
| enter | that | all have begun |
| inspection | that | no stack that could have changed is in the way, and the places of the jumps are as they were |
| clear | that | all queues are empty |
| redirection | that | jumps and class tables are written |
| rebuild | that | what one CPU had queued is queued again, and guards have changed |
| leave | that | all CPUs have left |

`)
	fmt.Fprintf(b, "Of each update they add up to the stop: there is no rest. Of the medians below, the sum of the parts differs from\n"+
		"the stop by %.1f %% at most.\n\n", 100*r.Worst())
	if len(r.Series) == 0 || len(r.Series[0].Points) == 0 {
		return
	}
	row := &r.Series[0].Points[0].Rows[0]
	f := row.Figures
	if _, ok := f["empty"]; !ok {
		return
	}
	fmt.Fprintf(b, `What no update can be quicker than, measured behind each update in the same guest (medians of %s, %d %s, in µs):

| | Floor | The update's |
| --- | --- | --- |
| a stop in which nothing is done; gather, enter and leave | %s | %s |
| all CPUs waiting for each other, as often as in an update | %s | (in each part) |
| %d bytes of jumps and tables written once; redirection, which writes them in three steps | %s | %s |

`, r.Series[0].Name, r.Series[0].Points[0].Value, row.Direction,
		micro(f["empty"].Median), micro(f["gather"].Median+f["enter"].Median+f["leave"].Median), micro(f["meet"].Median),
		f[Bytes].Median, micro(f["write"].Median), micro(f["redirection"].Median))
}

func (s *SeriesResult) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "## By %s\n\n", s.What)
	if s.CPUs > 0 {
		fmt.Fprintf(b, "On %d CPUs. ", s.CPUs)
	}
	fmt.Fprintf(b, "%s %s\n\n", s.Growth(), s.Why())
	if s.Name == "threads" {
		b.WriteString("`serial`: one CPU inspects all stacks in the stop and looks each address up in a list from its beginning, as kpatch did.\n" +
			"`parallel`: all CPUs inspect all stacks in the stop, with a binary search, and each finds what it has queued among all\n" +
			"tasks, as the paper does. Both with our unwinder, and all else the same.\n\n")
	}
	fmt.Fprintf(b, "| %s | | | stop (least – greatest) | %s | inspected in the stop | before it |\n|%s\n",
		s.What, strings.Join(Parts, " | "), strings.Repeat(" --- |", 6+len(Parts)))
	for _, p := range s.Points {
		for _, row := range p.Rows {
			f := row.Figures
			fmt.Fprintf(b, "| %d | %s | %s | %s (%s – %s) |", p.Value, row.Way, row.Direction,
				micro(f[Stop].Median), micro(f[Stop].Min), micro(f[Stop].Max))
			for _, part := range Parts {
				fmt.Fprintf(b, " %s |", micro(f[part].Median))
			}
			fmt.Fprintf(b, " %d | %s |\n", f[Stopped].Median, micro(f[Scan].Median))
		}
	}
	b.WriteString("\nMedians in µs.\n\n")
}

func (r *Result) compared(b *strings.Builder) {
	c := r.Against
	if c == nil {
		return
	}
	fmt.Fprintf(b, "## The same again\n\nThe run was made twice (the other on %s, with a load of %s when it ended). How far the medians of\n"+
		"the two are apart, in percent of the stop, over %d rows:\n\n| Figure | Median | Greatest | Where |\n| --- | --- | --- | --- |\n",
		c.Date, c.HostLoad, c.Points)
	for _, d := range c.Figures {
		fmt.Fprintf(b, "| %s | %.2f | %.2f | %s |\n", d.Figure, 100*d.Median, 100*d.Max, d.Where)
	}
	b.WriteString("\n")
}
