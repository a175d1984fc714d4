// SPDX-License-Identifier: BSD-3-Clause

package packaging

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plugsched/internal/artefact/installed"
)

// TestBPF: the package of a scheduler in BPF is for no kernel in particular, and otherwise like a module's.
func TestBPF(t *testing.T) {
	s := scheduler(t)
	dir := t.TempDir()
	object := filepath.Join(dir, "o")
	if err := os.WriteFile(object, []byte("object"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = &Scheduler{Config: s.Config, Arch: s.Arch, Tool: "t", Time: s.Time, Installer: s.Installer, Documents: s.Documents,
		ModuleName: "simple_01", Object: object,
		BPF: &installed.BPF{Name: "simple", Timeout: 5 * time.Second, Constants: map[string]uint64{"fifo": 1}}}
	paths, err := Build(dir, s)
	if err != nil || len(paths) != 2 || filepath.Base(paths[0]) != "fast-bpf_0.3+local_amd64.deb" ||
		filepath.Base(paths[1]) != "fast-bpf-0.3+local-1.x86_64.rpm" {
		t.Fatalf("%v, %v", paths, err)
	}
	for field, want := range map[string]string{"Package": "fast-bpf", "Depends": "", "Provides": "plugsched-scheduler-bpf"} {
		if got := strings.TrimSpace(run(t, "dpkg-deb", "-f", paths[0], field)); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	at := filepath.Join(dir, "x")
	run(t, "dpkg-deb", "-R", paths[0], at)
	for _, script := range []string{"preinst", "postinst", "prerm", "postrm"} {
		run(t, "sh", "-n", filepath.Join(at, "DEBIAN", script))
	}
	p, err := installed.Read(filepath.Join(at, "usr/lib/plugsched/bpf/fast"))
	if err != nil || p.Kernels() != installed.AnyKernel || p.Release != "" || p.Module != "simple_01" || p.BPF.Name != "simple" ||
		p.BPF.Timeout != 5*time.Second || p.BPF.Constants["fifo"] != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	text := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := text(p.File(installed.Object)); got != "object" {
		t.Errorf("the object is %q", got)
	}
	for _, none := range []string{installed.Module, installed.Description, installed.Boundary} {
		if _, err := os.Stat(p.File(none)); err == nil {
			t.Errorf("%s is of a module", none)
		}
	}
	unit := text(p.File(installed.UnitText))
	for _, want := range []string{"\nConditionPathExists=/sys/kernel/sched_ext/state\n", "\nAssertPathExists=/etc/plugsched/bpf\n",
		"\nExecStart=/etc/plugsched/bpf/plugsched boot /etc/plugsched/bpf\n"} {
		if !strings.Contains(unit, want) {
			t.Errorf("the unit has no %q:\n%s", want, unit)
		}
	}
	for name, text := range map[string]string{"unit": unit, "preinst": text(filepath.Join(at, "DEBIAN/preinst"))} {
		if strings.Contains(text, "ConditionKernelVersion") || strings.Contains(text, "modules_disabled") || strings.Contains(text, "build-id") {
			t.Errorf("%s is about a module:\n%s", name, text)
		}
	}
	if got := run(t, "rpm", "-qp", "--qf", "%{NAME} [%{FILENAMES}\n]", paths[1]); !strings.HasPrefix(got, "fast-bpf ") ||
		!strings.Contains(got, "/usr/lib/plugsched/bpf/fast/"+installed.Object+"\n") {
		t.Errorf("%s", got)
	}
}
