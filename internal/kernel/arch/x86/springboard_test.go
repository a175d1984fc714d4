// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// prove assembles __schedule from text and hands its code to the proof. Other
// functions that the text may call are defined behind it.
func prove(t *testing.T, text string) (*Springboard, error) {
	t.Helper()
	dir := t.TempDir()
	src := "\t.globl __schedule\n\t.type __schedule,@function\n__schedule:\n" + text + "\n\t.size __schedule, .-__schedule\n"
	for _, f := range []string{"__switch_to_asm", "finish_task_switch", "__stack_chk_fail", "__x86_return_thunk", "elsewhere"} {
		src += fmt.Sprintf("\t.type %s,@function\n%[1]s: ret\n\tint3\n\t.size %[1]s, .-%[1]s\n", f)
	}
	path := filepath.Join(dir, "a.s")
	if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"as", "-o", "a.o", "a.s"}, {"ld", "-Ttext=0xffffffff81000000", "-e", "__schedule", "-o", "a", "a.o"}} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	f, err := elf.Open(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	names := map[uint64]string{}
	var size uint64
	for _, s := range syms {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			names[s.Value] = s.Name
		}
		if s.Name == "__schedule" {
			size = s.Size
		}
	}
	sec := f.Section(".text")
	code, err := sec.Data()
	if err != nil {
		t.Fatal(err)
	}
	return ProveSpringboard(code[:size], sec.Addr, func(a uint64) string { return names[a] })
}

// framed is the shape of Debian's 6.1, with and without a branch round the switch.
const framed = `
	nopl 0(%rax,%rax,1)
	push %rbp
	mov %rsp, %rbp
	push %r15
	push %r14
	push %r13
	push %r12
	push %rbx
	sub $0x20, %rsp
	mov %edi, -0x34(%rbp)
	mov %gs:0x28, %rax
	mov %rax, -0x30(%rbp)
	xor %eax, %eax
	cmp %r13, %r12
	je 1f
	mov %r13, %rdi
	mov %r12, %rsi
	call __switch_to_asm
	mov %rax, %rdi
	call finish_task_switch
2:	mov -0x30(%rbp), %rax
	sub %gs:0x28, %rax
	jne 3f
	add $0x20, %rsp
	pop %rbx
	pop %r12
	pop %r13
	pop %r14
	pop %r15
	pop %rbp
	ret
	int3
1:	mov %ebx, %r12d
	jmp 2b
3:	call __stack_chk_fail
`

// bare has neither a frame pointer nor a canary.
const bare = `
	push %r15
	push %rbx
	sub $0x18, %rsp
	mov %rdi, 8(%rsp)
	call __switch_to_asm
	mov %rax, %rdi
	call finish_task_switch
	add $0x18, %rsp
	pop %rbx
	pop %r15
	ret
`

func TestSpringboardAccepts(t *testing.T) {
	framePushes := []string{"rbp", "r15", "r14", "r13", "r12", "rbx"}
	canary := []string{"return value (rax)", "stack protector's slot (rsp+24)", "stack protector's value"}
	tests := []struct {
		name, text string
		want       Springboard
		size       int64
	}{
		{"6.1", framed, Springboard{Pushes: framePushes, FramePtr: true, Locals: 0x20, Canary: 24, Reads: canary,
			Callees: []string{"finish_task_switch"}}, 0x20 + 48},
		{"return thunk", strings.Replace(framed, "\tret\n", "\tjmp __x86_return_thunk\n", 1),
			Springboard{Pushes: framePushes, FramePtr: true, Locals: 0x20, Canary: 24, Reads: canary,
				Callees: []string{"finish_task_switch"}}, 0x20 + 48},
		{"128 bytes", strings.NewReplacer("sub $0x20, %rsp", "add $-128, %rsp", "add $0x20, %rsp", "sub $-128, %rsp").Replace(framed),
			Springboard{Pushes: framePushes, FramePtr: true, Locals: 128, Canary: 128 - 8,
				Reads:   []string{"return value (rax)", "stack protector's slot (rsp+120)", "stack protector's value"},
				Callees: []string{"finish_task_switch"}}, 128 + 48},
		{"long displacements", strings.NewReplacer("sub $0x20, %rsp", "sub $0x120, %rsp", "add $0x20, %rsp", "add $0x120, %rsp",
			"-0x30(%rbp)", "-0x130(%rbp)").Replace(framed),
			Springboard{Pushes: framePushes, FramePtr: true, Locals: 0x120, Canary: 24, Reads: canary,
				Callees: []string{"finish_task_switch"}}, 0x120 + 48},
		{"no frame pointer, no canary", bare, Springboard{Pushes: []string{"r15", "rbx"}, Locals: 0x18, Canary: -1,
			Reads: []string{"return value (rax)"}, Callees: []string{"finish_task_switch"}}, 0x18 + 16},
		{"no frame pointer, canary", strings.NewReplacer("mov %rdi, 8(%rsp)", "mov %gs:0x28, %rax\nmov %rax, 8(%rsp)", "\tadd $0x18",
			"\tmov 8(%rsp), %rax\n\tsub %gs:0x28, %rax\n\tjne 3f\n\tadd $0x18", "\tret\n", "\tret\n3:\tcall __stack_chk_fail\n").Replace(bare),
			Springboard{Pushes: []string{"r15", "rbx"}, Locals: 0x18, Canary: 8, Reads: []string{"return value (rax)",
				"stack protector's slot (rsp+8)", "stack protector's value"}, Callees: []string{"finish_task_switch"}}, 0x18 + 16},
		{"two calls", strings.Replace(bare, "call finish_task_switch", "call finish_task_switch\n\tcall elsewhere", 1),
			Springboard{Pushes: []string{"r15", "rbx"}, Locals: 0x18, Canary: -1, Reads: []string{"return value (rax)"},
				Callees: []string{"finish_task_switch", "elsewhere"}}, 0x18 + 16},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := prove(t, tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got.Return != got.Call+5 || got.Call == 0 {
				t.Errorf("call at +%#x, return to +%#x", got.Call, got.Return)
			}
			got.Call, got.Return = 0, 0
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Error(diff)
			}
			if got.FrameSize() != tt.size {
				t.Errorf("frame of %d bytes, want %d", got.FrameSize(), tt.size)
			}
		})
	}
}

