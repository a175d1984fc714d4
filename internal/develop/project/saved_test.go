// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"os"
	"testing"
	"time"
)

// TestSaved: each change of source is told once, also of a file that is new or gone; what lies beside the source is not.
func TestSaved(t *testing.T) {
	p := buildable(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	saved := p.Saved(ctx)
	told := func(what string) {
		t.Helper()
		select {
		case <-saved:
		case <-ctx.Done():
			t.Fatalf("nothing is told of %s", what)
		}
	}
	// Whatever is told of these would be told before the next.
	for _, name := range []string{".core.c.swp", "core.c~", "#core.c#", "core.o", "4913.tmp"} {
		write(t, "beside", p.path(SchedDir), name)
	}
	write(t, "beside", p.Dir, "scheduler.ko")
	time.Sleep(3 * poll)
	select {
	case <-saved:
		t.Error("what lies beside the source is told")
	default:
	}
	write(t, "int mine;\n", p.path(SchedDir), "mine.c")
	told("a new file")
	write(t, "int mine, more;\n", p.path(SchedDir), "mine.c")
	told("a change")
	write(t, "# a comment\n", p.Dir, ConfigFile)
	told("the configuration")
	if err := os.Remove(p.path(SchedDir, "mine.c")); err != nil {
		t.Fatal(err)
	}
	told("a file that is gone")
}
