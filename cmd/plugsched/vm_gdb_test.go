// SPDX-License-Identifier: BSD-3-Clause

package main

import "testing"

func TestAddSymbols(t *testing.T) {
	got := addSymbols("/w/scheduler.ko.debug", ".text 0x30\n.symtab 0x1\n.data 0x20\n.bss 0x10\nx\n")
	if want := "add-symbol-file /w/scheduler.ko.debug 0x30 -s .bss 0x10 -s .data 0x20\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
