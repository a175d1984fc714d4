// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/kernel/arch/isa"
)

// A shape is a __schedule in assembly, and what its debug information says of the frame
// behind the context switch. Where it has labels key and key_target, a static key is.
type shape struct {
	text  string
	frame isa.Frame
}

// routine assembles a shape. Other functions that the text may call are defined behind it.
func (s shape) routine(t testing.TB) *isa.Routine {
	t.Helper()
	dir := t.TempDir()
	src := "\t.globl __schedule\n\t.type __schedule,@function\n__schedule:\n" + s.text + "\n\t.size __schedule, .-__schedule\n"
	for _, f := range []string{"__switch_to_asm", "finish_task_switch", "__stack_chk_fail", "__x86_return_thunk",
		"__x86_indirect_thunk_rax", "__x86_indirect_thunk_rbx", "elsewhere"} {
		src += fmt.Sprintf("\t.type %s,@function\n%[1]s: ret\n\tint3\n\t.size %[1]s, .-%[1]s\n", f)
	}
	src += "\t.globl __ref_stack_chk_guard\n\t.set __ref_stack_chk_guard, __schedule + 0x10000\n"
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
	names, at, size := map[uint64]string{}, map[string]uint64{}, uint64(0)
	for _, s := range syms {
		at[s.Name] = s.Value
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			names[s.Value] = s.Name
		}
		if s.Name == "__schedule" {
			size = s.Size
		}
	}
	code, err := f.Section(".text").Data()
	if err != nil {
		t.Fatal(err)
	}
	entry := f.Section(".text").Addr
	return &isa.Routine{
		Text: &isa.Text{
			Bytes: func(a uint64) []byte {
				if a-entry >= uint64(len(code)) {
					return nil
				}
				return code[a-entry : min(a-entry+MaxInstruction, uint64(len(code)))]
			},
			Within:   func(a uint64) bool { return a-entry < size },
			Patched:  func(a uint64) (uint64, bool) { return at["key_target"], at["key"] != 0 && a == at["key"] },
			Returns:  func(a uint64) bool { return names[a] != "__stack_chk_fail" },
			Replaced: func(a uint64, n int) bool { r := at["replaced"]; return r != 0 && r >= a && r < a+uint64(n) },
		},
		Entry: entry,
		Frame: func(uint64) (*isa.Frame, error) {
			c := s.frame
			c.Saved = maps.Clone(c.Saved)
			return &c, nil
		},
		Name: func(a uint64) string { return names[a] },
		Symbols: func(a uint64) []string {
			if names[a] == "__x86_indirect_thunk_rax" { // the first of several
				return []string{"__x86_indirect_thunk_array", names[a]}
			}
			if a == at["__ref_stack_chk_guard"] {
				return []string{"__another", "__ref_stack_chk_guard"}
			}
			return []string{names[a]}
		},
	}
}

func prove(t *testing.T, s shape) (*Springboard, error) {
	t.Helper()
	return ProveSpringboard(s.routine(t))
}

// saved are registers by DWARF's numbers, from below the return address on.
func saved(registers ...int) map[int]int64 {
	out := map[int]int64{}
	for i, r := range registers {
		out[r] = int64(-16 - 8*i)
	}
	return out
}

// framed is the shape of Debian's 6.1 and 6.12.
var framed = shape{frame: isa.Frame{Base: 6, Offset: 16, Saved: saved(6, 15, 14, 13, 12, 3)}, text: `
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
`}

// shadowed is that of a kernel with KASAN.
var shadowed = shape{frame: framed.frame, text: strings.NewReplacer("\tmov %edi, -0x34(%rbp)\n", `	lea -0x40(%rbp), %rax
	shr $3, %rax
	mov %rax, %rcx
	mov %rax, -0x48(%rbp)
	movl $0xf1f1f1f1, 0x3000(%rcx)
`, "2:\tmov", `2:	mov -0x48(%rbp), %rcx
	movabs $0xdffffc0000000000, %rax
	movq $0, (%rcx,%rax,1)
	mov`).Replace(framed.text)}

