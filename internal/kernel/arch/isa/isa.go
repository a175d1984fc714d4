// SPDX-License-Identifier: BSD-3-Clause

// Package isa has the words in which an architecture's decoder answers: what
// instructions refer to, what a stretch of code can do, what a relocation fills in.
// Nothing in it belongs to one architecture.
package isa

import "fmt"

// RefKind says what an instruction does with an address of the text.
type RefKind uint8

// The kinds of references.
const (
	RefCall    RefKind = iota // a call
	RefJump                   // a branch that does not come back, conditional or not
	RefAddress                // the instruction yields the address as a value
	RefOperand                // the instruction compares or computes with the address
)

// Ref is one address that an instruction names.
type Ref struct {
	Site   uint64 // address of the instruction
	Target uint64
	Kind   RefKind
}

// Branch reports whether the instruction goes to the address.
func (r Ref) Branch() bool { return r.Kind == RefCall || r.Kind == RefJump }

// Memory is one memory operand. Where it has a base register, Disp is what the
// instruction adds; else it is the address, or for a per-CPU operand its offset in the
// per-CPU section.
type Memory struct {
	Site   uint64
	Based  bool // relative to a register besides the program counter
	Stack  bool // relative to the stack pointer
	Reg    int  // DWARF's number of the base register
	Index  bool
	Disp   int64
	Size   int  // bytes; 0 if the address is only computed
	Write  bool // the instruction changes it
	PerCPU bool // relative to this CPU's area
	// Address marks a constant that its encoding shows to be an address: a compiler
	// would have written a number of this value in another way.
	Address bool
}

// Text is what following code needs to know of a kernel.
type Text struct {
	// Bytes are those of the instruction at addr, and what follows as far as an
	// instruction may reach; fewer at the end, none outside.
	Bytes  func(addr uint64) []byte
	Within func(addr uint64) bool // whether addr is in the function or its split-off parts
	// Patched is where the kernel may make the instruction at addr, a static
	// key's site, jump to.
	Patched func(addr uint64) (target uint64, ok bool)
	// Returns is false for functions that do not come back.
	Returns func(addr uint64) bool
	// Replaced reports instructions that the kernel may replace by others at boot.
	Replaced func(addr uint64, size int) bool
	// Instead are where instructions are that the kernel may put in the place of the one at addr when it boots; 0 for
	// one that a function of the kernel makes then.
	Instead func(addr uint64) []uint64
	// Fault is where the kernel goes on if the instruction at addr faults; 0 where it may not.
	Fault func(addr uint64) uint64
}

// Routine is a function, and what a proof about it needs to know.
type Routine struct {
	*Text
	Entry uint64 // where it begins
	// Frame is what the compiler says of the stack at a place.
	Frame func(pc uint64) (*Frame, error)
	Name  Symbolic // names functions by where they begin
	// Symbols are all names of an address, sorted.
	Symbols func(addr uint64) []string
}

// Place is an address as the function's listing has it, such as "+0x1c".
func (r *Routine) Place(at uint64) string {
	if at < r.Entry {
		return fmt.Sprintf("-%#x", r.Entry-at)
	}
	return fmt.Sprintf("+%#x", at-r.Entry)
}

// Frame is where a function's caller has its frame and registers while the function is at a
// place. Registers are DWARF's numbers of them.
type Frame struct {
	// The caller's frame begins Offset bytes above what is in register Base.
	Base   int
	Offset int64
	// Saved are registers of the caller's that are in memory: how far from where its frame
	// begins. All others the function has not touched.
	Saved map[int]int64
	// Signed: the return address is not as it was, but signed.
	Signed bool
}

// Part is a piece of a function's code, linked at an address.
type Part struct {
	Addr uint64
	Code []byte
}

// Records is what the calls in a function's code say of its frame record.
type Records struct {
	Calls int
	// Bare are the places from where another function is entered without it.
	Bare []uint64
}

// Unframed is a function that enters others without its frame record: who called it cannot be told.
type Unframed struct {
	Name       string
	Addr, Size uint64
	Place      uint64 // the first place from where it does, from Addr on
}

// Tail is what the code behind an address can do.
type Tail struct {
	Calls []uint64 // addresses that it calls, or jumps to outside of the function
	Keys  []uint64 // sites of static keys in it
}

// Alternative is an entry of .altinstructions: Replacement may overwrite Site.
type Alternative struct {
	Site, Replacement       uint64
	SiteLen, ReplacementLen int
}

// Symbolic names what an address means: a function's name, or "".
type Symbolic func(addr uint64) string

// Springboard is the proof that __schedule can be split at its context switch, and what
// the module is made of because of it. The kernel's __schedule is entered by a stub,
// plugsched_schedule, that builds the frame of the kernel's own and calls the module's.
// To switch, the module calls plugsched_switch_to, which makes that frame current again
// and goes on to Call; the sleeper then holds only the kernel's own text.
type Springboard struct {
	Call     uint64   // offset of the call that switches in __schedule
	Return   uint64   // offset of the instruction behind it: every sleeper's return address
	Reads    []string // what the code behind the call reads, as proven
	Callees  []string // functions that the code behind the call calls: the kernel's own code does
	Assembly string   // the source of plugsched_schedule and plugsched_switch_to
}

// Field is what the linker or a relocation fills in at a place of the code.
type Field struct {
	Mask []byte // its bits, from the place on
	// Branch marks a field that may say where a direct branch goes. Then its symbol plus
	// the addend plus Bias is the target.
	Branch bool
	Bias   int64
}

// Clear takes the field out of code that begins at its place, as far as there is any.
func (f *Field) Clear(code []byte) {
	for i, m := range f.Mask[:min(len(f.Mask), len(code))] {
		code[i] &^= m
	}
}

// Branch is a direct branch instruction that the linker may have filled in.
type Branch struct {
	Offset   int // of its field, in bytes from the beginning of the instruction
	Field    Field
	Distance int64 // of the target from the beginning of the instruction
}

// Syntax is what differs from one architecture to another in the assembly that gcc writes.
type Syntax struct {
	Comment string // begins a remark that goes to the line's end
	// Branch reports mnemonics whose symbol operand is a branch target.
	Branch func(mnemonic string) bool
	// Prefix reports words that may stand before a mnemonic.
	Prefix func(word string) bool
	// Symbol reports whether the word behind what is before of a statement is a symbol and not, say, a
	// register. Nil where registers have a sign of their own.
	Symbol func(mnemonic, before string) bool
	// Second is the register of a function's second argument, if that has 32 bits.
	Second string
}
