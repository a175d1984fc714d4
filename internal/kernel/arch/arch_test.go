// SPDX-License-Identifier: BSD-3-Clause

package arch

import (
	"debug/elf"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestComplete: a description leaves nothing out but what it may.
func TestComplete(t *testing.T) {
	optional := []string{"Needs", "Spares", "FtraceBefore", "Landing",
		"Obstacles", "Thunks", "CallSize", "LockSize", "Append", "HostClock", "Symbol",
		"Restarts", "Unread", "Seals", "UserFault", "Compared", "Bound", "Records"}
	var look func(name string, v reflect.Value)
	look = func(name string, v reflect.Value) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			switch {
			case f.Type.Kind() == reflect.Struct:
				look(name+"."+f.Name, v.Field(i))
			case v.Field(i).IsZero() && !slices.Contains(optional, f.Name):
				t.Errorf("%s.%s is missing", name, f.Name)
			}
		}
	}
	for _, a := range All {
		look(a.Title, reflect.ValueOf(*a))
	}
}

func TestFind(t *testing.T) {
	if a, err := Of(elf.EM_X86_64); err != nil || a != X86 {
		t.Errorf("%v, %v", a, err)
	}
	if a, err := Of(elf.EM_AARCH64); err != nil || a != ARM64 {
		t.Errorf("%v, %v", a, err)
	}
	if a, err := Named("x86"); err != nil || a != X86 {
		t.Errorf("%v, %v", a, err)
	}
	image := make([]byte, 4096)
	if a := Booting(image); a != nil {
		t.Errorf("zeros are a boot image of %v", a.Title)
	}
	copy(image[0x202:], "HdrS")
	if a := Booting(image); a != X86 {
		t.Errorf("%v", a)
	}
	image = make([]byte, 4096)
	copy(image[0x38:], "ARM\x64")
	if a := Booting(image); a != ARM64 {
		t.Errorf("%v", a)
	}
	for release, want := range map[string]*Arch{"6.1.0-57-cloud-amd64": X86, "6.12.41+deb13-arm64": ARM64, "6.1.192": nil, "amd64": nil} {
		if got := OfRelease(release); got != want {
			t.Errorf("%s: %v", release, got)
		}
	}
	for _, f := range []func() (*Arch, error){func() (*Arch, error) { return Of(elf.EM_S390) },
		func() (*Arch, error) { return Named("s390") }} {
		if a, err := f(); a != nil || err == nil || !strings.Contains(strings.ToLower(err.Error()), "s390 is not supported; supported: x86-64") {
			t.Errorf("%v, %v", a, err)
		}
	}
}

func TestSyscallName(t *testing.T) {
	for name, want := range map[string]string{"__x64_sys_nice": "nice", "__do_sys_nice": "nice", "__se_compat_sys_f": "f",
		"__ia32_compat_sys_f": "f", "schedule": "schedule", "sys_nice": "sys_nice"} {
		if got := X86.SyscallName(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestJumpOffset(t *testing.T) {
	landing := append([]byte(nil), X86.Landing...)
	for _, tt := range []struct {
		site int
		head []byte
		want int
	}{{0, nil, 5}, {4, landing, 9}, {-1, landing, 4}, {-1, []byte{0x90, 0x90, 0x90, 0x90}, 0}, {-1, landing[:2], 0}} {
		if got := X86.JumpOffset(tt.site, tt.head); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}
