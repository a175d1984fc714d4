// SPDX-License-Identifier: BSD-3-Clause

// Package arch is all that the tool knows about architectures: one description for each,
// with facts and functions. Nothing else names one. docs/develop/new-architecture.md says
// what a new one has to fill in.
package arch

import (
	"debug/elf"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"plugsched/internal/kernel/arch/isa"
)

// Arch describes one architecture. No field may be left out, unless it says so.
type Arch struct {
	Name    string // the kernel's name of it, as in arch/NAME
	Title   string // for people
	Package string // Debian's name: of packages, and the last part of a release's flavour
	Machine elf.Machine
	// Triplet is GNU's name of it: what the names of its tools begin with on other machines.
	Triplet string
	// Emulator is QEMU's program that runs its programs on other machines.
	Emulator string
	// Option is that of the configuration, without CONFIG_, which only this architecture's kernels have; Needs
	// are further ones that matter for it, and Spares those that do not: see internal/kernel/needs. Both may be
	// nil.
	Option string
	Needs  []Option
	Spares []string

	// How the runtime (runtime/arch/NAME) redirects a function, in bytes.

	// JumpSize is the size of the jump.
	JumpSize int
	// FtraceSize is the size of the place at a function's head that ftrace rewrites.
	FtraceSize int
	// FtraceBefore is how far in front of a function its entry in ftrace's table may be, as something of ftrace's
	// is kept there; 0 if it is never.
	FtraceBefore int
	// Landing is the instruction that an indirect branch must land on, or nil.
	Landing []byte
	// Seals is the table of those that the kernel removes at boot, or nil.
	Seals *Range

	// Names of functions with a meaning.

	// SwitchTo is what __schedule calls to switch.
	SwitchTo string
	// Syscalls are the prefixes of functions that user space enters.
	Syscalls []string
	// Thunks are the prefixes of functions that stand for an instruction, and are
	// nobody's callee.
	Thunks []string
	// Obstacles are configurations of this architecture's kernels that the runtime is not
	// made for.
	Obstacles []Obstacle

	// Relocations.

	// Relocations are the types that the kernel's module loader applies, all of them
	// S + A or S + A - P.
	Relocations []uint32
	// Abs64 is symbol + addend, Relative the addend alone; both are 8 bytes.
	Abs64, Relative uint32
	// Field is what a relocation of the compiler's fills in.
	Field func(relocation uint32) isa.Field
	// IsBranch reports whether a relocation fills in where a direct branch goes; at is the
	// offset of its field in code.
	IsBranch func(relocation uint32, code []byte, at int) bool

	// Code, which is linked at an address.

	// MaxInstruction is the size in bytes of the longest instruction.
	MaxInstruction int
	// Size is that of the instruction that code begins with, prefixes included; 0 if it is
	// not known.
	Size func(code []byte) int
	// Refs yields, in order, what instructions branch to and which addresses they yield as
	// values. Bytes that are no known instruction are stepped over, and counted.
	Refs func(code []byte, addr uint64, yield func(isa.Ref)) (undecoded int)
	// Memory yields the memory operands of instructions, and addresses that they compute.
	Memory func(code []byte, addr uint64, yield func(isa.Memory))
	// Branch decodes a direct branch whose field the linker may have filled in.
	Branch func(code []byte) (isa.Branch, bool)
	// Tail follows every path from start to the function's ends, whatever static keys say.
	Tail func(t *isa.Text, start uint64) (*isa.Tail, error)
	// Springboard proves that __schedule can be split at its call of SwitchTo: that the
	// code behind it needs nothing but what the stub provides. An error says what else.
	Springboard func(schedule *isa.Routine) (*isa.Springboard, error)
	// Records looks at the calls in a function, by its parts: whether its frame record has been made before. Nil where
	// stacks are not walked by frame records.
	Records func(t *isa.Text, parts []isa.Part) isa.Records

	// What the kernel rewrites in its own code.

	// KeySize is the size in bytes of the static key's site that begins with code.
	KeySize func(code []byte) int
	// KeyJump and KeyNop are the sizes in bytes of a static key's site that begins with code
	// and jumps, or does nothing; 0 if it is not one.
	KeyJump, KeyNop func(code []byte) int
	// CallSize and LockSize are those of a static call's site and of a lock prefix's, 0
	// where there are none.
	CallSize, LockSize int
	// Alternatives reads .altinstructions, linked at addr.
	Alternatives func(table []byte, addr uint64, isText, isReplacement func(uint64) bool) ([]isa.Alternative, error)

	// UserFault reports an entry of __ex_table, without its two distances, that is for memory of user
	// space. Nil where all such code is in functions that kernels/ names.
	UserFault func(entry []byte) bool

	// Compared are options of gcc for what is compared with the kernel, which show that the kernel does not rely
	// on what they forbid: -fno-ipa-ra, that a function is known not to change registers that it may change. Bound
	// are those for what is bound: whose assembly has names for all that it refers to, other than the kernel's.
	Compared, Bound []string
	// Assembly is how gcc's has to be read.
	Assembly isa.Syntax
	// Traced are the sections that list what ftrace may change.
	Traced []string
	// Unread are sections of gcc's that this architecture's kernels do not read, and that a
	// module does not get. None may be a table of what has to be patched.
	Unread []string

	// BootImage is where a kernel's build leaves its boot image, below the tree.
	BootImage string
	// BootVersion reads the version string out of a boot image, in the form
	// "RELEASE (BUILDER) #1 SMP ... DATE"; IsBootImage tells one by its first 4096 bytes.
	BootVersion func(io.ReaderAt) (string, error)
	// BootPayload finds the compressed kernel in a boot image.
	BootPayload func(io.ReaderAt) (*io.SectionReader, error)
	IsBootImage func(head []byte) bool

	Guest Guest
}

