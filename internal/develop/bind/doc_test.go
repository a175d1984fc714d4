// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRefusalsDocumented: every class has its section, in the same order, and no
// section is about nothing.
func TestRefusalsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/develop/refusals.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			got = append(got, strings.TrimSpace(name))
		}
	}
	for _, c := range Classes {
		want = append(want, string(c))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
