// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"plugsched/internal/buildid"

	"golang.org/x/sys/unix"
)

// Release returns the running kernel's release, as uname -r.
func Release() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// BuildID returns the running kernel's GNU build-id (/sys/kernel/notes).
func BuildID() (string, error) {
	notes, err := os.ReadFile("/sys/kernel/notes")
	if err != nil {
		return "", err
	}
	id, ok := buildid.Parse(notes, binary.LittleEndian)
	if !ok {
		return "", errors.New("/sys/kernel/notes: holds no GNU build-id")
	}
	return id, nil
}

// checkAddresses makes sure that the running kernel's symbols are as far apart as at
// link: witnesses maps names to link addresses.
func checkAddresses(witnesses map[string]uint64) error {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return err
	}
	defer f.Close()
	running, err := readKallsyms(bufio.NewScanner(f), witnesses)
	if err != nil {
		return err
	}
	return matchWitnesses(running, witnesses)
}

func readKallsyms(in *bufio.Scanner, want map[string]uint64) (map[string]uint64, error) {
	out := map[string]uint64{}
	for in.Scan() && len(out) < len(want) {
		f := bytes.Fields(in.Bytes())
		if len(f) != 3 {
			if len(f) == 4 {
				break // modules follow the kernel
			}
			continue
		}
		name := string(f[2])
		if _, ok := want[name]; !ok {
			continue
		}
		addr, err := strconv.ParseUint(string(f[0]), 16, 64)
		if err != nil {
			return nil, errors.New("/proc/kallsyms: unreadable line")
		}
		out[name] = addr
	}
	return out, in.Err()
}

func matchWitnesses(running, witnesses map[string]uint64) error {
	if len(witnesses) == 0 {
		return precondition("the module names no symbol to check the kernel by: build it again")
	}
	var offset uint64
	first, firstName := true, ""
	for name, link := range witnesses {
		addr, ok := running[name]
		switch {
		case !ok:
			return precondition("/proc/kallsyms has no %s: this is not the kernel that the module was built for", name)
		case addr == 0:
			return precondition("/proc/kallsyms shows no addresses: set kernel.kptr_restrict to 0 or 1 for the time of the install")
		case first:
			offset, first, firstName = addr-link, false, name
		case addr-link != offset:
			return precondition("%s and %s are not as far apart as in the kernel that the module was built for", name, firstName)
		}
	}
	return nil
}

// lockdown returns the kernel's lockdown mode: "none", "integrity" or
// "confidentiality" (security/lockdown/lockdown.c).
func lockdown() string {
	text, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return "none"
	}
	for _, w := range strings.Fields(string(text)) {
		if strings.HasPrefix(w, "[") {
			return strings.Trim(w, "[]")
		}
	}
	return "none"
}

// signaturesForced reports whether only signed modules may be loaded
// (kernel/module/signing.c, sig_enforce).
func signaturesForced() bool {
	text, err := os.ReadFile("/sys/module/module/parameters/sig_enforce")
	return err == nil && strings.TrimSpace(string(text)) == "Y"
}

// modulesDisabled reports kernel.modules_disabled.
func modulesDisabled() bool {
	text, err := os.ReadFile("/proc/sys/kernel/modules_disabled")
	return err == nil && strings.TrimSpace(string(text)) == "1"
}

// maySysModule reports whether this process holds CAP_SYS_MODULE.
func maySysModule() bool {
	text, err := os.ReadFile("/proc/self/status")
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
func livepatched(functions []string) []string {
	dirs, _ := filepath.Glob("/sys/kernel/livepatch/*/vmlinux/*")
	var out []string
	for _, d := range dirs {
		name, _, _ := strings.Cut(filepath.Base(d), ",")
		if slices.Contains(functions, name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
