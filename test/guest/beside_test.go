// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/guest/vm"
)

// renamed is unpacked for the package of a scheduler of another name.
func renamed(t *testing.T, guestDir, work, name string) func(*vm.Config) {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf(`dpkg-deb -R "$(ls -t "$2"/scheduler-%[1]s_*.deb | head -1)" "$1/x"; cd "$1/x"
		sed -i 's/scheduler-%[1]s/%[2]s-%[1]s/g; s#%[1]s/scheduler\b#%[1]s/%[2]s#g; s/switch scheduler/switch %[2]s/g
			s/"scheduler": "scheduler"/"scheduler": "%[2]s"/' DEBIAN/p* usr/lib/plugsched/*/*/package.json usr/lib/plugsched/*/*/*.service
		sed -i 's/^Package: .*/Package: %[2]s-%[1]s/' DEBIAN/control; rm -f DEBIAN/conffiles; mv usr/lib/plugsched/%[1]s/scheduler usr/lib/plugsched/%[1]s/%[2]s
		dpkg-deb --root-owner-group -b . "$1/scheduler-%[1]s_1_amd64.deb"`, shared.release, name)
	if out, err := exec.CommandContext(t.Context(), "sh", "-ec", script, "sh", dir, work).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(dir, "x")); err != nil {
		t.Fatal(err)
	}
	return unpacked(t, guestDir, dir)
}

// TestBeside does with two packages for one kernel what dpkg does, and switches between them: one is selected, and
// whatever fails, or is killed, leaves that one running and selected.
func TestBeside(t *testing.T) {
	t.Parallel()
	otherKo := variant(t, otherPatch)
	first, other := moduleName(t, shared.project.Module()), moduleName(t, otherKo)
	m := boot(t, both(unpacked(t, "/a", shared.work), renamed(t, "/b", filepath.Dir(otherKo), "fast")))
	install := func(pkg string) string {
		t.Helper()
		return ok(t, m, fmt.Sprintf("/%[1]s/DEBIAN/preinst install && cp -a /%[1]s/usr / && /%[1]s/DEBIAN/postinst configure ''", pkg))
	}
	install("a")
	alone(t, m, first)
	if out, want := install("b"), "is installed beside scheduler, which is selected: `plugsched switch fast`"; !strings.Contains(out, want) {
		t.Errorf("no %q in %s", want, out)
	}
	alone(t, m, first)
	expects(t, m, "plugsched switch nosuch", 3, "there are fast, scheduler")
	expects(t, m, "plugsched boot "+installed.PackageDir(shared.release, "fast"), 3, "scheduler is selected for this kernel")

	expects(t, m, "plugsched switch --settle 1s fast", 0, "is the running scheduler ("+other)
	alone(t, m, other)
	if s := status(t, m); s.Timings.Direction != "replace" {
		t.Errorf("not in one step: %+v", s.Timings)
	}
	expects(t, m, "plugsched boot /etc/plugsched/"+shared.release, 0, "is the running scheduler ("+other)

	t.Run("killed", func(t *testing.T) {
		state := "/sys/module/" + first + "/plugsched/state"
		ok(t, m, "plugsched switch --trial 10s --settle 9s scheduler > /dev/null 2>&1 & "+
			"until grep -q '^active' "+state+"; do sleep 0.1; done; kill -9 $!; until grep -q 'rolled back' "+state+"; do sleep 0.1; done")
		if s := status(t, m); s.Name != other {
			t.Errorf("%q runs", s.Name)
		}
		expects(t, m, "plugsched uninstall; plugsched boot --settle 1s /etc/plugsched/"+shared.release, 0, "is the running scheduler ("+other)
		alone(t, m, other)
	})
	t.Run("a boot in between", func(t *testing.T) {
		// What the disk says after a power cut in the middle of that trial.
		ok(t, m, "sed -i 's/\"boot_id\": \"../\"boot_id\": \"zz/' "+installed.GuardFile("scheduler-"+shared.release))
		expects(t, m, "plugsched switch scheduler", 3, "`plugsched guard --reset scheduler`\nfast stays selected")
		alone(t, m, other)
		expects(t, m, "plugsched guard", 0, "not tripped")
		ok(t, m, "plugsched guard --reset scheduler && plugsched switch --settle 1s scheduler")
		alone(t, m, first)
	})
	t.Run("no room", func(t *testing.T) {
		ok(t, m, "mount -o bind /etc/plugsched /etc/plugsched && mount -o remount,bind,ro /etc/plugsched")
		expects(t, m, "plugsched switch fast", 3, "nothing was changed, because the selection cannot be written")
		alone(t, m, first)
		ok(t, m, "umount /etc/plugsched")
	})
	remove := func(pkg, name string) {
		t.Helper()
		ok(t, m, fmt.Sprintf("/%s/DEBIAN/prerm remove && rm -r %s && /%[1]s/DEBIAN/postrm remove", pkg, installed.PackageDir(shared.release, name)))
	}
	remove("a", "scheduler")
	stock(t, m)
	expects(t, m, "plugsched status", 0, "installed:  fast ")
	expects(t, m, "plugsched boot "+installed.PackageDir(shared.release, "fast"), 3, "no scheduler is selected for this kernel")
	ok(t, m, "plugsched switch --settle 1s fast")
	install("a")
	remove("a", "scheduler") // it is not selected: nothing changes
	alone(t, m, other)
	expects(t, m, "plugsched switch --none", 0, "no scheduler is selected")
	stock(t, m)
	remove("b", "fast")
	ok(t, m, "/a/DEBIAN/postrm purge && /b/DEBIAN/postrm purge && test ! -e /etc/plugsched && test ! -e /var/lib/plugsched && test ! -e "+
		installed.UnitFile(shared.release))
}
