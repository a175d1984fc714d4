// SPDX-License-Identifier: BSD-3-Clause

package parts

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMissing: what is there is found where distributions and the kernel's own build leave it.
func TestMissing(t *testing.T) {
	const release = "6.6.9-mine"
	for _, tt := range []struct {
		name, want string
		files      []string
	}{
		{"nothing", "of 6.6.9-mine this machine lacks vmlinux with debug information, headers and source", nil},
		{"another's", "of 6.6.9-mine this machine lacks vmlinux with debug information, headers and source",
			[]string{"usr/lib/debug/boot/vmlinux-6.6.8"}},
		{"Debian's or Ubuntu's", "of 6.6.9-mine this machine has vmlinux with debug information (/usr/lib/debug/boot/vmlinux-6.6.9-mine)" +
			" and headers (/usr/src/linux-headers-6.6.9-mine) and lacks source",
			[]string{"usr/lib/debug/boot/vmlinux-6.6.9-mine", "usr/src/linux-headers-6.6.9-mine/include/generated/utsrelease.h"}},
		{"Fedora's", "of 6.6.9-mine this machine has vmlinux with debug information (/usr/lib/debug/lib/modules/6.6.9-mine/vmlinux)" +
			" and lacks headers and source",
			[]string{"usr/lib/debug/lib/modules/6.6.9-mine/vmlinux", "lib/modules/6.6.9-mine/build/Makefile"}},
		{"a built tree", "all that is needed of 6.6.9-mine is here: vmlinux with debug information (/lib/modules/6.6.9-mine/build/vmlinux)," +
			" headers (/lib/modules/6.6.9-mine/build), source (/lib/modules/6.6.9-mine/build)",
			[]string{"lib/modules/6.6.9-mine/build/vmlinux", "lib/modules/6.6.9-mine/build/include/generated/utsrelease.h",
				"lib/modules/6.6.9-mine/build/kernel/sched/core.c"}},
	} {
		root := t.TempDir()
		for _, f := range tt.files {
			path := filepath.Join(root, f)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := Missing(root, release); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
