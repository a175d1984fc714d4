// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
	"plugsched/scx"
)

// TestSCXReload: schedulers in BPF come and go, 1,024 times with FULL=1, and the kernel has as many maps, programs, links and
// types afterwards as before, and no more memory but for some noise.
func TestSCXReload(t *testing.T) {
	t.Parallel()
	m := borrow(t, with("/bin/living", shared.root+"/bin/living"))
	if _, code := sh(t, m, "test -e "+scxState); code != 0 {
		t.Skip("the kernel has no sched_ext")
	}
	times := 64
	if full {
		times = 1024
	}
	argv := append([]string{"living", "scx-reload", fmt.Sprint(times)}, scx.Own()...)
	r, err := m.Run(t.Context(), vm.Cmd{Argv: argv, Timeout: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	out := string(r.Stdout) + string(r.Stderr)
	if r.ExitCode != 0 {
		t.Fatal(out)
	}
	t.Log(strings.TrimSpace(out))
	memory := map[string]int{}
	for line := range strings.Lines(out) {
		if when, rest, ok := strings.Cut(line, " maps "); ok {
			var n int
			if _, err := fmt.Sscan(rest[strings.LastIndex(rest, " "):], &n); err != nil {
				t.Fatal(line)
			}
			memory[when] = n
		}
	}
	// Of a link, or a scheduler's structure, 1 KiB would be seen in 1,024 rounds; their dumps alone are 32.
	if more := memory["after"] - memory["before"]; memory["before"] == 0 || more > max(1024, 4*times) {
		t.Errorf("the kernel has %d KiB more after %d rounds: %v", more, times, memory)
	}
	bpfRuns(t, m, "at the end", "", "")
	ok(t, m, "rm -rf "+scx.Pins)
}
