// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/guest/vm"
	"plugsched/internal/operate/history"
	"plugsched/scx"
)

// bpfPackage makes a package on this host, and returns what puts it into a guest, and by what it is known when it runs.
func bpfPackage(t *testing.T, guestDir string, args ...string) (func(*vm.Config), string) {
	t.Helper()
	dir := t.TempDir()
	if out, code := plugsched(t, append([]string{"scx", "package", "-o", dir, "--name", "quick"}, args...)...); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatalf("%v, %v", debs, err)
	}
	var c vm.Config
	into := unpackedDeb(t, guestDir, debs[0])
	into(&c)
	for _, f := range c.Files {
		if filepath.Base(f.GuestPath) == installed.About {
			p, err := installed.Read(filepath.Dir(f.HostPath))
			if err != nil {
				t.Fatal(err)
			}
			return into, p.Module
		}
	}
	t.Fatal("the package does not tell of itself")
	return nil, ""
}

// TestSCXPackage does what dpkg and systemd do with the package of a scheduler in BPF, and what goes wrong: the guard's as of a module.
func TestSCXPackage(t *testing.T) {
	t.Parallel()
	first, known := bpfPackage(t, "/", "simple")
	next, nextKnown := bpfPackage(t, "/next", "--version", "0.2", "--set", "fifo=1", "simple")
	bad, badKnown := bpfPackage(t, "/bad", "--version", "0.3", "--timeout", "5s", filepath.Join(shared.root, "scx/bpf"+stallObject))
	m := borrow(t, both(first, next, bad))
	if _, code := sh(t, m, "test -e "+scxState); code != 0 {
		expects(t, m, "/DEBIAN/preinst install && /DEBIAN/postinst configure ''", 0, "for later: the running kernel has no sched_ext")
		expects(t, m, "plugsched boot "+installed.Selection(installed.AnyKernel), 0, "is not loaded: the running kernel has no sched_ext")
		ok(t, m, "/DEBIAN/prerm remove && rm -r "+installed.Dir+" && /DEBIAN/postrm purge")
		t.Skip("the kernel has no sched_ext")
	}
	boots := "plugsched boot --settle 1s " + installed.Selection(installed.AnyKernel)
	guard := installed.GuardFile("quick-bpf")
	upgrade := func(to string) {
		t.Helper()
		ok(t, m, fmt.Sprintf("/%s/DEBIAN/preinst upgrade 1 && cp -a /%s/usr /%s/DEBIAN /", to, to, to))
	}
	runs := func(when, of string) {
		t.Helper()
		if s := bpfRuns(t, m, when, "simple", scx.Ours); s.Of != of || s.TrialLeft != 0 {
			t.Errorf("%s: %q runs, with %v of a trial left", when, s.Of, s.TrialLeft)
		}
	}

	expects(t, m, "/DEBIAN/preinst install && /DEBIAN/postinst configure ''", 0, "quick-bpf 0.1 is the running scheduler ("+known)
	runs("install", known)
	if e := lastEntry(t, m); e.Action != "package" || e.BPF != "simple" || e.Package != "quick-bpf" ||
		e.Version != "0.1" || e.Direction != "install" {
		t.Errorf("%+v", e)
	}
	expects(t, m, "plugsched status", 0, "package:    quick-bpf 0.1\n")
	expects(t, m, "plugsched list | tr -s ' '", 0, "any quick bpf quick-bpf 0.1 "+known+" yes ")
	expects(t, m, boots, 0, "is the running scheduler")
	upgrade("next")
	expects(t, m, "/DEBIAN/postinst configure 1", 0, "is the running scheduler ("+nextKnown)
	runs("upgrade", nextKnown)
	if e := lastEntry(t, m); e.Direction != "replace" || e.Version != "0.2" {
		t.Errorf("%+v", e)
	}
	// Of a boot nothing is left but what is on the disk.
	expects(t, m, "plugsched scx stop && "+boots, 0, "is the running scheduler ("+nextKnown)
	runs("boot", nextKnown)
	expects(t, m, "plugsched boot --stop "+installed.Selection(installed.AnyKernel), 0, "the kernel's own scheduler runs")
	bpfRuns(t, m, "systemctl stop", "", "")

	t.Run("crash at boot", func(t *testing.T) {
		ok(t, m, "plugsched boot --trial 1h --settle 50m "+installed.Selection(installed.AnyKernel)+" > /run/boot 2>&1 & echo $! > /run/boot.pid")
		if !await(m, func() bool { return snapshot(t, m).TrialLeft != 0 }) {
			t.Fatal("it is not loaded: " + ok(t, m, "cat /run/boot"))
		}
		// What the disk has if the machine goes down now, of which the next boot is another.
		ok(t, m, "cp "+guard+" /run/guard && kill -9 $(cat /run/boot.pid) && plugsched scx stop")
		ok(t, m, "sed 's/\"boot_id\": \"../\"boot_id\": \"zz/' /run/guard > "+guard)
		for range 2 {
			expects(t, m, boots, 3, "was loaded and not confirmed before the machine went down")
		}
		bpfRuns(t, m, "after a crash at boot", "", "")
		expects(t, m, "plugsched guard", 0, "tripped:")
		expects(t, m, "plugsched doctor", 3, "boot guard: in an earlier boot quick-bpf 0.2")
		expects(t, m, "plugsched guard --reset", 0, "may be loaded again")
		ok(t, m, boots)
		runs("after the guard was reset", nextKnown)
	})
	t.Run("one that stalls", func(t *testing.T) {
		upgrade("bad")
		ok(t, m, inBackground("until [ \"$(cat /sys/kernel/sched_ext/root/ops 2> /dev/null)\" = stall ]; do sleep 0.1; done; "+
			"exec sh -c 'printf victim > /proc/self/comm; echo $$ > /run/victim; while :; do :; done'"))
		expects(t, m, "plugsched package configure --trial 20m --settle 10m "+installed.PackageDir(installed.AnyKernel, "quick"), 5,
			badKnown+" was rolled back by the kernel: ")
		bpfRuns(t, m, "stall", "", "")
		ok(t, m, "kill -9 $(cat /run/victim)")
		expects(t, m, boots, 3, "was tried and rolled back")
		if e := lastEntry(t, m); e.Action != "boot" || e.Result != "refused" || e.Version != "0.3" {
			t.Errorf("%+v", e)
		}
		expects(t, m, "plugsched history", 0, history.RolledBack)
	})
	t.Run("another's scheduler", func(t *testing.T) {
		upgrade("next")
		ok(t, m, "plugsched scx load simple")
		expects(t, m, boots, 3, "the scheduler simple runs, which is of no package here")
		expects(t, m, "/next/DEBIAN/preinst upgrade 1", 1, "nothing was installed")
		ok(t, m, "plugsched scx stop")
	})
	t.Run("switch", func(t *testing.T) {
		expects(t, m, "plugsched switch --settle 1s quick", 0, "is the running scheduler ("+nextKnown)
		expects(t, m, "plugsched try quick", 3, "the BPF scheduler simple runs")
		expects(t, m, "plugsched switch --none", 0, "no scheduler is selected for BPF any more: none is loaded at boot")
		bpfRuns(t, m, "switch --none", "", "")
		expects(t, m, boots, 3, installed.SelectionDir)
		expects(t, m, "plugsched switch --settle 1s quick-bpf", 0, "is the running scheduler ("+nextKnown)
		runs("switch", nextKnown)
		ok(t, m, "plugsched scx stop")
		expects(t, m, "plugsched try --for 1h quick", 0, "simple runs, for all tasks")
		expects(t, m, "plugsched reject", 0, "the kernel's own")
	})
	t.Run("remove", func(t *testing.T) {
		ok(t, m, boots)
		ok(t, m, "/DEBIAN/prerm remove && rm -r "+installed.Dir+" && /DEBIAN/postrm remove && test -e "+guard+" && /DEBIAN/postrm purge")
		bpfRuns(t, m, "remove", "", "")
		if left, _ := sh(t, m, "ls "+installed.StateDir+" "+installed.SelectionDir+" /usr/lib/systemd/system"); strings.Contains(left, "bpf") {
			t.Errorf("left behind:\n%s", left)
		}
		ok(t, m, "rm -rf "+scx.Pins)
	})
}
