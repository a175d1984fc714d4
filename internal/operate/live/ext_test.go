// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"errors"
	"os"
	"strings"
	"testing"

	"plugsched/scx"
)

// TestEndedBadly: what the kernel has ended is worth a warning, what was stopped is not.
func TestEndedBadly(t *testing.T) {
	list := endedBadly([]scx.End{{Name: "simple", Kind: 64, Reason: "unregistered"},
		{Name: "stall", Kind: 1026, Error: true, Reason: "task stall"}})
	var f *Finding
	if len(list) != 1 || !errors.As(list[0], &f) || !f.Warning || !strings.Contains(f.Problem, "stall: task stall") {
		t.Errorf("%v", list)
	}
}

// TestCheckNoModule: a module's scheduler keeps those in BPF away, by its name.
func TestCheckNoModule(t *testing.T) {
	h := Host{Root: t.TempDir()}
	put(t, h, "/sys/module/plugsched_aa/plugsched/state", "inactive\n")
	if err := h.CheckNoModule(); err != nil {
		t.Error(err)
	}
	put(t, h, "/sys/module/plugsched_aa/plugsched/state", "active\n")
	var p *PreconditionError
	if err := h.CheckNoModule(); !errors.As(err, &p) || !strings.Contains(err.Error(), "(plugsched_aa), and") {
		t.Errorf("%v", err)
	}
	put(t, h, "/proc/5/comm", "agent\n")
	if err := errors.Join(os.Mkdir(h.path("/proc/5/fd"), 0o755), os.Symlink("/dev/ghost", h.path("/proc/5/fd/3"))); err != nil {
		t.Fatal(err)
	}
	if err := h.CheckNoModule(); !errors.As(err, &p) || !strings.Contains(err.Error(), "(plugsched_aa, for agent[5]), and") {
		t.Errorf("%v", err)
	}
}
