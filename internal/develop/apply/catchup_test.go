// SPDX-License-Identifier: BSD-3-Clause

package apply

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/outcome"
)

// TestDifference: what two sources differ by, in the scheduler and in the headers that it includes; those that no change of the
// scheduler needs are told apart.
func TestDifference(t *testing.T) {
	p, from := applicable(t)
	to := t.TempDir()
	version := func(dir, v string) {
		write(t, "VERSION = 6\nPATCHLEVEL = "+v+"\nSUBLEVEL = 7\n", dir, "Makefile")
	}
	version(from, "1")
	version(to, "1")
	for _, dir := range []string{from, p.Dir} {
		write(t, coreText, dir, "kernel/sched/core.c")
		write(t, "int needed(int a);\n\n\n\n\n\n\n\nint others(int a);\n", dir, "include/linux/s.h")
		write(t, "x\n", dir, "include/linux/same.h")
	}
	gitIn(t, p.Dir, "add", "-A")
	gitIn(t, p.Dir, "commit", "-q", "-m", "2")
	write(t, strings.Replace(coreText, "a += 2;", "a += fresh(2);", 1), to, "kernel/sched/core.c")
	write(t, "int fresh(int a);\nint needed(int a);\n\n\n\n\n\n\n\nlong others(int a);\n", to, "include/linux/s.h")
	write(t, "x\n", to, "include/linux/same.h")
	write(t, "int mine;\n", to, "kernel/sched/mine.c")
	write(t, "unknown to the tree\n", to, "include/linux/unknown.h")
	pt, files, err := difference(t.Context(), p, from, to)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range pt.Files {
		names = append(names, f.Old+">"+f.New)
	}
	want := []string{"include/linux/s.h>include/linux/s.h", "kernel/sched/core.c>kernel/sched/core.c", ">kernel/sched/mine.c"}
	if !slices.Equal(names, want) {
		t.Fatalf("%q", names)
	}
	foreign, err := foreign(t.Context(), p, pt, files)
	if err != nil || len(foreign) != 1 || foreign[pt.Files[0].Hunks[1]].Verdict != Irrelevant {
		t.Errorf("%v, %v", foreign, err)
	}
	s := ready(t, p)
	s.patches, s.foreign = append(s.patches, pt), foreign
	if err := s.replay(); err != nil {
		t.Fatal(err)
	}
	if r := s.report(nil).Patches[0]; !r.Whole || len(r.Parts) != 4 || r.Parts[1].Verdict != Irrelevant || r.Parts[1].Applied {
		t.Errorf("%+v", r)
	}
	if text := s.files["include/linux/s.h"].text.String(); !strings.Contains(text, "fresh") || strings.Contains(text, "long others") {
		t.Errorf("%q", text)
	}
	for v, want := range map[string]string{"2": "of another series", "x": "no version"} {
		version(to, v)
		a, err := CatchUp(t.Context(), p, to, Options{})
		if outcome.Of(err) != outcome.Precondition || a != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", v, a, err)
		}
	}
	write(t, "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 6\n", to, "Makefile")
	if _, err := CatchUp(t.Context(), p, to, Options{}); outcome.Of(err) != outcome.Precondition ||
		!strings.Contains(err.Error(), "is later: 6.1.7") {
		t.Errorf("an older one: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(to, "kernel")); err != nil {
		t.Fatal(err)
	}
	if a, err := CatchUp(t.Context(), p, from, Options{}); err != nil || len(a.Patches) != 0 || len(a.Notes) != 1 {
		t.Errorf("the same: %+v, %v", a, err)
	}
}

// TestUsedHeaders: what changes in a header without the scheduler, and is used by it, is not taken, and not kept quiet about.
func TestUsedHeaders(t *testing.T) {
	p, from := applicable(t)
	to := t.TempDir()
	const gap = "\n\n\n\n\n\n\n\n"
	const header = "static inline int pending(int a)\n{\n\treturn a;\n}\n" + gap +
		"static inline int within(int a)\n{\n\treturn a + 1;\n}\n" + gap +
		"static inline int through(int a)\n{\n\treturn within(a);\n}\n" + gap +
		"enum odd {\n\tODD_ONE,\n\tODD_USED = 4,\n};\n" + gap +
		"#define taken_away(x) (x)\n" + gap +
		"struct lost {\n\tint a;\n};\n" + gap +
		"static inline int others(int a)\n{\n\treturn a + 2;\n}\n" + gap +
		"/* A remark on pending(). */\n"
	const code = "/* others() is no use of it. */\nint first(int a)\n{\n" +
		"\treturn pending(a) + through(a) + ODD_USED + taken_away(a) + sizeof(struct lost);\n}\n"
	for _, dir := range []string{from, p.Dir} {
		write(t, code, dir, "kernel/sched/core.c")
		write(t, header, dir, "include/linux/s.h")
	}
	gitIn(t, p.Dir, "add", "-A")
	gitIn(t, p.Dir, "commit", "-q", "-m", "2")
	write(t, code, to, "kernel/sched/core.c")
	write(t, strings.NewReplacer("\treturn a;", "\treturn !!a;", "a + 1", "a + 10", "ODD_USED = 4", "ODD_USED = 5",
		"#define taken_away(x) (x)\n", "",
		"struct lost {\n\tint a;\n};\n", "",
		"a + 2", "a + 20", "remark", "word").Replace(header), to, "include/linux/s.h")
	pt, files, err := difference(t.Context(), p, from, to)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := foreign(t.Context(), p, pt, files)
	if err != nil {
		t.Fatal(err)
	}
	s := ready(t, p)
	s.patches, s.foreign = append(s.patches, pt), foreign
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	r := s.report(nil).Patches[0]
	want := []string{"(pending)", "(through)", "(ODD_USED)", "(taken_away)", "(lost)", "other parts", "other parts"}
	if len(r.Parts) != len(want) || r.Whole || s.changes() {
		t.Fatalf("%+v", r)
	}
	for i, part := range r.Parts {
		if !strings.Contains(part.Why, want[i]) || part.Applied || (part.Verdict == Irrelevant) == (part.Do != "") {
			t.Errorf("%+v, want %s", part, want[i])
		}
	}
}
