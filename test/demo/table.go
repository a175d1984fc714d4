// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"io"
)

// table collects what was observed, in order.
type table struct{ rows [][3]string }

func (t *table) add(group, name, value string) {
	t.rows = append(t.rows, [3]string{group, name, value})
}

func (t *table) print(w io.Writer) {
	last := ""
	for _, r := range t.rows {
		if r[0] != last {
			fmt.Fprintf(w, "\n%s\n", r[0])
			last = r[0]
		}
		fmt.Fprintf(w, "  %-28s %s\n", r[1], r[2])
	}
}
