// SPDX-License-Identifier: BSD-3-Clause

package live

import "testing"

func TestComplains(t *testing.T) {
	for _, tt := range []struct {
		text               string
		kernel, complaints bool
	}{
		{"1,506,5140900,-;BUG: kernel NULL pointer dereference, address: 0000000000000010\n", true, true},
		{"4,506,5140900,-;WARNING: CPU: 0 PID: 1 at kernel/sched/core.c:5\n SUBSYSTEM=x\n", true, true},
		{"0,1,2,-;watchdog: BUG: soft lockup - CPU#0 stuck for 26s!\n", true, true},
		{"6,507,5140900,-;BUG:[77]: segfault at 0 ip 0 sp 0 error 4 in a[0+1]\n", true, false}, // a program called "BUG:"
		{"6,508,5140901,-;plugsched: installed: 2 CPUs\n", true, false},
		{"12,509,5140902,-;BUG: written by a user\n", false, false},
		{"noise", false, false},
		{"", false, false},
	} {
		r, kernel := parseRecord(tt.text)
		if kernel != tt.kernel || kernel && r.complains() != tt.complaints {
			t.Errorf("%q: %+v, of the kernel %v, complaint %v", tt.text, r, kernel, r.complains())
		}
	}
}