// Obstacle is a configuration that the runtime is not made for, with a symbol that a kernel
// has only then.
type Obstacle struct{ Symbol, Why string }

// Option is one of a kernel's configuration that has to be set, or must not be.
type Option struct {
	Name  string // without CONFIG_
	Not   bool   // it must not be set
	Why   string
	Where string // in menuconfig
}

// OfHost reports whether it is that of the machine that this program runs on.
func (a *Arch) OfHost() bool { return a.Package == runtime.GOARCH } // Go's name is Debian's, for all that are supported

// Range is what lies between two symbols of the linker script.
type Range struct{ Start, Stop string }

// Guest is how a virtual machine of the architecture is made.
type Guest struct {
	QEMU string // the program
	// Board are the arguments that select the board and the CPU. -nodefaults leaves
	// nothing else on it.
	Board []string
	// Serial adds the port numbered n for a character device.
	Serial func(n int, chardev string) []string
	// Console and Bell are the tty names of serial ports 0 and 1. Their drivers must be
	// built into every Debian flavour (CONFIG_SERIAL_8250=y; all of virtio is modular), as
	// nothing can be loaded before the agent runs. Journal is that of port 2, which only a
	// guest with a disk has.
	Console, Bell, Journal string
	// Append are words for the kernel's command line; HostClock, further ones for a guest
	// that sees the host's clock, may be nil.
	Append    []string
	HostClock func() []string
	// Counter and Stack are the names under which QEMU's "info registers" prints the program counter
	// and the stack pointer.
	Counter, Stack string
	// Restarts is what the kernel may say last when it restarts the machine, besides what
	// every kernel does; may be nil.
	Restarts []string
}

// All are the architectures that are supported.
var All = []*Arch{X86, ARM64}

// Of returns the architecture of an ELF machine.
func Of(m elf.Machine) (*Arch, error) {
	return find(m.String(), func(a *Arch) bool { return a.Machine == m })
}

// Named returns the architecture that the kernel calls by a name.
func Named(name string) (*Arch, error) {
	return find(name, func(a *Arch) bool { return a.Name == name })
}

// OfRelease returns the architecture that the name of one of Debian's kernels ends in; nil if it
// ends in none.
func OfRelease(release string) *Arch {
	i := slices.IndexFunc(All, func(a *Arch) bool { return strings.HasSuffix(release, "-"+a.Package) })
	if i < 0 {
		return nil
	}
	return All[i]
}

// Booting returns the architecture of a boot image, which begins with head. nil: it is none.
func Booting(head []byte) *Arch {
	a, _ := find("", func(a *Arch) bool { return a.IsBootImage(head) })
	return a
}

func find(name string, is func(*Arch) bool) (*Arch, error) {
	if i := slices.IndexFunc(All, is); i >= 0 {
		return All[i], nil
	}
	return nil, fmt.Errorf("architecture %s is not supported; supported: %s", name, Titles())
}

// Titles lists the supported architectures for people.
func Titles() string {
	var out []string
	for _, a := range All {
		out = append(out, a.Title)
	}
	return strings.Join(out, ", ")
}

// JumpOffset returns where in a function the redirection goes: behind ftrace's
// site, or at the head (behind a landing instruction) when there is none.
// ftraceSite is negative for functions without a site; head is the function's
// first bytes.
func (a *Arch) JumpOffset(ftraceSite int, head []byte) int {
	if ftraceSite >= 0 {
		return ftraceSite + a.FtraceSize
	}
	if n := len(a.Landing); n > 0 && len(head) >= n && string(head[:n]) == string(a.Landing) {
		return n
	}
	return 0
}

// syscallParts are prefixes of what SYSCALL_DEFINE makes besides the entries
// (include/linux/syscalls.h, include/linux/compat.h).
var syscallParts = []string{"__se_sys_", "__do_sys_", "__se_compat_sys_", "__do_compat_sys_"}

// SyscallName is the name by which SYSCALL_DEFINE knows what a function is made of, and
// other functions' own.
func (a *Arch) SyscallName(function string) string {
	for _, prefix := range slices.Concat(syscallParts, a.Syscalls) {
		if call, ok := strings.CutPrefix(function, prefix); ok {
			return call
		}
	}
	return function
}
