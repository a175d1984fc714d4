// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// Before 8.1, QEMU may keep a translation of code that another virtual CPU changed
// while it was translated (accel/tcg: pages were only locked after translation). A
// CPU can then meet a breakpoint for ever that the kernel has long taken away, which
// hangs guests that patch code that others run: tracing, static keys. With one host
// thread for all CPUs nothing is changed during a translation. The same version shares counted
// instructions out among the CPUs (StarvesError).
var fixedTranslation = [2]int{8, 1}

var qemuVersion = regexp.MustCompile(`version (\d+)\.(\d+)`)

// Emulator is the first line of what QEMU says of its version.
func (m *Machine) Emulator() (string, error) {
	out, err := exec.Command(m.cfg.QEMU, "--version").Output()
	if err != nil {
		return "", &InfraError{m.cfg.QEMU + " --version", err}
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first, nil
}

// oneThread reports whether all virtual CPUs have to share a host thread.
func oneThread(qemu string) (bool, error) {
	out, err := exec.Command(qemu, "--version").Output()
	if err != nil {
		return false, &InfraError{qemu + " --version", err}
	}
	return needsOneThread(string(out))
}

func needsOneThread(version string) (bool, error) {
	m := qemuVersion.FindStringSubmatch(version)
	if m == nil {
		return false, &InfraError{"QEMU's version", fmt.Errorf("not understood: %q", version)}
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major < fixedTranslation[0] || major == fixedTranslation[0] && minor < fixedTranslation[1], nil
}
