// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"fmt"
	"io"
	"strconv"
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
| repetitions | %d installs and %d removals at least for each row, after one that is not counted; %d at most of other ways, one with %d sleepers |
| host | %d CPUs; load when it ended: %s; %s in all |

%s

`

// Markdown writes the result as a page of the documentation.
func (r *Result) Markdown(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, head, r.Command, r.Date, r.Release, r.BuildID, r.Where(), r.Tool, r.Repetitions, r.Repetitions, otherRepetitions, many,
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
	r.overhead(&b)
	r.analyses(&b)
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
| rebuild | that | what was queued is queued again, and guards have changed |
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
| comparing the places of %d jumps with what was there; inspection, which looks at %d stacks besides | %s | %s |
| %d bytes of jumps and tables written once; redirection, which writes them in three steps | %s | %s |

`, r.Series[0].Name, r.Series[0].Points[0].Value, row.Direction,
		micro(f["empty"].Median), micro(f["gather"].Median+f["enter"].Median+f["leave"].Median), micro(f["meet"].Median),
		f[Jumps].Median, f[Stopped].Median, micro(f["compare"].Median), micro(f["inspection"].Median),
		f[Bytes].Median, micro(f["write"].Median), micro(f["redirection"].Median))
}

func (s *SeriesResult) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "## By %s\n\n", s.What)
	if s.CPUs > 0 {
		fmt.Fprintf(b, "On %d CPUs. ", s.CPUs)
	}
	fmt.Fprintf(b, "%s %s\n\n", s.Growth(), s.Why())
	if s.Name == "threads" {
		b.WriteString("`serial`: one CPU inspects all stacks in the stop and looks each address up in a list from its beginning, as " +
			"kpatch did.\n" +
			"`parallel`: all CPUs inspect all stacks in the stop, with a binary search, and each finds what it has queued among all\n" +
			"tasks, as the paper does. Both with our unwinder, and all else the same.\n\n")
	}
	fmt.Fprintf(b, "| %s | | | stop (least – greatest) | %s | inspected in the stop | before it |\n|%s\n",
		s.What, strings.Join(Parts, " | "), strings.Repeat(" --- |", 6+len(Parts)))
	for _, p := range s.Points {
		for _, row := range p.Rows {
			f := row.Figures
			name := strconv.Itoa(p.Value)
			if p.Label != "" {
				name += ", " + p.Label
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s (%s – %s) |", name, row.Way, row.Direction,
				micro(f[Stop].Median), micro(f[Stop].Min), micro(f[Stop].Max))
			for _, part := range Parts {
				fmt.Fprintf(b, " %s |", micro(f[part].Median))
			}
			fmt.Fprintf(b, " %d | %s |\n", f[Stopped].Median, micro(f[Scan].Median))
		}
	}
	b.WriteString("\nMedians in µs.\n\n")
}

// overheadText says what was measured, and what the differences are.
const overheadText = `What operations take while the module is loaded, in instructions: the unmodified scheduler as a module beside the kernel's
own one, in turns in one guest with one CPU. More is the median of the differences of the two, turn by turn.
What remains is one jump for each call of the scheduler from outside of it, and the frame of the kernel's ` + "`__schedule`" + ` that is
built for every switch ([update.md](../project/update.md#__schedule)). Calls within the scheduler do not leave the module.
What one in a hundred takes longer than depends on which other timers are due at that moment: it has no meaning to a few percent.`

func (r *Result) overhead(b *strings.Builder) {
	if len(r.Overhead) == 0 {
		return
	}
	fmt.Fprintf(b, "## While it is loaded\n\n%s\n\n"+
		"| Operation | | The kernel's | The module's | More, %% (least – greatest) |\n| --- | --- | ---: | ---: | ---: |\n", overheadText)
	for _, o := range r.Overhead {
		fmt.Fprintf(b, "| %s | %s | %.0f | %.0f | %s (%+.2f – %+.2f) |\n", o.Operation, o.What, o.Stock, o.Module, o.Percent(),
			100*(o.Least-1), 100*(o.Greatest-1))
	}
	b.WriteString("\n")
}

// analyses are in a table of their own.
func (r *Result) analyses(b *strings.Builder) {
	if len(r.Analyses) == 0 {
		return
	}
	b.WriteString("## The analysis as kernels grow\n\nWhat `plugsched init --analyze-only` of a fetched kernel takes: " +
		"time of all processors together, and memory. The size of `.text` is\nall of the kernel's code, that of DWARF all of its debug sections.\n\n" +
		"| Kernel | .text, MB | DWARF, MB | Processor time, s | per 100 MB of DWARF | Peak memory, MB | per MB of .text |\n" +
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, a := range r.Analyses {
		fmt.Fprintf(b, "| %s | %.1f | %.0f | %.1f | %.2f | %.0f | %.0f |\n", a.Release, mega(a.Text), mega(a.DWARF),
			a.Seconds, a.Seconds/mega(a.DWARF)*100, mega(a.Memory), mega(a.Memory)/mega(a.Text))
	}
	b.WriteString("\n")
}

func mega(n int64) float64 { return float64(n) / 1e6 }

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
