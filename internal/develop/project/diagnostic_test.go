// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/bind"
)

// TestDiagnostics: what is said has its place, down to the column, and reads as compilers' lines do.
func TestDiagnostics(t *testing.T) {
	p := at(t, t.TempDir())
	const file = "kernel/sched/core.c"
	write(t, "int a;\n\tTRACE_EVENT(lost,\n  return a;\n", p.Dir, file)
	for _, c := range []struct {
		got  Diagnostic
		want string
	}{
		{p.refusal(bind.Refusal{Class: bind.Value, Name: "a", File: file, Line: 1, Why: "is bad", Do: "undo it"}),
			file + ":1:5: error: a is bad; undo it (docs/develop/refusals.md#value)"},
		{p.refusal(bind.Refusal{Class: bind.Tracepoint, Name: "TRACE_EVENT(lost)", File: file, Line: 2, Why: "is bad", Do: "undo it"}),
			file + ":2:2: error: TRACE_EVENT(lost) is bad; undo it (docs/develop/refusals.md#tracepoint)"},
		{p.refusal(bind.Refusal{Class: bind.Stays, Name: "f", File: file, Line: 3, Why: "is bad", Do: "undo it"}),
			file + ":3:3: error: f is bad; undo it (docs/develop/refusals.md#stays)"},
		{p.refusal(bind.Refusal{Class: bind.Stays, Name: "f", File: file, Line: 9, Why: "is gone", Do: "undo it"}),
			file + ":9: error: f is gone; undo it (docs/develop/refusals.md#stays)"},
		{p.refusal(bind.Refusal{Class: bind.Stays, Name: "f", File: "kernel/sched/none.c", Line: 9, Why: "is gone", Do: "undo it"}),
			"kernel/sched/none.c:9: error: f is gone; undo it (docs/develop/refusals.md#stays)"},
		{p.warning(file + ":3: a: its address is the module's"), file + ":3:10: warning: a: its address is the module's"},
		{p.warning("struct rq: a is where the kernel has nothing"), "warning: struct rq: a is where the kernel has nothing"},
	} {
		if c.got.String() != c.want {
			t.Errorf("%s\nwant %s", c.got, c.want)
		}
	}
}

// TestCompilers: of what gcc prints, each line about a place is one diagnostic.
func TestCompilers(t *testing.T) {
	got := compilers("In file included from kernel/sched/core.c:9:\nkernel/sched/sched.h: In function 'f':\n" +
		"kernel/sched/sched.h:892:41: error: 'foo' undeclared\n  892 |  foo\nkernel/sched/core.c:3:9: warning: unused\n" +
		"kernel/sched/core.c:4:1: note: here\nkernel/sched/core.c:1:10: fatal error: no.h: No such file\ncompilation terminated.\n")
	want := []Diagnostic{
		{File: "kernel/sched/sched.h", Line: 892, Column: 41, Severity: Wrong, Class: ClassCompile, Message: "'foo' undeclared"},
		{File: "kernel/sched/core.c", Line: 3, Column: 9, Severity: Warning, Class: ClassCompile, Message: "unused"},
		{File: "kernel/sched/core.c", Line: 1, Column: 10, Severity: Wrong, Class: ClassCompile, Message: "no.h: No such file"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	want = []Diagnostic{{Severity: Wrong, Class: ClassCompile, Message: "cc1: fatal error: out of memory"}}
	if diff := cmp.Diff(want, compilers("cc1: fatal error: out of memory")); diff != "" {
		t.Error(diff)
	}
}
