// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package debian

import (
	"os/exec"
	"strings"
	"testing"
)

// TestRPM: the package of the other kind, by rpm itself. Debian's rpm knows of
// nothing that is installed here, so it is told not to ask for a shell.
func TestRPM(t *testing.T) {
	t.Parallel()
	a := shared.a
	b := build(t, "b", "", "examples/hello.patch", "test/debian/testdata/wait.patch")
	name := "scheduler-" + shared.release
	query := func(option string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "rpm", "-qp", option, a.file(t, "*.rpm", "").HostPath).CombinedOutput()
		if err != nil {
			t.Fatalf("rpm -qp %s: %v\n%s", option, err, out)
		}
		return string(out)
	}
	for option, words := range map[string][]string{
		"--queryformat=%{NAME} %{VERSION}-%{RELEASE} %{ARCH} %{LICENSE}": {name + " 0.1-1 x86_64 GPL-2.0-only AND BSD-3-Clause"},
		"--provides": {"plugsched-scheduler-" + shared.release},
		"--scripts":  {"preinstall", "postinstall", "preuninstall", "postuninstall"},
		"--list":     {"/usr/lib/plugsched/" + shared.release + "/scheduler/scheduler.ko", "/scheduler/plugsched.service"},
	} {
		for _, w := range words {
			if out := query(option); !strings.Contains(out, w) {
				t.Errorf("rpm -qp %s does not say %q:\n%s", option, w, out)
			}
		}
	}

	m := newMachine(t, program(shared.tool), a.file(t, "*.rpm", "a.rpm"), b.file(t, "*.rpm", "b.rpm"))
	const rpm = "rpm --force-debian --nodeps "
	m.up()
	m.ok("rpm --version")
	before := m.files()
	m.says("rpm -i", m.ok(rpm+"-i /run/test/a.rpm"), name+" 0.1 is the running scheduler")
	m.runs(a.module)
	m.ok("rpm -V --nodeps " + name)
	m.says("rpm -U", m.ok(rpm+"-U /run/test/b.rpm"), name+" 0.2 is the running scheduler")
	m.runs(b.module)
	m.says("the kernel", m.ok("dmesg"), b.module+" took over from "+a.module)
	m.down()

	m.up()
	m.runs(b.module)
	m.begin("exec python3 -c 'import os; os.sched_get_priority_max(4242)'")
	m.ok("until grep -q sched_get_priority_max /proc/$(pidof python3)/stack; do sleep 0.1; done")
	m.fails(rpm+"-e "+name, "stays installed")
	m.ok("rpm -q " + name)
	m.runs(b.module)
	m.ok("pkill python3; " + rpm + "-e " + name)
	m.runs("")
	m.same(before)
	m.off()
}
