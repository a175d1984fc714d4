// SPDX-License-Identifier: BSD-3-Clause

package patch

import "regexp"

// Version is a file's text before and behind a change.
type Version struct{ Was, Is string }

var (
	wordRE       = regexp.MustCompile(`[A-Za-z_]\w*`)
	definitionRE = regexp.MustCompile(`^\w[\w\s*]+\(.*[,)]\s*$`) // the first line of a function
)

// Connect parts hunks into those that only make sense together: that edit the same function; that take away and
// add the same definition; that edit lines with the same word, of which one side of the change has never heard.
// keys tells of a hunk what connects it with others besides, such as the functions that it is in. Words that the rest of
// the source has are nothing new: others tells.
func Connect(hunks []*Hunk, versions []Version, keys func(*Hunk) []string, others func(word string) bool) [][]*Hunk {
	was, is := map[string]bool{}, map[string]bool{}
	for _, v := range versions {
		words(v.Was, was)
		words(v.Is, is)
	}
	group := make([]int, len(hunks))
	by := map[string]int{} // the first hunk of each bond
	root := func(n int) int {
		for group[n] != n {
			n = group[n]
		}
		return n
	}
	for i, h := range hunks {
		group[i] = i
		bonds := keys(h)
		edited := map[string]bool{}
		for _, l := range h.Lines {
			if l.Op == ' ' {
				continue
			}
			words(l.Text, edited)
			if c := l.Text[:min(1, len(l.Text))]; wordRE.MatchString(c) && definitionRE.MatchString(l.Text) {
				bonds = append(bonds, l.Text)
			}
		}
		for w := range edited {
			if was[w] != is[w] && !others(w) {
				bonds = append(bonds, w)
			}
		}
		for _, b := range bonds {
			if n, ok := by[b]; ok {
				group[root(n)] = root(i)
			} else {
				by[b] = i
			}
		}
	}
	var out [][]*Hunk
	at := map[int]int{}
	for i, h := range hunks {
		r := root(i)
		n, ok := at[r]
		if !ok {
			n = len(out)
			at[r] = n
			out = append(out, nil)
		}
		out[n] = append(out[n], h)
	}
	return out
}

func words(text string, into map[string]bool) {
	for _, w := range wordRE.FindAllString(text, -1) {
		into[w] = true
	}
}
