// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"strings"
	"testing"

	"plugsched/internal/fuzzing"
	"plugsched/internal/kernel/arch/isa"
)

// provable is a __schedule whose springboard is proven: it calls the context
// switch, whose rel32 is 0, checks the stack protector and returns.
var provable = []byte{
	0x55,             // push %rbp
	0x48, 0x89, 0xe5, // mov %rsp,%rbp
	0x41, 0x57, 0x41, 0x56, 0x41, 0x55, 0x41, 0x54, // push %r15 ... %r12
	0x53,                   // push %rbx
	0x48, 0x83, 0xec, 0x10, // sub $16,%rsp
	0x65, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0, // mov %gs:0x28,%rax
	0x48, 0x89, 0x45, 0xd0, // mov %rax,-48(%rbp)
	0xe8, 0, 0, 0, 0, // call __switch_to_asm
	0x48, 0x83, 0xc4, 0x10, // add $16,%rsp
	0x5b, 0x41, 0x5c, 0x41, 0x5d, 0x41, 0x5e, 0x41, 0x5f, 0x5d, 0xc3, // pop %rbx ... %r15, %rbp; ret
}

// FuzzProve: the proof ends, for any code, and what it proves is in the code.
func FuzzProve(f *testing.F) {
	const addr = 0xffffffff81000000
	name := func(a uint64) string {
		switch a % 8 {
		case 0, 1, 2, 3, 4:
			return "__switch_to_asm"
		case 5:
			return "__stack_chk_fail"
		case 6:
			return "__x86_return_thunk"
		}
		return ""
	}
	always := func(uint64) string { return "__switch_to_asm" }
	routine := func(code []byte, n isa.Symbolic) *isa.Routine {
		return &isa.Routine{Entry: addr, Name: n, Symbols: func(uint64) []string { return nil },
			Frame: func(uint64) (*isa.Frame, error) {
				return &isa.Frame{Base: 6, Offset: 16, Saved: saved(6, 15, 14, 13, 12, 3)}, nil
			},
			Text: &isa.Text{
				Bytes: func(a uint64) []byte {
					if a-addr >= uint64(len(code)) {
						return nil
					}
					return code[a-addr : min(a-addr+MaxInstruction, uint64(len(code)))]
				},
				Within:   func(a uint64) bool { return a-addr < uint64(len(code)) },
				Patched:  func(a uint64) (uint64, bool) { return a ^ 1, a%32 == 31 },
				Returns:  func(a uint64) bool { return n(a) != "__stack_chk_fail" },
				Replaced: func(uint64, int) bool { return false },
			}}
	}
	if _, err := ProveSpringboard(routine(provable, always)); err != nil {
		f.Fatal(err)
	}
	f.Add(provable)
	f.Add([]byte{0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0xe8, 0, 0, 0, 0, 0xc9, 0xc3})
	f.Add([]byte{0x48, 0x83, 0xc4, 0x80, 0xe8, 0, 0, 0, 0, 0x75, 0xf5, 0xeb, 0xfc})
	f.Fuzz(func(t *testing.T, code []byte) {
		fuzzing.Bounded(t, func() {
			for _, n := range []isa.Symbolic{name, always} {
				s, err := ProveSpringboard(routine(code, n))
				if err != nil {
					continue
				}
				if s.Call >= s.Return || s.Return >= uint64(len(code)) || s.Depth < 64 || -s.Canary > s.Depth {
					t.Errorf("of %d bytes: %+v", len(code), s)
				}
				if !strings.Contains(s.Assembly(), "__orig___schedule") {
					t.Error("the stub does not go back to the kernel")
				}
			}
		})
	})
}

// FuzzRefs: decoding ends, for any code, and every site is in it.
func FuzzRefs(f *testing.F) {
	f.Add(provable)
	f.Add([]byte{0x0f, 0x0b, 'x', 'e', 'n', 0x62, 0xc4, 0xc5, 0x0f, 0x3a, 0x66, 0x66})
	f.Add([]byte{0x48, 0xc7, 0xc0, 0, 0, 0, 0x81, 0x48, 0x8d, 0x3d, 1, 2, 3, 4, 0xe9, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, code []byte) {
		fuzzing.Bounded(t, func() {
			const addr = 0xffffffff81000000
			last := uint64(addr)
			n := Refs(code, addr, func(r isa.Ref) {
				if r.Site < last || r.Site-addr >= uint64(len(code)) {
					t.Errorf("site %#x after %#x, of %d bytes", r.Site, last, len(code))
				}
				last = r.Site
			})
			if n > len(code) {
				t.Errorf("%d of %d bytes are not decoded", n, len(code))
			}
			if off, size := BranchField(code); size != 0 && off+size > len(code) {
				t.Errorf("the branch of %d bytes has its address at %d, %d bytes", len(code), off, size)
			}
			JumpLabelSize(code)
			inside := func(a uint64) bool { return a-addr < 1<<20 }
			Alternatives(code, addr, inside, inside)
		})
	})
}
