// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package debian

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/guest/vm"
)

// repack changes a scheduler's .deb with a shell script, which runs in the directory
// of its files, and returns the new one for a guest.
func repack(t *testing.T, s *scheduler, name, script string) vm.File {
	t.Helper()
	dir, deb := filepath.Join(t.TempDir(), "files"), filepath.Join(t.TempDir(), name)
	for _, c := range [][]string{
		{"dpkg-deb", "--raw-extract", s.file(t, "*.deb", "").HostPath, dir},
		// The empty list that nfpm writes is none that dpkg-deb takes.
		{"sh", "-ec", "cd " + dir + "; rm -f DEBIAN/conffiles; " + script},
		{"dpkg-deb", "--root-owner-group", "--build", dir, deb},
	} {
		if out, err := exec.CommandContext(t.Context(), c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(c, " "), err, out)
		}
	}
	return vm.File{GuestPath: "/run/test/" + name, HostPath: deb}
}

// status is what dpkg says about the package, such as "installed".
func (m *machine) status(name string) string {
	m.t.Helper()
	out, _ := m.sh("dpkg-query --show --showformat '${db:Status-Status}' " + name + " 2> /dev/null")
	return out
}

// is checks what dpkg says about the package, and which scheduler runs.
func (m *machine) is(what, name, status, module string) {
	m.t.Helper()
	if s := m.status(name); s != status {
		m.t.Errorf("%s: the package is %q, expected %q", what, s, status)
	}
	m.runs(module)
}

// TestRefuse: what must not be done is not begun, and what fails in the middle can be
// gone on with or taken back. All the time one scheduler runs, and dpkg knows which.
func TestRefuse(t *testing.T) {
	t.Parallel()
	a := shared.a
	b := build(t, "b", "", "examples/hello.patch", "test/debian/testdata/wait.patch")
	name, unit := "scheduler-"+shared.release, installed.Unit(shared.release)
	const elsewhere = "6.1.0-999-cloud-amd64"
	m := newMachine(t, program(shared.tool), a.file(t, "*.deb", "a.deb"), b.file(t, "*.deb", "b.deb"),
		repack(t, a, "arch.deb", "sed -i 's/^Architecture: .*/Architecture: arm64/' DEBIAN/control"),
		repack(t, a, "second.deb", "sed -i 's/^Package: .*/Package: second-"+shared.release+"/' DEBIAN/control"),
		repack(t, a, "elsewhere.deb", "sed -i 's/"+shared.release+"/"+elsewhere+"/g' DEBIAN/* usr/lib/plugsched/*/*/package.json usr/lib/plugsched/*/*/*.service;"+
			"mv usr/lib/plugsched/"+shared.release+" usr/lib/plugsched/"+elsewhere+
			"; for d in doc lintian/overrides; do mv usr/share/$d/"+name+" usr/share/$d/scheduler-"+elsewhere+"; done"))
	m.up()
	before := m.files()

	m.fails("apt-get install -y -q /run/test/arch.deb")
	m.fails("dpkg -i /run/test/arch.deb", "arm64")
	m.is("another architecture", name, "", "")

	m.says("another kernel", m.install("/run/test/elsewhere.deb"), "installed for later: the running kernel is "+shared.release)
	m.is("another kernel", "scheduler-"+elsewhere, "installed", "")
	m.ok("systemctl is-enabled " + installed.Unit(elsewhere))

	// The last blocks cannot be preallocated; what is left is the hole.
	m.sh("dd if=/dev/zero of=/hole bs=1M count=3; fallocate -l $(($(stat -f -c '%f * %S' /) - 60000000)) /fill; dd if=/dev/zero of=/rest bs=64k; rm /hole")
	m.fails("apt-get install -y -q /run/test/a.deb")
	m.fails("dpkg -i /run/test/a.deb", "No space left on device")
	m.ok("rm /fill /rest; test ! -e /usr/lib/plugsched/" + shared.release)
	m.runs("")

	m.ok("mkdir -p -m 700 /var/lib/plugsched && mount -t tmpfs -o size=4k tmpfs /var/lib/plugsched && echo > /var/lib/plugsched/fill")
	m.fails("apt-get install -y -q /run/test/a.deb", "nothing was loaded, because the boot guard cannot be written", "no space left on device")
	m.is("no room for the guard", name, "half-configured", "")
	m.ok("umount /var/lib/plugsched && dpkg --configure -a")
	m.is("room for the guard", name, "installed", a.module)

	m.ok("systemctl stop " + unit)
	m.runs("")
	m.ok("sync; echo u > /proc/sysrq-trigger; until grep -q ' / ext4 ro' /proc/mounts; do sleep 0.1; done")
	m.fails("dpkg -r "+name, "Read-only file system")
	m.fails("systemctl start " + unit)
	m.says("systemctl status", m.unit(), "nothing was loaded, because the boot guard cannot be written", "read-only file system")
	m.runs("")
	m.ok("mount -o remount,rw / && systemctl start " + unit)
	m.is("the root can be written again", name, "installed", a.module)

	m.fails("dpkg -i /run/test/second.deb", "trying to overwrite", name)
	m.is("a second one", name, "installed", a.module)

	m.ok("plugsched uninstall && plugsched try --for 10m /usr/lib/plugsched/" + shared.release + "/scheduler/scheduler.ko")
	m.fails("dpkg -i /run/test/b.deb", "is on trial")
	m.fails("apt-get remove -y -q "+name, "is on trial")
	m.ok("date --set '+1 day'")
	m.is("a trial, and tomorrow", name, "installed", a.module)
	m.ok("plugsched confirm")

	m.install("/run/test/b.deb")
	m.begin("exec python3 -c 'import os; os.sched_get_priority_max(4242)'")
	m.ok("until grep -q sched_get_priority_max /proc/$(pidof python3)/stack; do sleep 0.1; done")
	m.fails("apt-get remove -y -q "+name, "stays installed", "python3")
	m.is("a task in the way", name, "installed", b.module)
	m.ok("pkill python3; apt-get purge -y -q " + name + " scheduler-" + elsewhere)
	m.runs("")
	m.same(before)

	m.ok("sysctl -q kernel.modules_disabled=1")
	m.fails("dpkg -i /run/test/a.deb", "this kernel takes no modules any more", "nothing was installed")
	m.is("no modules", name, "not-installed", "")
	m.same(before)
	m.off()
}
