// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRivals: what systemd's files say of others that load schedulers in BPF, and nothing besides.
func TestRivals(t *testing.T) {
	h := Host{Root: t.TempDir()}
	link := func(name string) {
		t.Helper()
		path := filepath.Join(h.Root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink("/nowhere", path)); err != nil {
			t.Fatal(err)
		}
	}
	link("/etc/systemd/system/multi-user.target.wants/scx.service")
	if got := h.Rivals(); got != nil {
		t.Errorf("a kernel without sched_ext: %v", got)
	}
	put(t, h, "/sys/kernel/sched_ext/state", "disabled\n")
	put(t, h, "/usr/lib/systemd/system/scx_loader.service", "[Service]\n") // it is there, and nobody wants it
	link("/run/systemd/units/invocation:other.service")
	if got := h.Rivals(); len(got) != 1 || got[0] != (Rival{Unit: "scx.service", Enabled: true}) {
		t.Errorf("%v", got)
	}
	link("/run/systemd/units/invocation:scx_loader.service")
	link("/run/systemd/units/invocation:scx.service")
	var f *Finding
	list := h.findRivals(nil, InstallOptions{})
	if len(list) != 2 || !errors.As(list[0], &f) || !f.Warning || f.Fix != "systemctl disable --now scx.service" || f.Problem !=
		"scx.service runs, and may load a scheduler in BPF at any time; it is enabled, and may load one at the next boot" {
		t.Errorf("%v", list)
	}
	if !errors.As(list[1], &f) || f.Fix != "systemctl stop scx_loader.service" || strings.Contains(f.Problem, "enabled") {
		t.Errorf("%v", list[1])
	}
}
