// SPDX-License-Identifier: BSD-3-Clause

package edits

import (
	"strings"
	"testing"

	"plugsched/internal/fuzzing"
)

// FuzzScan: every text splits into items whose lines are in it, and does not
// differ from itself.
func FuzzScan(f *testing.F) {
	f.Add(source)
	f.Add("#define\n#if\n#else\n#endif\n#endif\nenum {")
	f.Add("'\\\n/*/")
	f.Fuzz(func(t *testing.T, text string) {
		fuzzing.Bounded(t, func() {
			for _, i := range Scan("a.c", text) {
				if n := strings.Count(text, "\n") + 1; i.Line < 1 || i.Line > n {
					t.Errorf("line %d of %d", i.Line, n)
				}
			}
			s := &Set{}
			s.Compare("a.c", text, text)
			if len(s.Changes) > 0 {
				t.Errorf("differs from itself: %+v", s.Changes[0])
			}
			s.Compare("a.c", source, text)
			for _, c := range s.Changes {
				c.Appended()
				c.Plain()
			}
		})
	})
}
