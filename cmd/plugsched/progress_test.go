// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"plugsched/internal/develop/project"
	"plugsched/internal/kernel/fetch"
)

// TestProgressInTurns: a log gets one line for each thing, however often they report in turns.
func TestProgressInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out)
		p.fetching(fetch.Progress{Step: "wait", Item: "process 5 (plugsched) uses DIR"})
		for i := range int64(100) {
			for _, item := range []string{"vmlinux", "source"} {
				p.fetching(fetch.Progress{Step: "unpack", Item: item, Done: i * 1e6, Total: 100e6})
			}
			time.Sleep(100 * time.Millisecond)
		}
		for _, item := range []string{"vmlinux", "source"} {
			p.fetching(fetch.Progress{Step: "unpack", Item: item, Done: 100e6, Total: 100e6, Ended: true})
		}
		p.stage(project.Event{Stage: "source", Text: "unchanged", Skipped: true, Done: true})
		p.stage(project.Event{Stage: "compile", Text: "compiling"})
		p.stage(project.Event{Stage: "compile", Text: "4 units", Done: true, Took: 6500 * time.Millisecond})
		p.finish()
		want := "wait       process 5 (plugsched) uses DIR\nunpack     vmlinux (100 MB, 10.0 s)\nunpack     source (100 MB, 10.0 s)\n" +
			"source     unchanged\ncompile    4 units (6.5 s)\n"
		if out.String() != want {
			t.Errorf("%s\nwant\n%s", &out, want)
		}
	})
}