// callbacks is that of 5.10, which goes on to what waits for the lock to be free.
var callbacks = shape{frame: framed.frame, text: strings.Replace(framed.text, "2:\tmov", `	mov %rax, %r15
	mov 0x10(%r15), %rax
	test %rax, %rax
	jne 4f
2:	mov`, 1) + `4:	mov %rax, %rbx
	mov %r15, %rdi
	call elsewhere
5:	mov (%rbx), %rax
	mov 8(%rbx), %r12
	movq $0, (%rbx)
	mov %r15, %rdi
	call __x86_indirect_thunk_rax
	mov %r12, %rbx
	test %rbx, %rbx
	jne 5b
	mov %r15, %rdi
	call *0x18(%r15)
	jmp 2b
`}

// moved is that of 7.2 and 7.3: registers are saved where locals are, behind the first
// branch, and a trace event's static key is on the way out.
var moved = shape{frame: isa.Frame{Base: 6, Offset: 16, Saved: saved(6, 15, 14, 13, 12, 3)}, text: `
	push %rbp
	mov %rsp, %rbp
	sub $0x50, %rsp
	mov %gs:__ref_stack_chk_guard(%rip), %rax
	mov %rax, -0x30(%rbp)
	test %edi, %edi
	je 1f
	mov %r15, -0x08(%rbp)
	mov %r14, -0x10(%rbp)
	mov %r13, -0x18(%rbp)
	mov %r12, -0x20(%rbp)
	mov %rbx, -0x28(%rbp)
	mov %rbx, %rdi
	call __switch_to_asm
	mov %rax, %rdi
	call finish_task_switch
	mov $1, %al
key:	.byte 0x0f, 0x1f, 0x44, 0, 0
6:	mov -0x28(%rbp), %rbx
	mov -0x20(%rbp), %r12
	mov -0x18(%rbp), %r13
	mov -0x10(%rbp), %r14
	mov -0x08(%rbp), %r15
1:	mov -0x30(%rbp), %rax
	sub %gs:__ref_stack_chk_guard(%rip), %rax
	jne 3f
	leave
	ret
3:	mov %r15, -0x08(%rbp)
	call __stack_chk_fail
key_target:
	movzbl %al, %ebx
	mov %ebx, %edi
	mov %gs:0x2000(%rip), %eax
	bt %rax, 0x3000(%rip)
	jae 6b
	call elsewhere
	mov %ebx, -0x38(%rbp)
	mov -0x38(%rbp), %esi
	jmp 6b
`}

// bare has neither a frame pointer nor a canary.
var bare = shape{frame: isa.Frame{Base: 7, Offset: 0x50, Saved: saved(15, 14, 13, 12, 6, 3)}, text: `
	push %r15
	push %r14
	push %r13
	push %r12
	push %rbp
	push %rbx
	sub $0x18, %rsp
	mov %rdi, 8(%rsp)
	call __switch_to_asm
	mov %rax, %rdi
	call finish_task_switch
	add $0x18, %rsp
	pop %rbx
	pop %rbp
	pop %r12
	pop %r13
	pop %r14
	pop %r15
	ret
`}

// with changes a shape's text.
func (s shape) with(oldnew ...string) shape {
	s.text = strings.NewReplacer(oldnew...).Replace(s.text)
	return s
}

