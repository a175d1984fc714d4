// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/guest/vm"
)

// unpacked puts a work directory's package into a guest, its scripts in /DEBIAN.
func unpacked(t *testing.T, guestDir, work string) func(*vm.Config) {
	t.Helper()
	debs, err := filepath.Glob(filepath.Join(work, "scheduler-"+shared.release+"_*.deb"))
	if err != nil || len(debs) == 0 {
		t.Fatalf("%s: no package: %v", work, err)
	}
	newest := debs[0]
	for _, d := range debs {
		if newer(t, d, newest) {
			newest = d
		}
	}
	return unpackedDeb(t, guestDir, newest)
}

// unpackedDeb is unpacked for one file.
func unpackedDeb(t *testing.T, guestDir, deb string) func(*vm.Config) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "-R", deb, dir).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	return func(c *vm.Config) {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			st, err := e.Info()
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(dir, path)
			c.Files = append(c.Files, vm.File{GuestPath: filepath.Join(guestDir, rel), HostPath: path, Mode: st.Mode().Perm()})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func newer(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}
	return x.ModTime().After(y.ModTime())
}

// expects runs a command that must exit with a code and say something.
func expects(t *testing.T, m *vm.Machine, command string, code int, what string) {
	t.Helper()
	out, got := sh(t, m, command)
	if got != code || !strings.Contains(out, what) {
		t.Errorf("`%s` exited with %d, want %d and %q:\n%s", command, got, code, what, out)
	}
}

