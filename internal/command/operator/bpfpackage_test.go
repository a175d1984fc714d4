// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/boot"
	"plugsched/internal/operate/live"
	"plugsched/internal/operate/view"
	"plugsched/internal/outcome"
	"plugsched/scx"
)

// installBPF puts the package of a scheduler in BPF there.
func (m machine) installBPF(t *testing.T, scheduler, known string) {
	t.Helper()
	m.put(t, installed.PackageDir(installed.AnyKernel, scheduler)+"/"+installed.About, `{"name": "`+scheduler+`-bpf",
		"scheduler": "`+scheduler+`", "version": "2", "module": "`+known+`", "bpf": {"name": "simple"}}`)
}

// TestBPFPackage: commands see the package of a scheduler in BPF as they see a module's.
func TestBPFPackage(t *testing.T) {
	m := stock(t)
	m.put(t, "/sys/kernel/sched_ext/state", "disabled\n")
	m.snapshot = &scx.Snapshot{State: "disabled"}
	m.installBPF(t, "quick", "simple_01")
	m.selects(t, installed.AnyKernel, "quick")
	m.put(t, installed.GuardFile("quick-bpf"),
		`{"attempt": {"package": "quick-bpf", "version": "2", "module": "simple_01", "boot_id": "boot-0"}}`)
	shows := func(what, command string, want ...string) {
		t.Helper()
		c := newStatus(m)
		switch command {
		case "list":
			c = newList(m)
		case "guard":
			c = newGuard(m)
		case "doctor":
			c = newDoctor(m)
		}
		out, err := run(c)
		if err != nil && outcome.Of(err) != outcome.Precondition {
			t.Fatal(err)
		}
		has(t, what+", "+command, strings.Join(strings.FieldsFunc(out, func(r rune) bool { return r == ' ' }), " "), want...)
	}
	const down = "in an earlier boot quick-bpf 2 (simple_01) was loaded and not confirmed before the machine went down"
	shows("kept back", "status", "package: quick-bpf 2 is selected for this kernel, but its scheduler does not run\n", "boot guard: "+down)
	shows("kept back", "list", "any quick bpf quick-bpf 2 simple_01 no selected, but plugsched-bpf.service is not enabled\n")
	shows("kept back", "guard", "tripped: "+down)
	shows("kept back", "doctor", "obstacle: boot guard: "+down)

	m.snapshot = &scx.Snapshot{State: "enabled", Name: "simple", Owner: scx.Ours, Of: "simple_01"}
	m.put(t, "/etc/systemd/system/multi-user.target.wants/plugsched-bpf.service", "")
	if err := os.Remove(filepath.Join(m.Root, installed.GuardFile("quick-bpf"))); err != nil {
		t.Fatal(err)
	}
	shows("it runs", "status", "scheduler: simple, in BPF", "package: quick-bpf 2\n")
	shows("it runs", "list", "any quick bpf quick-bpf 2 simple_01 yes yes\n", "any simple bpf (built in) - - no no\n")
	shows("it runs", "guard", "not tripped")
	m.snapshot.Of = "" // by hand: the same name is not the package
	shows("by hand", "list", "any quick bpf quick-bpf 2 simple_01 no yes\n", "any simple bpf (built in) - - yes no\n")

	// A module's package of the same name comes first, and its own name means the one in BPF.
	m.install(t, "quick", "3", release, name)
	for word, want := range map[string]view.Way{"quick-bpf": view.BPF, "quick-" + release: view.Module} {
		if got, err := m.meaningOf(word); err != nil || got.way != want {
			t.Errorf("%s: %+v, %v", word, got, err)
		}
	}
	m.selects(t, release, "quick")
	m.snapshot = &scx.Snapshot{State: "disabled"}
	shows("both are selected", "status", "package: quick-6.1.0-1 3 is selected for this kernel")
}

// TestBPFBootLater: at boot a module that is selected comes first, which is no failure of the unit.
func TestBPFBootLater(t *testing.T) {
	m := stock(t)
	m.put(t, "/sys/kernel/sched_ext/state", "disabled\n")
	m.installBPF(t, "quick", "simple_01")
	if err := errors.Join(os.MkdirAll(filepath.Join(m.Root, "proc/1"), 0o755),
		os.Symlink(m.Root, filepath.Join(m.Root, "proc/1/root"))); err != nil {
		t.Fatal(err)
	}
	m.install(t, "fast", "3", release, name)
	m.selects(t, release, "fast")
	p, err := installed.Read(filepath.Join(m.Root, installed.PackageDir(installed.AnyKernel, "quick")))
	if err != nil {
		t.Fatal(err)
	}
	kernel := boot.Sched{Host: live.Host{Root: m.Root}, Package: p}
	words, err := m.loadAtBoot(t.Context(), &boot.Runner{Package: p, Kernel: kernel, Root: m.Root})
	if err != nil || words != "quick-bpf 2 is not loaded: the module fast is selected for this kernel" {
		t.Errorf("%q, %v", words, err)
	}
}
