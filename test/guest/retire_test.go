// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// write writes to a module's file, as a program would, and returns the error.
func write(t *testing.T, m *vm.Machine, module, file, value string) (errno syscall.Errno) {
	t.Helper()
	err := m.WriteFile(t.Context(), "/sys/module/"+module+"/plugsched/"+file, []byte(value), 0)
	if err != nil && !errors.As(err, &errno) {
		t.Fatalf("%s to %s of %s: %v", value, file, module, err)
	}
	return errno
}

// A step is one write to a module's file.
type step struct {
	module, file, value string
	want                syscall.Errno
}

// TestRetire: once its exit has run, a module does not become the running scheduler
// again; as long as somebody would roll back to it, it does not run.
func TestRetire(t *testing.T) {
	t.Parallel()
	ko, forget := variant(t, statePatch), variant(t, statePatch, "test/guest/testdata/forget.patch")
	fresh := guests(t, both(with("/state.ko", ko), with("/forget.ko", forget)))
	m := fresh()
	state, a, f := moduleName(t, ko), moduleName(t, shared.project.Module()), moduleName(t, forget)
	const back = syscall.Errno(0xbac) // no error, and it rolls back
	for _, order := range []struct {
		name, load string
		steps      []step
		runs       string // in the end
		stays      bool   // it is never unloaded
	}{
		{"it has run", "/state.ko", []step{
			{state, "enable", "1", 0}, {state, "enable", "0", 0}, {state, "retire", "1", 0},
			{state, "enable", "1", syscall.ESHUTDOWN}}, "", false},
		{"it never ran", "/state.ko", []step{
			{state, "retire", "1", 0}, {state, "enable", "1", syscall.ESHUTDOWN}}, "", false},
		{"it was rolled back", "/state.ko", []step{
			{state, "enable", "1", 0}, {state, rollback, "test", back}, {state, "retire", "1", 0},
			{state, "enable", "1", syscall.ESHUTDOWN}}, "", false},
		{"it runs", "/state.ko", []step{
			{state, "enable", "1", 0}, {state, "retire", "1", syscall.EBUSY}, {state, "enable", "0", 0}}, "", false},
		{"over another", "/scheduler.ko /state.ko", []step{
			{a, "enable", "1", 0}, {state, "retire", "1", 0}, {state, "replace", a, syscall.ESHUTDOWN}}, a, false},
		{"kept for a trial", "/state.ko /scheduler.ko", []step{
			{state, "enable", "1", 0}, {a, "try", "3600000", 0}, {a, "replace", state, 0},
			{state, "retire", "1", syscall.EBUSY}, {a, rollback, "test", back}}, state, false},
		{"kept no more", "/state.ko /scheduler.ko", []step{
			{state, "enable", "1", 0}, {a, "try", "3600000", 0}, {a, "replace", state, 0},
			{a, "try", "0", 0}, {state, "retire", "1", 0}, {state, "replace", a, syscall.ESHUTDOWN}}, a, false},
		{"it was left by another removed", "/state.ko /scheduler.ko", []step{
			{state, "enable", "1", 0}, {a, "try", "3600000", 0}, {a, "replace", state, 0},
			{a, "enable", "0", 0}, {state, "retire", "1", 0}, {state, "enable", "1", syscall.ESHUTDOWN}}, "", false},
		{"something is left", "/forget.ko", []step{
			{f, "enable", "1", 0}, {f, "enable", "0", 0}, {f, "retire", "1", syscall.ENOTEMPTY},
			{f, "enable", "1", syscall.ESHUTDOWN}, {f, "retire", "1", syscall.ENOTEMPTY}}, "", true},
	} {
		done := t.Run(order.name, func(t *testing.T) {
			for _, ko := range strings.Fields(order.load) {
				ok(t, m, "insmod "+ko)
			}
			for i, s := range order.steps {
				want := s.want
				if want == back {
					want = 0
				}
				got := write(t, m, s.module, s.file, s.value)
				for try := 0; got == syscall.EBUSY && want != got && try < 50; try++ {
					time.Sleep(100 * time.Millisecond) // tasks in the way, or it is not done with rolling back
					got = write(t, m, s.module, s.file, s.value)
				}
				if got != want {
					t.Errorf("step %d, %q to %s of %s: error %d (%v), expected %d (%v)", i+1, s.value, s.file, s.module, got, got, want, want)
				}
				if s.want == back {
					rolledBack(t, m, s.module, time.Second)
				}
			}
			// What uses memory that was freed does so soon.
			ok(t, m, "i=0; while [ $i -lt 50 ]; do sleep 0.01; i=$((i+1)); done")
			if s := status(t, m); s.Name != order.runs {
				t.Errorf("%q runs, expected %q", s.Name, order.runs)
			}
			if order.runs == state {
				ok(t, m, "cat "+stateFile+" "+stateSysctl)
			}
			if !order.stays {
				ok(t, m, "plugsched uninstall")
				stock(t, m)
			}
		})
		if !done {
			m = fresh()
		}
	}
}
