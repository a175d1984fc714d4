// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCrowded: a file with more entries than make sense is refused with its line, and not
// worked on for minutes.
func TestCrowded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plugsched.yaml")
	entries := func(n int) string {
		var b strings.Builder
		b.WriteString("stay:\n  first: reason\npreempts:\n")
		for i := range n {
			fmt.Fprintf(&b, "  f%d: r\n", i)
		}
		return b.String()
	}
	for name, c := range map[string]struct{ text, want string }{
		"as many as may be": {entries(maxEntries), ""},
		"one more":          {entries(maxEntries + 1), "plugsched.yaml:4: 5001 entries, and more than 5000 make no sense"},
		"very many":         {entries(200000), "200000 entries"},
		"a long list":       {"sources: [" + strings.Repeat("a, ", 300000) + "b]\n", "entries"},
		"too large":         {strings.Repeat("# comment\n", maxConfig/10+1), "is larger than 4194304 bytes"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadConfig(path)
		var e *ConfigError
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (!errors.As(err, &e) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}