// TestPackage does what dpkg and systemd do with a package, and what goes wrong.
func TestPackage(t *testing.T) {
	t.Parallel()
	nextKo, badKo := variant(t, otherPatch), variant(t, "examples/broken/warn.patch")
	first, next, bad := moduleName(t, shared.project.Module()), moduleName(t, nextKo), moduleName(t, badKo)
	m := boot(t, both(unpacked(t, "/", shared.work), unpacked(t, "/next", filepath.Dir(nextKo)), unpacked(t, "/bad", filepath.Dir(badKo)),
		func(c *vm.Config) { addChrt(t, c) }), complaint{kind: vm.Warning, text: "sched_fork"})
	dir := installed.PackageDir(shared.release, "scheduler")
	guard := installed.GuardFile(installed.PackageName("scheduler", shared.release))
	upgrade := func(to string) {
		t.Helper()
		ok(t, m, fmt.Sprintf("/%s/DEBIAN/preinst upgrade 1 && cp -a /%s/usr /%s/DEBIAN /", to, to, to))
	}

	expects(t, m, "/DEBIAN/preinst install && /DEBIAN/postinst configure ''", 0, "is the running scheduler ("+first)
	alone(t, m, first)
	expects(t, m, "/DEBIAN/postinst configure ''", 0, "is the running scheduler")
	expects(t, m, "plugsched boot "+dir, 0, "is the running scheduler")
	ok(t, m, "test $(stat -c %a /var/lib/plugsched) = 700")

	t.Run("upgrade", func(t *testing.T) {
		upgrade("next")
		expects(t, m, "/DEBIAN/postinst configure 1", 0, "is the running scheduler ("+next)
		alone(t, m, next)
		if s := status(t, m); s.Timings.Direction != "replace" {
			t.Errorf("not in one step: %+v", s.Timings)
		}
	})
	t.Run("bad upgrade", func(t *testing.T) {
		upgrade("bad")
		ok(t, m, inBackground("while [ $(cat /sys/kernel/plugsched/try) = 0 ]; do sleep 0.1; done; chrt -b 0 sh -c 'sleep 0.1; sleep 0.1'"))
		expects(t, m, "/DEBIAN/postinst configure 1", 5, "does not run: ")
		if s := status(t, m); s.Name != next || s.TrialLeft != 0 {
			t.Errorf("it was not rolled back: %+v", s)
		}
		expects(t, m, "/DEBIAN/postinst configure 1", 3, "was tried and rolled back")
		expects(t, m, "plugsched boot "+dir, 3, "was tried and rolled back")
		expects(t, m, "plugsched guard", 0, "tripped:")
		expects(t, m, "/DEBIAN/prerm remove", 0, "the kernel's own scheduler runs")
		stock(t, m)
		expects(t, m, "plugsched guard --reset", 0, "may be loaded again")
		expects(t, m, "plugsched boot "+dir, 3, "no scheduler is selected for this kernel: `plugsched switch scheduler`")
		expects(t, m, "plugsched switch --settle 1s scheduler", 0, "is the running scheduler ("+bad)
		ok(t, m, "plugsched boot --stop "+dir)
		stock(t, m)
	})
	upgrade("next")

	t.Run("boot that was not confirmed", func(t *testing.T) {
		// What the disk says after a power cut in the middle of a trial.
		ok(t, m, "plugsched boot --settle 1s "+dir+" && plugsched uninstall")
		ok(t, m, "sed -i 's/\"confirmed\"/\"attempt\"/; s/\"boot_id\": \"../\"boot_id\": \"zz/' "+guard)
		expects(t, m, "plugsched boot "+dir, 3, "was loaded and not confirmed")
		stock(t, m)
		expects(t, m, "/DEBIAN/postinst configure 1", 3, "was loaded and not confirmed")
		ok(t, m, "echo x > "+guard)
		expects(t, m, "plugsched boot "+dir, 3, "is damaged")
		ok(t, m, "plugsched guard --reset && plugsched boot --settle 1s "+dir)
		alone(t, m, next)
	})
	t.Run("clock", func(t *testing.T) {
		for _, date := range []string{"1990-01-01", "2090-01-01"} {
			ok(t, m, "date -s "+date)
			expects(t, m, "plugsched boot "+dir, 0, "is the running scheduler")
			ok(t, m, "plugsched uninstall && plugsched boot --settle 1s "+dir)
		}
	})
	t.Run("trial", func(t *testing.T) {
		ok(t, m, "plugsched try --replace --for 1h /next/../bad"+dir+"/scheduler.ko")
		expects(t, m, "/DEBIAN/prerm remove", 3, "stays installed: the scheduler "+bad+" is on trial")
		expects(t, m, "/bad/DEBIAN/preinst upgrade 1", 1, "nothing was installed")
		expects(t, m, "/DEBIAN/postinst configure 1", 3, "on trial")
		ok(t, m, "plugsched uninstall")
	})
	t.Run("another's scheduler", func(t *testing.T) {
		ok(t, m, "plugsched install /bad"+dir+"/scheduler.ko")
		for _, command := range []string{"plugsched boot " + dir, "/DEBIAN/postinst configure 1"} {
			expects(t, m, command, 3, bad+" runs, which is of no package here")
		}
		expects(t, m, "/DEBIAN/preinst install", 1, "nothing was installed")
		ok(t, m, "/DEBIAN/prerm remove")
		alone(t, m, bad)
		expects(t, m, "plugsched switch scheduler", 3, bad+" runs, which is of no package here")
		ok(t, m, "plugsched uninstall && plugsched switch --settle 1s scheduler && plugsched uninstall")
	})
	t.Run("disk", func(t *testing.T) {
		ok(t, m, "rm -rf /var/lib/plugsched && mkdir /var/lib/plugsched && mount -t tmpfs -o size=8k none /var/lib/plugsched; dd if=/dev/zero of=/var/lib/plugsched/full bs=4k || true")
		expects(t, m, "plugsched boot "+dir, 3, "the boot guard cannot be written")
		stock(t, m)
		ok(t, m, "rm /var/lib/plugsched/full && mount -o remount,ro /var/lib/plugsched")
		expects(t, m, "plugsched boot "+dir, 3, "read-only")
		stock(t, m)
		ok(t, m, "umount /var/lib/plugsched")
	})
	t.Run("chroot", func(t *testing.T) {
		ok(t, m, "mkdir /c && mount -t tmpfs none /c && mkdir /c/proc /c/sys && cp -a /bin /usr /DEBIAN /c && mount -t proc none /c/proc && mount -t sysfs none /c/sys")
		expects(t, m, "chroot /c /DEBIAN/preinst install", 0, "")
		expects(t, m, "chroot /c /DEBIAN/postinst configure ''", 0, "is installed for later: this is a chroot")
		stock(t, m)
		ok(t, m, "plugsched boot --settle 1s "+dir)
		ok(t, m, "chroot /c /DEBIAN/prerm remove")
		alone(t, m, next)
	})
	t.Run("remove", func(t *testing.T) {
		ok(t, m, "/DEBIAN/prerm remove && rm -r "+installed.Dir+" && /DEBIAN/postrm remove && test -e "+guard+" && /DEBIAN/postrm purge && test ! -e /var/lib/plugsched")
		stock(t, m)
	})
}

