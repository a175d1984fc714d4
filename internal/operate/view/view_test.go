// SPDX-License-Identifier: BSD-3-Clause

package view

import (
	"reflect"
	"testing"
	"time"

	"plugsched/internal/operate/live"
	"plugsched/scx"
)

func clock(t time.Duration) time.Time { return time.Unix(1000, 0).Add(t) }

// TestSchedulers: one record for each way, and none for the kernel's own.
func TestSchedulers(t *testing.T) {
	since := time.Unix(5, 0)
	own, module := &live.Status{}, &live.Status{Active: true, Name: "plugsched_aa", Watchdog: time.Second, TrialLeft: time.Minute}
	simple := &scx.Snapshot{State: "enabled", Name: "simple", All: true, Owner: scx.Ours, Since: 7 * time.Second, Timeout: 30 * time.Second,
		TrialLeft: time.Second}
	tiny := &scx.Snapshot{State: "disabling", Name: "tiny", Owner: scx.Others, Holders: []scx.Holder{{PID: 5, Command: "a"}}}
	ofModule := Scheduler{Way: Module, Name: "plugsched_aa", Scope: AllTasks, Since: since, Owner: scx.Ours, Health: OK, Watchdog: time.Second,
		TrialLeft: time.Minute}
	ofSimple := Scheduler{Way: BPF, Name: "simple", Scope: AllTasks, Since: time.Unix(1007, 0), Owner: scx.Ours, Health: OK,
		Watchdog: 30 * time.Second, TrialLeft: time.Second}
	ofTiny := Scheduler{Way: BPF, Name: "tiny", Scope: ExtTasks, Owner: scx.Others, Holders: []string{"a[5]"}, Health: "it is disabling"}
	for i, c := range []struct {
		s    *live.Status
		b    *scx.Snapshot
		want []Scheduler
	}{
		{own, nil, []Scheduler{}},
		{own, &scx.Snapshot{State: "disabled"}, []Scheduler{}},
		{module, nil, []Scheduler{ofModule}},
		{own, simple, []Scheduler{ofSimple}},
		{module, tiny, []Scheduler{ofModule, ofTiny}},
	} {
		if got := Schedulers(c.s, since, c.b, clock); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%d: %+v\nwant %+v", i, got, c.want)
		}
	}
	sick := &live.Status{Active: true, RollingBack: "task 5\nstack", TakenOver: []string{"f"}, Probes: []string{"g", "h"}}
	const want = "it is to be left: task 5; a livepatch has replaced 1 of its functions; 2 kprobes do not see its functions"
	if got := Schedulers(sick, since, nil, clock)[0].Health; got != want {
		t.Errorf("%q", got)
	}
}

// TestLastEnd: the latest, whichever way that scheduler came.
func TestLastEnd(t *testing.T) {
	back := []live.RolledBack{{Name: "m", Reason: "task 5", Timings: &live.Timings{Finished: int64(20 * time.Second)}}, {Name: "just now"}}
	b := &scx.Snapshot{Ends: []scx.End{{Name: "a", At: int64(10 * time.Second)},
		{Name: "b", At: int64(30 * time.Second), Error: true, Reason: "stall", Message: "c[1]"}}}
	if got := LastEnd(nil, nil, clock); got != nil {
		t.Errorf("%+v", got)
	}
	if got := LastEnd(back, nil, clock); *got != (Ended{Module, "m", time.Unix(1020, 0), "task 5"}) {
		t.Errorf("%+v", got)
	}
	if got := LastEnd(back, b, clock); *got != (Ended{BPF, "b", time.Unix(1030, 0), "stall: c[1]"}) {
		t.Errorf("%+v", got)
	}
	b.Ends = b.Ends[:1]
	if got := LastEnd(back, b, clock); got.Name != "m" {
		t.Errorf("%+v", got)
	}
}
