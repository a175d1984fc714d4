// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/scx"
)

// TestSCXVerified: how many instructions the verifier looks at for each program is what the page about them says, on the kernel
// that the page names.
func TestSCXVerified(t *testing.T) {
	t.Parallel()
	m := borrow(t, nil)
	if _, code := sh(t, m, "test -e "+scxState); code != 0 {
		t.Skip("the kernel has no sched_ext")
	}
	text, err := os.ReadFile(filepath.Join(shared.root, "docs/operate/scx.md"))
	if err != nil {
		t.Fatal(err)
	}
	told := strings.Contains(string(text), "`"+shared.release+"`")
	for _, name := range scx.Own() {
		ok(t, m, "plugsched scx load "+name)
		s := bpfRuns(t, m, name, name, scx.Ours)
		ok(t, m, "plugsched scx stop")
		sum := uint32(0)
		var list []string
		for _, p := range s.Programs {
			// Ours are named after their operations, of the structure that they are in: the kernel has another one of that size.
			if !strings.HasPrefix(name+"_"+p.Operation, p.Name) {
				t.Errorf("%s: the program of %s is %s", name, p.Operation, p.Name)
			}
			if p.Verified == 0 || p.Operation == "" {
				t.Errorf("%s: %+v", name, p)
			}
			sum += p.Verified
			list = append(list, fmt.Sprintf("`%s` %d", p.Operation, p.Verified))
		}
		row := fmt.Sprintf("| `%s` | %d | %s |", name, sum, strings.Join(list, ", "))
		t.Log(row)
		if told && !strings.Contains(string(text), row) {
			t.Errorf("the page about schedulers in BPF does not say so")
		}
	}
	ok(t, m, "rm -rf "+scx.Pins)
}
