// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"strings"
	"testing"
)

// TestSidecarRefusal: what to do about a change of a function that stays depends on
// whose file it is in.
func TestSidecarRefusal(t *testing.T) {
	const from = "NOINLINE void external(void) {"
	edited := strings.Replace(scheduler, from, from+" keep(0);", 1)
	if edited == scheduler {
		t.Fatal("nothing edited")
	}
	for name, tt := range map[string]struct {
		sidecars []string
		movable  string
		want     string
	}{
		"the scheduler's":   {nil, "", doStay},
		"another file's":    {[]string{"kernel/fork.c"}, "", doStay},
		"of a sidecar":      {[]string{unitName}, "", doSidecar(unitName + ":external")},
		"of one of several": {[]string{"kernel/fork.c", unitName}, "", doSidecar(unitName + ":external")},
		"the scheduler's, which can move": {nil, "kernel/sched/x.c:call",
			"name it as a sidecar: `plugsched build --sidecar kernel/sched/x.c:call .` (docs/develop/sidecar.md)"},
	} {
		p, src := plan(t, scheduler, edited)
		p.kernel.Boundary.Sidecars = tt.sidecars
		p.kernel.functions[key{"external", unitName}].Movable = tt.movable
		c := p.Compare(src)
		if len(c.Refusals) != 1 || c.Refusals[0].Name != "external" || c.Refusals[0].Do != tt.want {
			t.Errorf("%s: %+v, want %q", name, c.Refusals, tt.want)
		}
	}
}
