// SPDX-License-Identifier: BSD-3-Clause

package drive

import (
	"fmt"
	"os"
	"strings"

	"plugsched/internal/durable"
)

// ReplaceSection puts text between the lines `<!-- NAME -->` and `<!-- end of NAME -->`
// of a page.
func ReplaceSection(path, name, text string) error {
	begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(page), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s: has no place for the figures (%q)", path, strings.TrimSpace(begin))
	}
	return durable.WriteFile(path, []byte(head+begin+text+end+tail), 0o644)
}
