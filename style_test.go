// SPDX-License-Identifier: BSD-3-Clause

package plugsched

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	lineLength = 140 // characters, a tab is one

	// longLines is how many lines of Go are longer all the same, from before this was looked
	// at. It only ever falls: make it smaller when you have shortened some.
	longLines = 150
)

// TestLineLength: no more lines of Go are too long than there were.
func TestLineLength(t *testing.T) {
	var long []string
	for _, path := range tracked(t) {
		if filepath.Ext(path) != ".go" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			continue // removed, not yet committed
		}
		for i, line := range strings.Split(string(text), "\n") {
			if utf8.RuneCountInString(line) > lineLength {
				long = append(long, fmt.Sprintf("%s:%d", path, i+1))
			}
		}
	}
	if len(long) > longLines {
		t.Errorf("%d lines have more than %d characters, %d were allowed; of them:\n%s", len(long), lineLength, longLines,
			strings.Join(long[max(0, len(long)-longLines/4):], "\n"))
	} else {
		t.Logf("%d lines are too long, %d were allowed", len(long), longLines)
	}
}
