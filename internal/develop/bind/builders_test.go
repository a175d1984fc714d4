// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"strings"
	"testing"
)

// TestBuilders: an edit of what builds lasting state does not pass in silence.
func TestBuilders(t *testing.T) {
	const text = scheduler + `
#define BUSY 16
#define SHARED 5
static inline __attribute__((always_inline)) long level(int x) { return x * BUSY; }
static inline __attribute__((always_inline)) long weight(int x) { return x * SHARED + 3; }
static NOINLINE long build(int x) { keep(0); return level(x) + weight(x); }
static NOINLINE long make(int x) { keep(0); return weight(x) + 1; }
static NOINLINE long boot(int x) { keep(0); return x + 11; }
static NOINLINE long often(int x) { keep(0); return weight(x) + 2; }
NOINLINE void callers(void) { keep((void *)build(1)); keep((void *)make(1)); keep((void *)boot(1)); keep((void *)often(1)); }
`
	for name, tt := range map[string]struct {
		from, to string
		refused  string // "NAME: part of why"
		warned   string
	}{
		"nothing":              {},
		"itself":               {"build(int x) { keep(0);", "build(int x) { keep(0); keep(0);", "build: builds the domains", ""},
		"a part of it":         {"x * BUSY", "x * BUSY + x / 3", "level: is a part of build, which builds the domains", ""},
		"a constant":           {"BUSY 16", "BUSY 48", "BUSY: is a part of build", ""},
		"what others have too": {"SHARED + 3", "SHARED + 4", "", "weight: builds the domains"},
		"a maker":              {"weight(x) + 1", "weight(x) + 7", "", "make: sets up groups"},
		"what boot called":     {"x + 11", "x + 12", "boot: is only called by code that ran at boot", ""},
		"somebody else":        {"weight(x) + 2", "weight(x) + 9", "", ""},
		"said, a part of it": {"x * BUSY", "x * BUSY + x / 3", "",
			"level: builds the domains: until then they are as the code before built them, after a removal too; plugsched.yaml says: by hand"},
		"said, at boot": {"x + 11", "x + 12", "", "boot: is only called by code that ran at boot"},
	} {
		t.Run(name, func(t *testing.T) {
			edited := strings.Replace(text, tt.from, tt.to, 1)
			p, src := plan(t, text, edited)
			p.kernel.SetInlining(unitName, types(t, text), types(t, edited))
			for _, f := range p.kernel.Boundary.Functions {
				switch f.Name {
				case "build":
					f.Builds = "the domains"
				case "make":
					f.Makes = "groups"
				case "boot":
					f.Boot = true
				}
			}
			if strings.HasPrefix(name, "said") {
				p.kernel.Rebuilt = map[string]string{"level": "by hand", "boot": "never mind"}
			}
			out := p.Compare(src)
			refused := ""
			for _, r := range out.Refusals {
				refused += r.Name + ": " + r.Why + "\n"
				if r.Class != Builder || r.File == "" || r.Line == 0 || r.Do == "" {
					t.Errorf("%+v", r)
				}
			}
			warned := strings.Join(out.Warnings, "\n")
			if (refused == "") != (tt.refused == "") || !strings.HasPrefix(refused, tt.refused) {
				t.Errorf("refused %q, want %q", refused, tt.refused)
			}
			if (warned == "") != (tt.warned == "") || !strings.HasPrefix(warned, tt.warned) {
				t.Errorf("warned %q, want %q", warned, tt.warned)
			}
		})
	}
}
