// SPDX-License-Identifier: BSD-3-Clause

package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/live"
)

// Disable on the kernel command line keeps packages' schedulers from being loaded.
const Disable = "plugsched.enable=0"

// ThisBoot returns an identity that differs from boot to boot (drivers/char/random.c, proc_do_uuid).
func ThisBoot(h live.Host) (string, error) {
	text, err := os.ReadFile(filepath.Join(h.Root, "/proc/sys/kernel/random/boot_id"))
	return strings.TrimSpace(string(text)), err
}

// Elsewhere says why this is not the system that the package's scheduler is for, ""
// when it is.
func Elsewhere(h live.Host, p *installed.Package) (string, error) {
	if p.BPF != nil {
		return elsewhereBPF(h)
	}
	release, err := h.Release()
	if err != nil {
		return "", err
	}
	if release != p.Release {
		return "the running kernel is " + release, nil
	}
	if why := Confined(filepath.Join("/", h.Root)); why != "" {
		return why, nil
	}
	id, err := h.BuildID()
	if err != nil {
		return "", err
	}
	if id != p.BuildID {
		return fmt.Sprintf("the running kernel calls itself %s too, but is another build of it", release), nil
	}
	return "", nil
}

// elsewhereBPF is Elsewhere for schedulers in BPF, which are for any kernel that has sched_ext; one for which a module is selected
// runs that.
func elsewhereBPF(h live.Host) (string, error) {
	if why := Confined(filepath.Join("/", h.Root)); why != "" {
		return why, nil
	}
	if _, err := os.Stat(filepath.Join("/", h.Root, "sys/kernel/sched_ext/state")); err != nil {
		return "the running kernel has no sched_ext", nil
	}
	release, err := h.Release()
	if err != nil {
		return "", err
	}
	module, err := installed.Selected(h.Root, release)
	if err != nil || module == "" {
		return "", err
	}
	if _, err := os.Stat(filepath.Join("/", h.Root, installed.PackageDir(release, module))); err != nil {
		return "", nil // it is gone
	}
	return "the module " + module + " is selected for this kernel", nil
}

// Confined says what keeps this process away from the machine's own system.
func Confined(root string) string {
	init, err := os.Stat(filepath.Join(root, "proc/1/root/."))
	if err != nil {
		return "this is a chroot (/proc/1/root cannot be seen)"
	}
	own, err := os.Stat(root)
	if err != nil || !os.SameFile(init, own) {
		return "this is a chroot"
	}
	for _, mark := range []string{"run/systemd/container", ".dockerenv", "run/.containerenv"} {
		if _, err := os.Lstat(filepath.Join(root, mark)); err == nil {
			return "this is a container"
		}
	}
	return ""
}

// Disabled reports whether the administrator wants no scheduler in this boot.
func Disabled(h live.Host) bool {
	text, err := os.ReadFile(filepath.Join(h.Root, "/proc/cmdline"))
	return err == nil && slices.Contains(strings.Fields(string(text)), Disable)
}
