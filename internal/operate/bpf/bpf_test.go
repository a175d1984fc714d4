// SPDX-License-Identifier: BSD-3-Clause

package bpf

import (
	"testing"
)

func TestOn(t *testing.T) {
	list := []Program{
		{ID: 3, Name: "agent", Kind: "fexit", Function: "do_nanosleep", key: key(1, 0x10)},
		{ID: 5, Name: "other", Kind: "fmod_ret", Function: "vfs_read", key: key(1, 0x20)},
		{ID: 9, Name: "second", Kind: "fexit", Function: "do_nanosleep", key: key(1, 0x10)},
	}
	const stack = "[<0>] hrtimer_nanosleep+0x1/0x2\n[<0>] bpf_trampoline_4294967312+0x47/0x1000\n" +
		"\tbpf_trampoline_6442450960_0+0x47/0x1000 [bpf]\n\tbpf_trampoline_77+0x1/0x2\n\tnobpf_trampoline_6442450976\n"
	found, others := On(stack, list)
	if len(found) != 2 || found[0].ID != 3 || found[1].ID != 9 || len(others) != 1 || others[0] != "bpf_trampoline_77" {
		t.Errorf("found %v, others %v", found, others)
	}
	const want = "BPF program 3 (agent, fexit of do_nanosleep), BPF program 9 (second, fexit of do_nanosleep)"
	if got := Names(found); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if found, others := On("do_nanosleep", list); len(found)+len(others) != 0 {
		t.Errorf("no trampoline: %v, %v", found, others)
	}
}
