// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/develop/edits"
)

// Blame lets the Makefile answer for what other options of the compiler made of functions that stay and
// that nobody edited: one refusal for all of them, at the line that brought the options.
func (c *Changes) Blame(s *Sources) error {
	if len(s.Flags) == 0 {
		return nil
	}
	var functions []string
	flags := map[string]bool{}
	c.Refusals = slices.DeleteFunc(c.Refusals, func(r Refusal) bool {
		if len(s.Flags[r.Unexplained]) == 0 {
			return false
		}
		if r.Class == Init {
			return true // it ran with the old ones, like everything else until now
		}
		functions = append(functions, r.Name)
		for _, f := range s.Flags[r.Unexplained] {
			flags[f] = true
		}
		return true
	})
	if len(functions) == 0 {
		return nil
	}
	slices.Sort(functions)
	functions = slices.Compact(functions)
	file := filepath.Join(s.SchedDir, "Makefile")
	text, err := os.ReadFile(filepath.Join(s.Tree, file))
	if err != nil {
		return err
	}
	list := sortedNames(flags)
	c.Refusals = append(c.Refusals, Refusal{Class: Flags, Name: strings.Join(list, " "), File: file,
		Line: flagLine(s.Makefile, string(text), list),
		Why: fmt.Sprintf("changes the compiler's options, and with them the code of %s (%s), which would go on with the old one",
			counted(len(functions), "function")+" that stay in the kernel", some(functions)),
		Do: "undo the change, or give the options to a new file in which only functions that move are"})
	return nil
}

// flagLine is the first line of a Makefile that differs from how it was and has to do with one of the
// options, or else the first that differs. Of what is gone that is the line in its place. Comments and
// white space do not differ.
func flagLine(was, is string, flags []string) int {
	old, _ := makefileLines(was)
	now, numbers := makefileLines(is)
	added, gone := edits.ChangedLines(old, now)
	for _, n := range added {
		if slices.ContainsFunc(flags, func(f string) bool { return strings.Contains(now[n], f[1:]) }) {
			return numbers[n]
		}
	}
	switch edited := append(added, gone...); {
	case len(edited) == 0:
		return 0
	case len(now) == 0:
		return 1
	default:
		return numbers[min(slices.Min(edited), len(now)-1)]
	}
}

// makefileLines are those that have words, and their numbers from 1.
func makefileLines(text string) (lines []string, numbers []int) {
	n := 0
	for l := range strings.Lines(text) {
		n++
		l, _, _ = strings.Cut(l, "#")
		if l = strings.Join(strings.Fields(l), " "); l != "" {
			lines, numbers = append(lines, l), append(numbers, n)
		}
	}
	return lines, numbers
}
