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
		want     string
	}{
		"the scheduler's":   {nil, doStay},
		"another file's":    {[]string{"kernel/fork.c"}, doStay},
		"of a sidecar":      {[]string{unitName}, doSidecar},
		"of one of several": {[]string{"kernel/fork.c", unitName}, doSidecar},
	} {
		p, src := plan(t, scheduler, edited)
		p.kernel.Boundary.Sidecars = tt.sidecars
		c := p.Compare(src)
		if len(c.Refusals) != 1 || c.Refusals[0].Name != "external" || c.Refusals[0].Do != tt.want {
			t.Errorf("%s: %+v, want %q", name, c.Refusals, tt.want)
		}
	}
}
