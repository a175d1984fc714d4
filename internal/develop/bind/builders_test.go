// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"strings"
	"testing"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/arch"
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
			p.kernel.builders(out)
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

// TestBuildersOfUnits: what only a builder has in its unit, but others have in another, takes effect there.
func TestBuildersOfUnits(t *testing.T) {
	const (
		header = "static inline __attribute__((always_inline)) long prefer(long x) { return x * 5 + 3; }\n"
		first  = "void keep(void *);\n__attribute__((noinline, used)) void build(long x) { keep((void *)prefer(x)); }\n"
		second = "void keep(void *);\n__attribute__((noinline, used)) void often(long x) { keep((void *)(prefer(x) + 1)); }\n"
		other  = "kernel/sched/other.c"
	)
	edited := strings.Replace(header, "5 + 3", "5 + 4", 1)
	for name, tt := range map[string]struct {
		often             string // the second unit
		refused, warnings int
	}{
		"used there": {second, 0, 1},
		"not there":  {strings.Replace(second, "prefer(x)", "x", 1), 1, 0},
	} {
		units := func(header string) map[string]*asm.Unit {
			return map[string]*asm.Unit{unitName: compile(t, header+first), other: compile(t, header+tt.often)}
		}
		k := NewKernel(arch.X86, &boundary.Boundary{Sources: []string{"kernel/sched"}, Functions: []*boundary.Function{
			{Name: "build", Base: "build", Unit: unitName, Class: boundary.Internal, Builds: "the domains"},
			{Name: "often", Base: "often", Unit: other, Class: boundary.Internal}}}, table(t))
		src := &edits.Set{}
		src.Compare("kernel/sched/sched.h", header, edited)
		src.Add(unitName, first)
		src.Add(other, tt.often)
		k.SetInlining(unitName, types(t, header+first), types(t, edited+first))
		k.SetInlining(other, types(t, header+tt.often), types(t, edited+tt.often))
		b, err := k.Bind(t.Context(), units(header), units(edited), src)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Refusals) != tt.refused || len(b.Warnings) != tt.warnings {
			t.Errorf("%s: refused %v, warned %q", name, b.Refusals, b.Warnings)
		}
	}
}
