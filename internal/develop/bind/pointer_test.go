// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/arch"
)

// TestPointers: a function of the kernel's that has no landing instruction may be called by
// name, and by nothing else.
func TestPointers(t *testing.T) {
	const function = "\t.text\n\t.globl taker\n\t.type taker, @function\ntaker:\n\tnop\n\tTEXT\n\t.text\n\tret\n\t.size taker, .-taker\n"
	for name, tt := range map[string]struct{ text, who, why string }{
		"a call":            {"call sealed", "", ""},
		"a tail call":       {"jmp sealed", "", ""},
		"a conditional one": {"je sealed", "", ""},
		"of another":        {"lea open(%rip), %rax\n movq $open, %rcx", "", ""},
		"the runtime's own": {"plugsched_runtime_start: cmpq $copy_process, %rax\nplugsched_runtime_end:", "", ""},
		"behind its code": {"plugsched_runtime_start:\nplugsched_runtime_end: cmpq $copy_process, %rax",
			"taker", "takes the address of copy_process,"},
		"as the runtime does": {"cmpq $copy_process, %rax", "taker", "takes the address of copy_process,"},
		"of the runtime's too": {"plugsched_runtime_start: movq $sealed, %rax\nplugsched_runtime_end:",
			"taker", "takes the address of sealed,"},
		"only written":      {"movq $__SCT__call, %rsi", "", ""},
		"a static call's":   {"movq $preempt_schedule_thunk, %rsi", "", ""},
		"lea":               {"lea sealed(%rip), %rax", "taker", "takes the address of sealed,"},
		"lea of another":    {"lea sealed(%rip), %rdi", "taker", "takes the address of sealed,"},
		"an immediate":      {"movq $sealed, %rdi", "taker", "takes the address of sealed,"},
		"onto the stack":    {"pushq $sealed", "taker", "takes the address of sealed,"},
		"64 bits of it":     {"movabs $sealed, %rax", "taker", "takes the address of sealed,"},
		"the kernel's copy": {"movq $__orig_border, %rdi", "taker", "takes the address of border,"},
		"a memory operand":  {"call *sealed(%rip)", "taker", "takes the address of sealed,"},
		"data": {"ret\n.data\n.type table, @object\ntable: .quad 0, sealed\n.size table, .-table",
			"table", "takes the address of sealed,"},
		"data without a name":  {"ret\n.section .rodata\n.quad sealed", "section .rodata", "takes the address of sealed,"},
		"not loaded":           {"ret\n.section .discard.x\n.quad sealed", "", ""},
		"a distance to it":     {"ret\n.section .rodata\n.long sealed - .", "section .rodata", "takes the address of sealed,"},
		"data that looks like": {"ret\n.data\n.byte 0xe8\n.long sealed - .", "section .data", "takes the address of sealed,"},
	} {
		dir := t.TempDir()
		text := strings.Replace(function, "TEXT", tt.text, 1)
		write(t, filepath.Join(dir, "m.s"), text)
		run(t, dir, "as", "-o", "m.o", "m.s")
		u, err := asm.Parse(&arch.X86.Assembly, "m.s", []byte(strings.Replace(function, "TEXT", "nop", 1)))
		if err != nil {
			t.Fatal(err)
		}
		k := kernelOf(t, &asm.Unit{Name: unitName}, nil, nil)
		k.SetUnits(nil, map[string]*asm.Unit{unitName: u})
		got, err := k.CheckPointers(filepath.Join(dir, "m.o"), map[string]Place{"sealed": {Sealed: true}, "__orig_border": {Sealed: true},
			"copy_process": {Sealed: true}, "__SCT__call": {Sealed: true}, "preempt_schedule_thunk": {Sealed: true}, "open": {}}, &edits.Set{})
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case tt.who == "" && len(got) > 0:
			t.Errorf("%s: %v", name, got)
		case tt.who == "":
		case len(got) != 1 || got[0].Name != tt.who || !strings.Contains(got[0].String(), tt.why) || got[0].Class != Pointer:
			t.Errorf("%s: %v, want %s: %s", name, got, tt.who, tt.why)
		case tt.who == "taker" && got[0].File != unitName:
			t.Errorf("%s: in %q", name, got[0].File)
		}
	}
}
