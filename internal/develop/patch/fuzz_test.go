// SPDX-License-Identifier: BSD-3-Clause

package patch

import (
	"strings"
	"testing"

	"plugsched/internal/fuzzing"
)

// FuzzParse: whatever is no patch is said, what is one has as many lines as it says, and goes into no text that is not as it
// expects.
func FuzzParse(f *testing.F) {
	f.Add("--- a/x\n+++ b/x\n" + hunk)
	f.Add("diff --git a/x b/y\nrename from x\nrename to y\n@@ -1 +0,0 @@\n-a\n\\ No newline at end of file\n")
	f.Add("diff --git a/x b/x\nGIT binary patch\n--- a/x\n+++ /dev/null\n@@ -1,0 +2 @@\n+\n")
	f.Fuzz(func(t *testing.T, text string) {
		fuzzing.Bounded(t, func() {
			files, err := Parse("p", text, 1)
			if err != nil {
				return
			}
			for _, file := range files {
				for _, h := range file.Hunks {
					before := NewText(text)
					if p, err := before.Put(h); err != nil || p.Already {
						if before.String() != text {
							t.Errorf("the text changed")
						}
						continue
					}
					want := strings.Join(h.side('+'), "")
					if !strings.Contains(text, want) {
						t.Errorf("%q went into a text that does not have %q", h.Lines, want)
					}
				}
			}
		})
	})
}
