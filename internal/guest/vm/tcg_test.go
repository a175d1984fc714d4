// SPDX-License-Identifier: BSD-3-Clause

package vm

import "testing"

func TestNeedsOneThread(t *testing.T) {
	for version, want := range map[string]bool{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright": true,
		"QEMU emulator version 8.0.5":                  true,
		"QEMU emulator version 8.1.0":                  false,
		"QEMU emulator version 10.0.2 (Debian 1:10.0)": false,
	} {
		if got, err := needsOneThread(version); err != nil || got != want {
			t.Errorf("%s: %v, %v", version, got, err)
		}
	}
	if _, err := needsOneThread("BusyBox v1.35"); err == nil {
		t.Error("no version, no error")
	}
}