// TestSpringboardRefuses changes one thing of a good shape.
func TestSpringboardRefuses(t *testing.T) {
	tests := []struct{ name, text, from, to, want string }{
		{"reads rbx", framed, "mov %rax, %rdi", "mov %rbx, %rdi", "reads RBX"},
		{"reads part of rbx", framed, "mov %rax, %rdi", "movzbl %bl, %edi", "reads BL"},
		{"adds rbx", framed, "mov %rax, %rdi", "add %rbx, %rax", "reads RBX"},
		{"reads an argument register behind a call", framed, "2:\tmov", "\tmov %rdi, %rsi\n2:\tmov", "reads RDI"},
		{"reads another slot", framed, "mov %rax, %rdi", "mov -0x38(%rbp), %rdi", "reads the frame at rsp+16"},
		{"reads a slot by rsp", bare, "mov %rax, %rdi", "mov 8(%rsp), %rdi", "reads the frame at rsp+8"},
		{"reads memory", framed, "mov %rax, %rdi", "mov 8(%rax), %rdi", "memory outside of the frame"},
		{"reads static data", framed, "mov %rax, %rdi", "mov 0x1000, %rdi", "memory outside of the frame"},
		{"reads relative data", framed, "mov %rax, %rdi", "mov 0x1000(%rip), %rdi", "memory outside of the frame"},
		{"reads per-CPU data", framed, "mov %rax, %rdi", "mov %gs:0x1000, %rdi", "memory outside of the frame"},
		{"reads with an index", bare, "mov %rax, %rdi", "mov 8(%rsp,%rax,8), %rdi", "memory outside of the frame"},
		{"rbp is no frame pointer", bare, "mov %rax, %rdi", "mov -8(%rbp), %rdi", "memory outside of the frame"},
		{"stores into the frame", framed, "mov %rax, %rdi", "mov %rax, -0x38(%rbp)", "stores into the frame"},
		{"stores elsewhere", framed, "mov %rax, %rdi", "mov %rax, (%rax)", "memory outside of the frame"},
		{"no switch", framed, "call __switch_to_asm", "nop", "calls __switch_to_asm 0 times"},
		{"two switches", framed, "call __switch_to_asm", "call __switch_to_asm\n\tcall __switch_to_asm", "calls __switch_to_asm 2 times"},
		{"pops out of order", framed, "pop %rbx\n\tpop %r12", "pop %r12\n\tpop %rbx", "out of order"},
		{"pops too early", bare, "add $0x18, %rsp\n\tpop %rbx", "pop %rbx\n\tadd $0x18, %rsp", "out of order"},
		{"pops too much", bare, "pop %r15", "pop %r15\n\tpop %r14", "out of order"},
		{"pops too little", bare, "\tpop %r15\n", "", "returns with 1 of 2"},
		{"releases less", bare, "add $0x18", "add $0x10", "releases"},
		{"releases twice", bare, "add $0x18, %rsp", "add $0x18, %rsp\n\tadd $0x18, %rsp", "releases"},
		{"keeps the frame", bare, "\tadd $0x18, %rsp\n", "", "out of order"},
		{"jumps indirectly", bare, "\tret", "\tjmp *%rax", "jumps indirectly"},
		{"calls indirectly", bare, "call finish_task_switch", "call *%rax", "calls indirectly"},
		{"leaves for another function", bare, "\tret", "\tjmp elsewhere", `leaves for "elsewhere"`},
		{"branches on", bare, "call finish_task_switch", "call finish_task_switch\n\ttest %rax, %rax\n\tje 1f\n\tnop\n1:",
			"not the stack protector's failure"},
		{"branches to another function", bare, "call finish_task_switch", "call finish_task_switch\n\ttest %rax, %rax\n\tje elsewhere",
			"not the stack protector's failure"},
		{"loops", bare, "\tret", "9:\tjmp 9b", "longer than expected"},
		{"runs out", bare, "\tret\n", "\tnop\n", "outside of the function"},
		{"does not decode", bare, "call finish_task_switch", ".byte 0x06", "cannot decode"},
		{"canary never stored", framed, "mov %rax, -0x30(%rbp)\n\txor", "xor", "does not hold the stack protector's value"},
		{"aligned frame", bare, "\tsub $0x18", "\tand $-64, %rsp\n\tsub $0x18", "before its frame is complete"},
		{"variable frame", bare, "sub $0x18, %rsp", "sub %rax, %rsp", "not a constant"},
		{"growing frame", bare, "sub $0x18, %rsp", "add $0x18, %rsp", "not a constant"},
		{"late frame pointer", framed, "mov %rsp, %rbp\n\tpush %r15", "push %r15\n\tmov %rsp, %rbp", "not right behind"},
		{"pushes a constant", bare, "push %rbx", "push $5", "not a register"},
		{"calls before the frame", bare, "\tsub $0x18", "\tcall elsewhere\n\tsub $0x18", "before its frame is complete"},
		{"exchanges registers", bare, "mov %rax, %rdi", "xchg %rbx, %rax", "reads RBX"},
		{"moves the stack pointer", bare, "mov %rax, %rdi", "mov %rax, %rsp", ""},
		{"loads the stack pointer", bare, "mov %rax, %rdi", "lea 8(%rsp), %rsp", ""},
		{"moves the frame pointer", framed, "mov %rax, %rdi", "mov %rax, %rbp", ""},
		{"pushes", bare, "mov %rax, %rdi", "push %rax", ""},
		{"copies a block", bare, "mov %rax, %rdi", "rep movsb", ""},
		{"reads flags", bare, "mov %rax, %rdi", "cmovne %rbx, %rax", "reads RBX"},
		{"reads what a leave restores", bare, "mov %rax, %rdi", "leave", "leaves a frame"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(tt.text, tt.from, tt.to, 1)
			if text == tt.text {
				t.Fatalf("no %q", tt.from)
			}
			got, err := prove(t, text)
			if err == nil {
				t.Fatalf("accepted: %+v", got)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q", err, tt.want)
			}
		})
	}
}

