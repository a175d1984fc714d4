// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// slowest is how many tests the table has.
const slowest = 25

// lastLines is how much of a failed test's words is repeated: a guest's end is long.
const lastLines = 60

// table prints the time of each target, and of the slowest tests of all, and repeats what
// failed tests said: where a log is cut, its end is what is left.
func table(w io.Writer, notes []*note) {
	times(w, notes)
	for _, n := range notes {
		for _, one := range n.Tests {
			if one.Said == "" {
				continue
			}
			fmt.Fprintf(w, "\n==> %s failed (%s)\n", one.Name, n.Target)
			lines := strings.SplitAfter(strings.TrimSuffix(one.Said, "\n"), "\n")
			if cut := len(lines) - lastLines; cut > 0 {
				fmt.Fprintf(w, "(%d lines before are left out)\n", cut)
				lines = lines[cut:]
			}
			fmt.Fprintln(w, strings.Join(lines, ""))
		}
	}
}

func times(w io.Writer, notes []*note) {
	if len(notes) == 0 {
		fmt.Fprintln(w, "times: nothing was noted")
		return
	}
	type row struct {
		target string
		test
	}
	var tests []row
	total, used := 0.0, 0.0
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\n==> where the time goes")
	fmt.Fprintln(t, "seconds\tCPU s\ttests\tguests\ttests' CPU s\t  target\t")
	for _, n := range notes {
		count, cpu := 0, 0.0
		for _, one := range n.Tests {
			if !strings.Contains(one.Name, "/") { // the time of others is in these
				count++
				cpu += one.CPU
				tests = append(tests, row{n.Target, one})
			}
		}
		failed := ""
		if n.Code != 0 {
			failed = fmt.Sprintf(" (exit code %d)", n.Code)
		}
		total, used = total+n.Seconds, used+n.CPU
		fmt.Fprintf(t, "%.1f\t%.0f\t%s\t%s\t%s\t  %s%s\t\n", n.Seconds, n.CPU, some(count), some(n.Guests), some(int(cpu)), n.Target, failed)
	}
	fmt.Fprintf(t, "%.1f\t%.0f\t\t\t\t  all, since %s\t\n", total, used, notes[0].Began.Format(time.DateTime))
	t.Flush()
	if len(tests) == 0 {
		return
	}
	slices.SortStableFunc(tests, func(a, b row) int { return cmp.Compare(b.Seconds, a.Seconds) })
	tests = tests[:min(slowest, len(tests))]
	fmt.Fprintf(w, "\nthe %d slowest tests, and the CPU seconds of their guests and tools; parallel ones overlap\n", len(tests))
	for _, r := range tests {
		result := ""
		if r.Result != "pass" {
			result = "  " + r.Result
		}
		fmt.Fprintf(w, "%9.1f  %9.1f  %s %s (%s)%s\n", r.Seconds, r.CPU, r.Name, path.Base(r.Package), r.target, result)
	}
}

func some(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
