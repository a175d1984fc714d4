// SPDX-License-Identifier: BSD-3-Clause

package needs

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/kernel/arch"
)

// good is a configuration of an architecture that has all that is needed and nothing else.
func good(a *arch.Arch) map[string]string {
	c := map[string]string{"CONFIG_CC_VERSION_TEXT": `"gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"`, "CONFIG_HZ": "250"}
	for _, n := range neededFor(a) {
		if !n.Not {
			c["CONFIG_"+n.Name] = "y"
		}
	}
	c["CONFIG_"+a.Option] = "y"
	return c
}

func write(t *testing.T, c map[string]string) string {
	t.Helper()
	text := "# CONFIG_PREEMPT_RT is not set\n\n"
	for _, k := range slices.Sorted(maps.Keys(c)) {
		text += k + "=" + c[k] + "\n"
	}
	path := filepath.Join(t.TempDir(), ".config")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestEach: each option for itself, the wrong way round, is found, and named with what to do.
func TestEach(t *testing.T) {
	for _, a := range arch.All {
		t.Run(a.Name, func(t *testing.T) { each(t, a) })
	}
}

func each(t *testing.T, a *arch.Arch) {
	if err := Check(write(t, good(a))); err != nil {
		t.Errorf("one that will do: %v", err)
	}
	for _, n := range neededFor(a) {
		c, name := good(a), "CONFIG_"+n.Name
		delete(c, name)
		if n.Not {
			c[name] = "y"
		}
		path := write(t, c)
		err := Check(path)
		var found *Error
		if !errors.As(err, &found) || len(found.Faults) != 1 || found.Faults[0].Option != name {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, part := range []string{path, name, n.Why, n.Where} {
			if part == "" || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q lacks %q", name, err, part)
			}
		}
	}
}

// TestARM64: what the runtime for arm64 is not made for is refused, and the reason is named.
func TestARM64(t *testing.T) {
	for name, why := range map[string]string{
		"CONFIG_PREEMPTION":        "the frame records that stacks are walked by may be half made",
		"CONFIG_ARM64_BTI_KERNEL":  "without landing instructions",
		"CONFIG_SHADOW_CALL_STACK": "return addresses are on a second stack",
	} {
		c := good(arch.ARM64)
		c[name] = "y"
		err := Check(write(t, c))
		if err == nil || !strings.Contains(err.Error(), name+"=y, it has to be n") || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, expected %q", name, err, why)
		}
	}
	c := good(arch.ARM64)
	delete(c, "CONFIG_FRAME_POINTER")
	if err := Check(write(t, c)); err == nil || !strings.Contains(err.Error(), "stacks are walked by frame records") {
		t.Errorf("without frame pointers: %v", err)
	}
}

// TestAll: all that is wrong is said at once, a line for each.
func TestAll(t *testing.T) {
	err := Check(write(t, map[string]string{"CONFIG_64BIT": "y", "CONFIG_RT_GROUP_SCHED": "y", "CONFIG_DEBUG_INFO": "y"}))
	if lines := strings.Count(err.Error(), "\n"); lines < 8 || strings.Contains(err.Error(), "CONFIG_DEBUG_INFO=") ||
		!strings.Contains(err.Error(), "CONFIG_RT_GROUP_SCHED=y, it has to be n") {
		t.Errorf("%d lines: %v", lines, err)
	}
}

func TestCompiler(t *testing.T) {
	c, err := ReadConfig(write(t, good(arch.X86)))
	if err != nil || c.Compiler() != "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0" || c["CONFIG_PREEMPT_RT"] != "" {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := ReadConfig(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Errorf("error %v", err)
	}
}