func TestSpringboardAccepts(t *testing.T) {
	slots := []Slot{{"rbp", -16}, {"r15", -24}, {"r14", -32}, {"r13", -40}, {"r12", -48}, {"rbx", -56}}
	bareSlots := []Slot{{"r15", -16}, {"r14", -24}, {"r13", -32}, {"r12", -40}, {"rbp", -48}, {"rbx", -56}}
	reads := []string{"return value (rax)", "saved registers"}
	guarded := func(at int) []string {
		return append(reads[:2:2], fmt.Sprintf("stack protector's slot (rsp+%d)", at), "stack protector's value")
	}
	finish := []string{"finish_task_switch"}
	plain := Springboard{Depth: 0x20 + 56, FramePtr: true, Saved: slots, Canary: -64, Guard: "%gs:40", GuardAt: 40,
		Reads: guarded(24), Callees: finish}
	large := plain
	large.Depth, large.Reads = 128+56, guarded(120)
	long := plain
	long.Depth, long.Canary = 0x120+56, -0x140
	calls := plain
	calls.Callees = []string{"__stack_chk_fail", "elsewhere", "finish_task_switch"}
	plain.Callees = []string{"__stack_chk_fail", "finish_task_switch"}
	cleared := plain
	cleared.Shadow, cleared.Reads = &Shadow{At: -0x58, Of: -0x50, Shift: 3}, append(guarded(24), "frame's address in its shadow (rsp+0)")
	large.Callees, long.Callees = plain.Callees, plain.Callees
	tests := []struct {
		name  string
		shape shape
		want  Springboard
	}{
		{"6.1", framed, plain},
		{"return thunk", framed.with("\tret\n", "\tjmp __x86_return_thunk\n"), plain},
		{"128 bytes", framed.with("sub $0x20, %rsp", "add $-128, %rsp", "add $0x20, %rsp", "sub $-128, %rsp"), large},
		{"long displacements", framed.with("sub $0x20, %rsp", "sub $0x120, %rsp", "add $0x20, %rsp", "add $0x120, %rsp",
			"-0x30(%rbp)", "-0x130(%rbp)"), long},
		{"5.10", callbacks, calls},
		{"7.3", moved, Springboard{Depth: 0x50 + 16, FramePtr: true, Canary: -64, Guard: "%gs:__ref_stack_chk_guard(%rip)", GuardAt: -0x7eff0000,
			Saved: slots, Reads: guarded(0x20), Callees: calls.Callees}},
		{"no frame pointer, no canary", bare, Springboard{Depth: 0x50, Saved: bareSlots, Reads: reads, Callees: finish}},
		{"no frame pointer, canary", bare.with("mov %rdi, 8(%rsp)", "mov %gs:0x28, %rax\nmov %rax, 8(%rsp)", "\tadd $0x18",
			"\tmov 8(%rsp), %rax\n\tsub %gs:0x28, %rax\n\tjne 3f\n\tadd $0x18", "\tret\n", "\tret\n3:\tcall __stack_chk_fail\n"),
			Springboard{Depth: 0x50, Saved: bareSlots, Canary: 8 - 0x50, Guard: "%gs:40", GuardAt: 40, Reads: guarded(8), Callees: plain.Callees}},
		{"a tail call", bare.with("\tret", "\tjmp elsewhere"), Springboard{Depth: 0x50, Saved: bareSlots, Reads: reads,
			Callees: []string{"elsewhere", "finish_task_switch"}}},
		{"memory of the kernel's", bare.with("mov %rax, %rdi", "mov 8(%rax), %rdi\n\tmov %gs:0x1000, %rsi\n"+
			"\tmov 0x1000(%rip), %rdx\n\tmov %rdi, 0x1000"),
			Springboard{Depth: 0x50, Saved: bareSlots, Reads: reads, Callees: finish}},
		{"clears the shadow of its frame", shadowed, cleared},
		{"looks at the flags", bare.with("call __switch_to_asm", "pushfq\n\tpopq %rax\n\tcall __switch_to_asm"),
			Springboard{Depth: 0x50, Saved: bareSlots, Reads: reads, Callees: finish}},
		{"a local of its own", bare.with("mov %rax, %rdi", "mov %rax, (%rsp)\n\tmov (%rsp), %rdi"),
			Springboard{Depth: 0x50, Saved: bareSlots, Reads: reads, Callees: finish}},
		{"a loop", bare.with("mov %rax, %rdi", "9:\ttest %rax, %rax\n\tmov (%rax), %rax\n\tjne 9b"),
			Springboard{Depth: 0x50, Saved: bareSlots, Reads: reads, Callees: finish}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := prove(t, tt.shape)
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
		})
	}
}

