// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"runtime"
	"strings"
	"testing"

	"plugsched/internal/kernel/arch"
)

// TestHostClock: a kernel is told the host's frequency exactly if it sees the host's counter.
func TestHostClock(t *testing.T) {
	if runtime.GOARCH != arch.X86.Package {
		t.Skip("the host has no counter that a guest would see")
	}
	has := func(c *Config) bool {
		return strings.Contains(strings.Join(c.commandLine(arch.X86), " "), "tsc_early_khz=")
	}
	if !has(&Config{Accel: "tcg"}) || has(&Config{Accel: "tcg", ICount: true}) || has(&Config{Accel: "kvm"}) {
		t.Error("a kernel is told the host's frequency exactly if it sees the host's counter")
	}
}
