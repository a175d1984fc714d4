// SPDX-License-Identifier: BSD-3-Clause

package project

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
	pt, files, err := p.difference(t.Context(), from, to)
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
	foreign, err := p.foreign(pt, files)
	if err != nil || len(foreign) != 1 || foreign[pt.Files[0].Hunks[1]] == "" {
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
		a, err := p.CatchUp(t.Context(), to, ApplyOptions{})
		if outcome.Of(err) != outcome.Precondition || a != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", v, a, err)
		}
	}
	write(t, "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 6\n", to, "Makefile")
	if _, err := p.CatchUp(t.Context(), to, ApplyOptions{}); outcome.Of(err) != outcome.Precondition ||
		!strings.Contains(err.Error(), "is later: 6.1.7") {
		t.Errorf("an older one: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(to, "kernel")); err != nil {
		t.Fatal(err)
	}
	if a, err := p.CatchUp(t.Context(), from, ApplyOptions{}); err != nil || len(a.Patches) != 0 || len(a.Notes) != 1 {
		t.Errorf("the same: %+v, %v", a, err)
	}
}