// TestSpringboardRefuses changes one thing of a good shape.
func TestSpringboardRefuses(t *testing.T) {
	tests := []struct {
		name           string
		shape          shape
		from, to, want string
	}{
		{"reads rbx", framed, "mov %rax, %rdi", "mov %rbx, %rdi", "reads RBX"},
		{"another address in the shadow's slot", shadowed, "call __switch_to_asm", "mov %rax, -0x48(%rbp)\n\tcall __switch_to_asm",
			"reads the frame at rsp"},
		{"a part of another in the shadow's slot", shadowed, "call __switch_to_asm", "mov %al, -0x45(%rbp)\n\tcall __switch_to_asm",
			"reads the frame at rsp"},
		{"the address is changed before it is kept", shadowed, "mov %rax, %rcx", "add %rcx, %rax", "reads the frame at rsp"},
		{"the address is exchanged before it is kept", shadowed, "mov %rax, %rcx", "xchg %rcx, %rax", "reads the frame at rsp"},
		{"the canary is exchanged before it is kept", framed, "mov %rax, -0x30(%rbp)\n\txor", "xchg %rcx, %rax\n\tmov %rax, -0x30(%rbp)\n\txor",
			"reads the frame at rsp+24"},
		{"another value in the canary's slot later", framed, "call __switch_to_asm", "mov %rbx, -0x30(%rbp)\n\tcall __switch_to_asm",
			"reads the frame at rsp+24"},
		{"the address is lost before it is kept", shadowed, "mov %rax, %rcx", "mul %rcx", "reads the frame at rsp"},
		{"the address is not shifted", shadowed, "shr $3, %rax", "nop", "reads the frame at rsp"},
		{"pushes half of the flags", moved, "test %edi, %edi", "pushfw\n\tpopw %ax\n\ttest %edi, %edi", "moves the stack pointer"},
		{"pushes flags and leaves them", bare, "call __switch_to_asm", "pushfq\n\tcall __switch_to_asm", "by its debug information"},
		{"exchanges rsp", moved, "test %edi, %edi", "xchg %rsp, %rax", "moves the stack pointer"},
		{"no canary any more", moved, "mov %rax, -0x30(%rbp)", "mov %gs:0x1000, %rax\n\tmov %rax, -0x30(%rbp)", "reads the frame at rsp+32"},
		{"reads part of rbx", framed, "mov %rax, %rdi", "movzbl %bl, %edi", "reads BL"},
		{"adds rbx", framed, "mov %rax, %rdi", "add %rbx, %rax", "reads RBX"},
		{"compares rbx", framed, "mov %rax, %rdi", "cmp %rbx, %rax", "reads RBX"},
		{"stores rbx", framed, "mov %rax, %rdi", "mov %rbx, (%rax)", "reads RBX"},
		{"keeps rbx for later", framed, "mov %rax, %rdi", "mov %rbx, -0x38(%rbp)", "reads RBX"},
		{"reads by rbx", framed, "mov %rax, %rdi", "mov 8(%rbx), %rdi", "reads RBX"},
		{"reads with an index", framed, "mov %rax, %rdi", "mov 8(%rax,%rbx,8), %rdi", "reads RBX"},
		{"writes by rbx", framed, "mov %rax, %rdi", "mov %rax, 8(%rbx)", "reads RBX"},
		{"computes with rbx", framed, "mov %rax, %rdi", "lea 8(%rbx), %rdi", "reads RBX"},
		{"calls by rbx", framed, "call finish_task_switch", "call *%rbx", "reads RBX"},
		{"calls by memory at rbx", framed, "call finish_task_switch", "call *8(%rbx)", "reads RBX"},
		{"calls by a thunk of rbx", framed, "call finish_task_switch", "call __x86_indirect_thunk_rbx", "calls through RBX"},
		{"knows one byte only of two", moved, "movzbl %al, %ebx", "mov %bx, %ax", "reads BX"},
		{"reads an argument register behind a call", framed, "2:\tmov", "\tmov %rdi, %rsi\n2:\tmov", "reads RDI"},
		{"reads flags", framed, "mov %rax, %rdi", "jne 2f\n\tnop", "branches by what is not known"},
		{"reads flags behind a call", framed, "2:\tmov", "\tje 2f\n\tnop\n2:\tmov", "branches by what is not known"},
		{"knows the carry only", moved, "jae 6b", "je 6b", "branches by what is not known"},
		{"takes a bit of the frame", moved, "bt %rax, 0x3000(%rip)", "bt %rax, -0x38(%rbp)", "takes the frame's address"},
		{"sets a byte by flags", framed, "mov %rax, %rdi", "sete %al", "reads flags"},
		{"reads another slot", framed, "mov %rax, %rdi", "mov -0x38(%rbp), %rdi", "reads the frame at rsp+16"},
		{"reads a slot by rsp", bare, "mov %rax, %rdi", "mov 8(%rsp), %rdi", "reads the frame at rsp+8"},
		{"reads half a slot", framed, "mov %rax, %rdi", "mov %eax, -0x38(%rbp)\n\tmov -0x38(%rbp), %rdi", "reads the frame at rsp+16"},
		{"reads a slot that one path writes", framed, "2:\tmov",
			"\ttest %rax, %rax\n\tje 4f\n\tmov %rax, -0x38(%rbp)\n4:\tmov -0x38(%rbp), %rax\n2:\tmov",
			"reads the frame at rsp+16"},
		{"reads a register that one path writes", framed, "2:\tmov", "\ttest %rax, %rax\n\tje 4f\n\tmov %rax, %rbx\n4:\tmov %rbx, %rax\n2:\tmov",
			"reads RBX"},
		{"reads the caller's frame", bare, "mov %rax, %rdi", "mov 0x50(%rsp), %rdi", "reads the frame at rsp+80"},
		{"reads below the stack", bare, "mov %rax, %rdi", "mov %rax, -8(%rsp)\n\tmov -8(%rsp), %rdi", "stores outside"},
		{"reads with an index on the stack", bare, "mov %rax, %rdi", "mov 8(%rsp,%rax,8), %rdi", "takes the frame's address"},
		{"takes the frame's address", framed, "mov %rax, %rdi", "lea -0x38(%rbp), %rdi", "takes the frame's address"},
		{"passes the stack pointer", bare, "mov %rax, %rdi", "mov %rsp, %rdi", "takes the frame's address"},
		{"passes the frame pointer", framed, "mov %rax, %rdi", "mov %rbp, %rdi", "takes the frame's address"},
		{"rbp is no frame pointer", bare, "mov %rax, %rdi", "mov -8(%rbp), %rdi", "reads RBP"},
		{"stores into the caller's register", framed, "mov %rax, %rdi", "mov %rax, -0x28(%rbp)", "stores into the caller's RBX"},
		{"stores another into the caller's register", moved, "3:\tmov %r15, -0x08", "3:\tmov %r15, -0x10", "stores into the caller's R14"},
		{"stores what it has changed", moved, "3:\tmov %r15,", "3:\tmov $1, %r15d\n\tmov %r15,", "stores into the caller's R15"},
		{"stores into the return address", framed, "mov %rax, %rdi", "mov %rax, 8(%rbp)", "stores outside"},
		{"stores into the canary", framed, "mov %rax, %rdi", "mov %eax, -0x2c(%rbp)", "stores into the stack protector's slot"},
		{"no switch", framed, "call __switch_to_asm", "nop", "calls __switch_to_asm 0 times"},
		{"two switches", framed, "je 1f", "je 1f\n\tcmp %rax, %rax\n\tje 7f\n\tcall __switch_to_asm\n7:", "calls __switch_to_asm 2 times"},
		{"frame of two sizes", framed, "je 1f", "je 1f\n\tcmp %rax, %rax\n\tje 7f\n\tpush %rax\n7:", "another from one side"},
		{"pops out of order", framed, "pop %rbx\n\tpop %r12", "pop %r12\n\tpop %rbx", "returns without the caller's"},
		{"pops too early", bare, "add $0x18, %rsp\n\tpop %rbx", "pop %rbx\n\tadd $0x18, %rsp", "pops what the module would have to provide"},
		{"pops too much", bare, "pop %r15", "pop %r15\n\tpop %r14", "pops what"},
		{"pops too little", bare, "\tpop %r15\n", "", "returns with 8 bytes on the stack"},
		{"restores too little", moved, "\tmov -0x20(%rbp), %r12\n", "", "returns without the caller's R12"},
		{"restores the wrong one", moved, "mov -0x20(%rbp), %r12", "mov -0x28(%rbp), %r12", "returns without the caller's R12"},
		{"restores a half", moved, "mov -0x20(%rbp), %r12", "mov -0x20(%rbp), %r12d", "returns without the caller's R12"},
		{"writes what it has restored", moved, "1:\tmov -0x30", "\tmov $0, %r12b\n1:\tmov -0x30", "returns without the caller's R12"},
		{"restores on one path only", moved, "jmp 6b", "jmp 1b", "reads R15"},
		{"releases less", bare, "add $0x18", "add $0x10", ""},
		{"releases twice", bare, "add $0x18, %rsp", "add $0x18, %rsp\n\tadd $0x18, %rsp", ""},
		{"keeps the frame", bare, "\tadd $0x18, %rsp\n", "", "pops what"},
		{"jumps indirectly", bare, "\tret", "\tjmp *%rax", "jumps indirectly"},
		{"jumps by a thunk", bare, "\tret", "\tjmp __x86_indirect_thunk_rax", "leaves for"},
		{"leaves with its frame", bare, "\tadd $0x18", "\ttest %rax, %rax\n\tje elsewhere\n\tadd $0x18", "leaves for elsewhere with"},
		{"calls into a function", framed, "call finish_task_switch", "call finish_task_switch + 1", "where no function begins"},
		{"runs out", bare, "\tret\n", "\tnop\n", "outside of the function"},
		{"does not decode", bare, "call finish_task_switch", ".byte 0x06", "cannot decode"},
		{"may be replaced", bare, "call finish_task_switch", "replaced: call finish_task_switch", "may replace at boot"},
		{"warns", bare, "call finish_task_switch", "ud2", "WARN"},
		{"canary never stored", framed, "mov %rax, -0x30(%rbp)\n\txor", "xor", "reads the frame at rsp+24"},
		{"another value in the canary's slot", framed, "mov %gs:0x28, %rax", "mov %gs:0x30, %rax", "reads the frame at rsp+24"},
		{"the canary's value changed", framed, "mov %rax, -0x30(%rbp)", "not %rax\n\tmov %rax, -0x30(%rbp)", "reads the frame at rsp+24"},
		{"the canary's variable is another", moved, "mov %gs:__ref_stack_chk_guard(%rip), %rax",
			"mov %gs:elsewhere(%rip), %rax", "reads the frame at rsp+32"},
		{"aligned frame", bare, "\tsub $0x18", "\tand $-64, %rsp\n\tsub $0x18", "moves the stack pointer"},
		{"variable frame", bare, "sub $0x18, %rsp", "sub %rax, %rsp", "moves the stack pointer"},
		{"another size than it says", bare, "sub $0x18, %rsp", "sub $0x28, %rsp", "96 bytes by the code, and 80 by its debug information"},
		{"late frame pointer", framed, "mov %rsp, %rbp\n\tpush %r15", "push %r15\n\tmov %rsp, %rbp", "does not lead into it"},
		{"exchanges registers", bare, "mov %rax, %rdi", "xchg %rbx, %rax", "not understood"},
		{"moves the stack pointer", bare, "mov %rax, %rdi", "mov %rax, %rsp", "moves the stack pointer"},
		{"loads the stack pointer", bare, "mov %rax, %rdi", "lea 8(%rsp), %rsp", ""},
		{"moves the frame pointer", framed, "mov %rax, %rdi", "mov %rax, %rbp\n\tmov %rbp, %rsp", "moves the stack pointer"},
		{"pushes rbx", bare, "mov %rax, %rdi", "push %rbx", "reads RBX"},
		{"pushes", bare, "mov %rax, %rdi", "push %rax", ""},
		{"copies a block", bare, "mov %rax, %rdi", "rep movsb", "not understood"},
		{"takes a leave", bare, "mov %rax, %rdi", "leave", "without a frame pointer"},
		{"reads what a key's other side reads", moved, "mov %ebx, %edi", "mov %r12d, %edi", "reads R12L"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changed := tt.shape
			if changed.text = strings.Replace(tt.shape.text, tt.from, tt.to, 1); changed.text == tt.shape.text {
				t.Fatalf("no %q", tt.from)
			}
			got, err := prove(t, changed)
			if err == nil {
				t.Fatalf("accepted: %+v", got)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q", err, tt.want)
			}
		})
	}
}