// TestSpringboardAssembly: the pops mirror the pushes, the sizes are the frame's.
func TestSpringboardAssembly(t *testing.T) {
	for _, shape := range []string{framed, bare} {
		s, err := prove(t, shape)
		if err != nil {
			t.Fatal(err)
		}
		var pushes, pops []string
		text := s.Assembly()
		for _, l := range strings.Split(text, "\n") {
			if r, ok := strings.CutPrefix(l, "\tpushq\t%"); ok {
				pushes = append(pushes, r)
			}
			if r, ok := strings.CutPrefix(l, "\tpopq\t%"); ok {
				pops = append([]string{r}, pops...)
			}
		}
		if diff := cmp.Diff(s.Pushes, pushes); diff != "" {
			t.Errorf("pushes: %s", diff)
		}
		if diff := cmp.Diff(s.Pushes, pops); diff != "" {
			t.Errorf("pops, reversed: %s", diff)
		}
		want := []string{
			fmt.Sprintf("subq\t$%d, %%rsp", s.Locals), fmt.Sprintf("addq\t$%d, %%rsp", s.Locals),
			fmt.Sprintf("sp_offset=%d ", s.FrameSize()+8), fmt.Sprintf("jmp\t__orig___schedule + %d", s.Call),
			"_ASM_NOKPROBE(__schedule)", "_ASM_NOKPROBE(plugsched_switch_to)",
		}
		unwanted := []string{"%rbp", "%gs:40"}
		if s.FramePtr {
			want, unwanted = append(want, "movq\t%rsp, %rbp", fmt.Sprintf("leaq\t%d(%%rsp), %%rbp", s.FrameSize()-8),
				fmt.Sprintf("movq\t%%gs:40, %%rax\n\tmovq\t%%rax, %d(%%rsp)", s.Canary)), nil
		}
		for _, w := range want {
			if strings.Count(text, w) != 1 {
				t.Errorf("%d times %q in\n%s", strings.Count(text, w), w, text)
			}
		}
		for _, w := range unwanted {
			if strings.Contains(text, w) {
				t.Errorf("%q in\n%s", w, text)
			}
		}
	}
}
