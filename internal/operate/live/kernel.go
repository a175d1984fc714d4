// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"plugsched/internal/elffile"

	"golang.org/x/sys/unix"
)

// Host is a machine, and the one handle of it: its /proc, /sys, /dev and /run are below
// Root; "" is this machine. Tests make one up, which is looked at only: no module of it can
// be loaded.
type Host struct{ Root string }

func (h Host) path(name string) string { return h.Root + name }

// text returns a file without the white space around it, "" when it cannot be read.
func (h Host) text(name string) string {
	text, _ := os.ReadFile(h.path(name))
	return strings.TrimSpace(string(text))
}

// Release returns the running kernel's release, as uname -r (kernel/utsname_sysctl.c,
// osrelease).
func (h Host) Release() (string, error) {
	text, err := os.ReadFile(h.path("/proc/sys/kernel/osrelease"))
	return strings.TrimSpace(string(text)), err
}

// BuildID returns the running kernel's GNU build-id.
func (h Host) BuildID() (string, error) {
	notes, err := os.ReadFile(h.path("/sys/kernel/notes"))
	if err != nil {
		return "", err
	}
	id, ok := elffile.BuildID(notes, binary.LittleEndian)
	if !ok {
		return "", errors.New("/sys/kernel/notes: holds no GNU build-id")
	}
	return id, nil
}

// matchAddresses makes sure that the running kernel's symbols are as far apart as at
// link: witnesses maps names to link addresses.
func (h Host) matchAddresses(witnesses map[string]uint64) error {
	text, err := os.ReadFile(h.path(kallsyms))
	if err != nil {
		return err
	}
	found, err := addresses(text, witnesses, true)
	if err != nil {
		return err
	}
	running := make(map[string]uint64, len(found))
	for name, addrs := range found {
		running[name] = addrs[0]
	}
	return matchWitnesses(running, witnesses)
}

func matchWitnesses(running, witnesses map[string]uint64) error {
	if len(witnesses) == 0 {
		return &Finding{Problem: "the module names no symbol to check the kernel by", Fix: "build it again"}
	}
	var offset uint64
	first, firstName := true, ""
	for _, name := range slices.Sorted(maps.Keys(witnesses)) {
		addr, ok := running[name]
		switch {
		case !ok:
			return &Finding{Problem: "/proc/kallsyms has no " + name, Fix: "this is not the kernel that the module was built for"}
		case addr == 0:
			return &Finding{Problem: "/proc/kallsyms shows no addresses", Fix: "set kernel.kptr_restrict to 0 or 1 for the time of the install"}
		case first:
			offset, first, firstName = addr-witnesses[name], false, name
		case addr-witnesses[name] != offset:
			return &Finding{Problem: name + " and " + firstName + " are not as far apart as in the kernel that the module was built for",
				Fix: rebuild}
		}
	}
	return nil
}

// BootID names the machine's present boot (drivers/char/random.c, proc_do_uuid).
func (h Host) BootID() string { return h.text("/proc/sys/kernel/random/boot_id") }

// Boottime is how long ago the machine booted, suspensions included: a clock that nobody
// can set.
func Boottime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0 // no kernel is without it
	}
	return time.Duration(t.Nano())
}

// lockdown returns the kernel's lockdown mode: "none", "integrity" or
// "confidentiality" (security/lockdown/lockdown.c).
func (h Host) lockdown() string {
	for _, w := range strings.Fields(h.text("/sys/kernel/security/lockdown")) {
		if strings.HasPrefix(w, "[") {
			return strings.Trim(w, "[]")
		}
	}
	return "none"
}

// signaturesForced reports whether only signed modules may be loaded
// (kernel/module/signing.c, sig_enforce).
func (h Host) signaturesForced() bool {
	return h.text("/sys/module/module/parameters/sig_enforce") == "Y"
}

// modulesDisabled reports kernel.modules_disabled.
func (h Host) modulesDisabled() bool {
	return h.text("/proc/sys/kernel/modules_disabled") == "1"
}

// MaySysModule reports whether this process holds CAP_SYS_MODULE.
func (h Host) MaySysModule() bool {
	text, err := os.ReadFile(h.path("/proc/self/status"))
	if err != nil {
		return os.Geteuid() == 0
	}
	for _, l := range strings.Split(string(text), "\n") {
		if v, ok := strings.CutPrefix(l, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return err == nil && caps&(1<<unix.CAP_SYS_MODULE) != 0
		}
	}
	return false
}

// livepatched returns the functions of the list that a livepatch replaces.
// (Documentation/ABI/testing/sysfs-kernel-livepatch: PATCH/OBJECT/FUNCTION,POS.)
func (h Host) livepatched(functions []string) []string {
	dirs, _ := filepath.Glob(h.path("/sys/kernel/livepatch/*/vmlinux/*"))
	var out []string
	for _, d := range dirs {
		name, _, _ := strings.Cut(filepath.Base(d), ",")
		if slices.Contains(functions, name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