// TestPackageLater: where the scheduler is not to run, the package is installed all the
// same, and where it cannot, it is not.
func TestPackageLater(t *testing.T) {
	t.Parallel()
	m := boot(t, both(unpacked(t, "/", shared.work), func(c *vm.Config) { c.Append = append(c.Append, "plugsched.enable=0") }))
	dir := installed.PackageDir(shared.release, "scheduler")
	expects(t, m, "/DEBIAN/postinst configure ''", 0, "is installed for later: plugsched.enable=0 is on the kernel command line")
	expects(t, m, "plugsched boot "+dir, 0, "is not loaded: plugsched.enable=0 is on the kernel command line")
	stock(t, m)
	ok(t, m, "sed 's/ plugsched.enable=0//' /proc/cmdline > /run/cmdline && mount -o bind /run/cmdline /proc/cmdline")
	expects(t, m, "cp -a "+dir+" /x && sed -i 's/\"build_id\": \"..../\"build_id\": \"zzzz/' /x/package.json && plugsched boot /x", 3,
		"is another build of it")
	expects(t, m, "sed -i 's/\"release\": \".*\"/\"release\": \"6.1.0-1\"/' /x/package.json && plugsched package configure --first /x",
		0, "is installed for later: the running kernel is "+shared.release)
	expects(t, m, "plugsched package configure --first /nowhere", 3, "/nowhere")
	expects(t, m, "echo '{' > /x/package.json && plugsched package configure --first /x", 1, "install the package again")
	ok(t, m, "echo 1 > /proc/sys/kernel/modules_disabled")
	expects(t, m, "/DEBIAN/preinst install", 1, "modules_disabled")
	expects(t, m, "plugsched boot "+dir, 3, "modules_disabled")
	stock(t, m)
}

// TestPackageKilled: the installation is killed at every system call that has an effect;
// the next one works.
func TestPackageKilled(t *testing.T) {
	t.Parallel()
	m := boot(t, both(unpacked(t, "/", shared.work), oneCPU, with("/bin/killat", filepath.Join(shared.root, "test/killat/killat"))))
	dir := installed.PackageDir(shared.release, "scheduler")
	name := moduleName(t, shared.project.Module())
	command := "plugsched package configure --first --settle 100ms " + dir
	out := ok(t, m, "killat -e "+command)
	found := stops.FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("killat says:\n%s", out)
	}
	total, _ := strconv.Atoi(found[1])
	step := 1
	if !full {
		step = max(1, total/12)
	}
	killed := 0
	for n := 1; n <= total; n += step {
		sh(t, m, "plugsched uninstall --verify=false; rm -rf "+installed.StateDir+" "+installed.SelectionDir)
		out, code := sh(t, m, fmt.Sprintf("killat -e -k %d %s", n, command))
		if code == 0 {
			continue // a run may make fewer calls
		}
		killed++
		where := lastLine(out)
		if s := status(t, m); s.Name != "" && s.Name != name {
			t.Errorf("%s: %q runs", where, s.Name)
		}
		if out, code := sh(t, m, command); code != 0 || !strings.Contains(out, "is the running scheduler") {
			t.Errorf("%s: then exit code %d:\n%s", where, code, out)
		}
		expects(t, m, "plugsched guard", 0, "not tripped")
		if s := status(t, m); s.Name != name || s.TrialLeft != 0 {
			t.Errorf("%s, then configured: %+v", where, s)
		}
	}
	if killed == 0 {
		t.Error("it was never killed")
	}
	t.Logf("killed at %d of %d stops", killed, total)
}