// TestSpringboardFrame: what the debug information says is believed only where it can be.
func TestSpringboardFrame(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*isa.Frame)
		want   string
	}{
		"one register less":       {func(f *isa.Frame) { delete(f.Saved, 13) }, "does not hold the caller's R13"},
		"two in one place":        {func(f *isa.Frame) { f.Saved[13] = f.Saved[12] }, "in one place"},
		"below the frame":         {func(f *isa.Frame) { f.Saved[13] = -0x100 }, "outside of the one"},
		"in the return address":   {func(f *isa.Frame) { f.Saved[13] = -8 }, "outside of the one"},
		"between two":             {func(f *isa.Frame) { f.Saved[13] = -0x44 }, "outside of the one"},
		"rbp elsewhere":           {func(f *isa.Frame) { f.Saved[6] = -0x48 }, "not where the function's leads to"},
		"another base":            {func(f *isa.Frame) { f.Base = 3 }, "does not lead into it"},
		"another size":            {func(f *isa.Frame) { f.Offset = 24 }, "16 bytes by the code, and 24"},
		"two the other way round": {func(f *isa.Frame) { f.Saved[12], f.Saved[13] = f.Saved[13], f.Saved[12] }, "without the caller's"},
	} {
		s := framed
		s.frame.Saved = maps.Clone(s.frame.Saved)
		tt.change(&s.frame)
		if _, err := prove(t, s); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestSpringboardAssembly: what the stub stores it loads, where the kernel's tail looks for it.
func TestSpringboardAssembly(t *testing.T) {
	for _, shape := range []shape{framed, shadowed, callbacks, moved, bare} {
		s, err := prove(t, shape)
		if err != nil {
			t.Fatal(err)
		}
		text := s.Assembly()
		want := []string{fmt.Sprintf("sp_offset=%d ", s.Depth), fmt.Sprintf("jmp\t__orig___schedule + %d", s.Call),
			"_ASM_NOKPROBE(__schedule)", "_ASM_NOKPROBE(plugsched_switch_to)"}
		size, unwanted := s.Depth-8, []string{"pushq", "%gs:40", "leaq"}
		if s.FramePtr {
			size, unwanted = s.Depth-16, nil
			want = append(want, "pushq\t%rbp\n\tmovq\t%rsp, %rbp", "popq\t%rbp\n\tRET", fmt.Sprintf("leaq\t%d(%%rsp), %%rbp", s.Depth-16),
				fmt.Sprintf("movq\t%s, %%rax\n\tmovq\t%%rax, %d(%%rsp)", s.Guard, s.Depth+s.Canary))
		}
		if s.Shadow != nil {
			want = append(want, fmt.Sprintf("leaq\t%d(%%rsp), %%rax\n\tshrq\t$3, %%rax\n\tmovq\t%%rax, %d(%%rsp)", s.Depth-0x50, s.Depth-0x58))
		}
		want = append(want, fmt.Sprintf("subq\t$%d, %%rsp", size), fmt.Sprintf("addq\t$%d, %%rsp", size))
		for _, r := range s.Saved {
			if !s.FramePtr || r.Reg != "rbp" {
				at := s.Depth + r.At
				want = append(want, fmt.Sprintf("movq\t%%%s, %d(%%rsp)", r.Reg, at), fmt.Sprintf("movq\t%d(%%rsp), %%%s", at, r.Reg))
			}
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
