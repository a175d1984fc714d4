// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
// options, or else the first that differs. Of what is gone that is the line in its place.
func flagLine(was, is string, flags []string) int {
	other := 0
	for n, l := range makefileEdits(was, is) {
		if other == 0 {
			other = n + 1
		}
		if slices.ContainsFunc(flags, func(f string) bool { return l != "" && strings.Contains(l, f[1:]) }) {
			return n + 1
		}
	}
	return other
}

// makefileEdits yields the lines of a Makefile, from 0, that are not in how it was, and where the
// first one is missing, without comments.
func makefileEdits(was, is string) func(yield func(int, string) bool) {
	count := func(text string) map[string]int {
		m := map[string]int{}
		for l := range strings.Lines(text) {
			m[makefileLine(l)]++
		}
		return m
	}
	return func(yield func(int, string) bool) {
		old, now := count(was), count(is)
		n := 0
		for l := range strings.Lines(is) {
			if l = makefileLine(l); l != "" && old[l] < now[l] && !yield(n, l) {
				return
			}
			n++
		}
		lines := strings.Split(is, "\n")
		n = 0
		for l := range strings.Lines(was) {
			if l = makefileLine(l); l != "" && now[l] < old[l] {
				yield(min(n, max(len(lines)-2, 0)), "")
				return
			}
			n++
		}
	}
}

func makefileLine(l string) string {
	l, _, _ = strings.Cut(l, "#")
	return strings.Join(strings.Fields(l), " ")
}
