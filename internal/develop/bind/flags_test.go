// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"slices"
	"strings"
	"testing"

	"plugsched/internal/develop/edits"
)

const makefileText = "# flags\nccflags-y += -Wall\nobj-y += core.o # first\nobj-y += fair.o\n"

func TestFlagLine(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		flags    []string
		want     int
	}{
		{"# flags", "# other\n# words", nil, 0},
		{"obj-y += core.o # first", "obj-y  +=\tcore.o", nil, 0},
		{"ccflags-y += -Wall\n", "ccflags-y += -Wall\nsubdir-y := x\nCFLAGS_fair.o := -O1\n", []string{"+-O1"}, 4},
		{"ccflags-y += -Wall\n", "ccflags-y += -Wall\nCFLAGS_fair.o := $(SLOW)\n", []string{"+-O1"}, 3},
		{"ccflags-y += -Wall\n", "", []string{"--Wall"}, 2},
		{"obj-y += fair.o\n", "", nil, 3},
		{"obj-y += fair.o\n", "\n# none\n", nil, 3},
		{makefileText, "", nil, 1},
	} {
		if got := flagLine(makefileText, strings.Replace(makefileText, tt.from, tt.to, 1), tt.flags); got != tt.want {
			t.Errorf("%q for %q: line %d, want %d", tt.to, tt.from, got, tt.want)
		}
	}
}

// TestBlame: functions whose source is as it was are told by the options that changed their code, those of
// other units and other causes are not.
func TestBlame(t *testing.T) {
	s := &Sources{Tree: t.TempDir(), SchedDir: "kernel/sched", Makefile: makefileText,
		Flags: map[string][]string{"kernel/sched/fair.c": {"+-O1", "--O2"}}}
	put(t, makefileText+"CFLAGS_fair.o := -O1\n", s.Tree, "kernel/sched/Makefile")
	c := &Changes{Refusals: []Refusal{
		{Class: Stays, Name: "d", Unexplained: "kernel/sched/fair.c"}, {Class: Stays, Name: "own"},
		{Class: Stays, Name: "a", Unexplained: "kernel/sched/fair.c"}, {Class: Stays, Name: "other", Unexplained: "kernel/sched/core.c"},
		{Class: Init, Name: "setup", Unexplained: "kernel/sched/fair.c"}, {Class: Stays, Name: "b", Unexplained: "kernel/sched/fair.c"},
		{Class: Stays, Name: "b", Unexplained: "kernel/sched/fair.c"}, {Class: Stays, Name: "c", Unexplained: "kernel/sched/fair.c"}}}
	if err := c.Blame(s); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range c.Refusals {
		got = append(got, r.String())
	}
	want := []string{"own ", "other ", "kernel/sched/Makefile:5: +-O1 --O2 changes the compiler's options, " +
		"and with them the code of 4 functions that stay " +
		"in the kernel (a, b, c and 1 more)"}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("%q", got)
	}
}

// TestSettleMakefile: an edit of the Makefile that makes no difference is no success either.
func TestSettleMakefile(t *testing.T) {
	for to, want := range map[string]int{"CFLAGS_fair.o := $(NONE)\n": 5, "# a remark\n": 0} {
		s := &Sources{Tree: t.TempDir(), SchedDir: "kernel/sched", Makefile: makefileText}
		put(t, makefileText+to, s.Tree, "kernel/sched/Makefile")
		c := &Changes{}
		if err := c.Settle(&edits.Set{}, s); err != nil {
			t.Fatal(err)
		}
		if (len(c.Refusals) == 0) != (want == 0) || want > 0 && (c.Refusals[0].Line != want || c.Refusals[0].Class != NoEffect) {
			t.Errorf("%q: %v", to, c.Refusals)
		}
	}
}
