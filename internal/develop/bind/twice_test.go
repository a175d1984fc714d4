// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/arch"
)

// TestTwice: what the linker would find twice is refused where it was written last.
func TestTwice(t *testing.T) {
	define := func(unit string, lines ...string) *asm.Unit {
		text := ""
		for _, name := range lines {
			scope, name, _ := strings.Cut(name, " ")
			text += strings.NewReplacer("SCOPE", scope, "NAME", name).Replace(
				"\t.text\n\t.SCOPE NAME\n\t.type NAME, @function\nNAME:\n\tret\n\t.size NAME, .-NAME\n")
		}
		u, err := asm.Parse(&arch.X86.Assembly, unit, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	const a, b = "kernel/sched/core.c", "kernel/sched/fair.c"
	k := kernelOf(t, &asm.Unit{Name: unitName}, nil, nil)
	k.SetUnits(nil, map[string]*asm.Unit{
		a: define(a, "globl mine", "local own", "globl plugsched_init", "globl once", "weak usual"),
		b: define(b, "globl mine", "local own", "globl plugsched_alarm", "globl init_module", "globl usual"),
	})
	src := &edits.Set{}
	src.Compare(a, "", "void mine(void) { }\n")
	src.Compare(b, "", "\n\nvoid mine(void) { }\n")
	var got []string
	for _, r := range k.CompareDefinitions(src) {
		got = append(got, r.String())
	}
	want := []string{b + ": init_module is a name that the runtime has", b + ":3: mine is defined by " + a + " and by " + b + ";",
		b + ": plugsched_alarm is a name that the runtime has"}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("%q", got)
	}
}

// TestAPI: what of the runtime may be defined and called is what its header says.
func TestAPI(t *testing.T) {
	text, err := os.ReadFile("../../../runtime/api.h")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^\w[\w ]*[ *](plugsched_\w+)\(`).FindAllSubmatch(text, -1) {
		got = append(got, string(m[1]))
	}
	want := slices.Concat(hooks, offered)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("api.h has %q, the list %q", got, want)
	}
}
