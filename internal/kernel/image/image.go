// SPDX-License-Identifier: BSD-3-Clause

// Package image reads a kernel's vmlinux into a program model: which functions
// and objects survived compilation, who calls whom, what was inlined where and
// whose address is taken.
//
// The shipped binary is the only input. Calls come from decoded instructions,
// so calls made from assembly are seen and no relocations are needed; names of
// files, inlining and declarations come from DWARF.
package image

import "debug/elf"

// Program is the model of one vmlinux. It is immutable after Load.
type Program struct {
	Path    string
	BuildID string // GNU build-id, lower-case hex; "" when the file has none
	Release string // uname -r of the kernel, from linux_banner
	// Compiler is DW_AT_producer of the first C unit under Options.SourceDirs
	// ("GNU C11 12.2.0 ...").
	Compiler string
	Machine  elf.Machine
	// FtraceKnown reports that the file holds ftrace's sites. Where it is
	// false, they are only known to the running kernel and FtraceSite is -1
	// for every function.
	FtraceKnown bool
	// Undecoded counts the bytes of text that are no known instruction.
	Undecoded int

	Functions []*Function // by address, then name
	Objects   []*Object   // by address, then name
	// DataTakes are functions' addresses in static data, by address. Metadata
	// of the kernel's own patching and debugging is not among them.
	DataTakes []DataTake
	// Dropped are functions of units under Options.SourceDirs whose code the file
	// holds and whose name it does not: weak ones that another unit's definition
	// replaced. By name, then unit.
	Dropped []*Source
	// PatchSites are places in the text that the running kernel may rewrite on
	// its own (static keys, static calls, SMP locks), by address.
	PatchSites []PatchSite

	// Unexported indexes go here.
	index
}

// Function is a function symbol of the vmlinux. A symbol with several names
// (aliases) is one Function; a .cold part is a Function of its own. Code that no
// symbol covers, if it branches anywhere, is a Function named after its place,
// such as ".altinstr_aux+0x0".
type Function struct {
	Name    string   // symbol name, for example "finish_task_switch.isra.0"
	Aliases []string // other names of the same address, sorted
	Base    string   // source name: Name without gcc's clone and part suffixes
	Addr    uint64   // link address
	Size    uint64   // bytes; up to the next symbol when the symbol has no size
	Padding uint64   // bytes before Addr that belong to it (CONFIG_CALL_PADDING)
	Section string   // ".text", ".init.text", ...
	Global  bool     // STB_GLOBAL or STB_WEAK
	Weak    bool
	// Unit is the compilation unit that defines the function, relative to the
	// kernel tree ("kernel/sched/build_policy.c"); "" when DWARF does not say.
	Unit string
	// DeclFile and DeclLine say where the source declares it; DeclFile is
	// relative to the kernel tree ("kernel/sched/rt.c", "include/linux/list.h").
	// Both, and Inlines, are only known for units under Options.SourceDirs.
	DeclFile string
	DeclLine int
	Exported bool // has a __ksymtab_ entry
	// BPF reports a function that BPF's verifier knows by its BTF id: a kfunc,
	// which BPF programs call, or one that they may be attached to. No pointer
	// to it need be anywhere.
	BPF bool
	// Sealed reports a function to which no indirect branch may go in the running kernel,
	// which enforces that these land on a landing instruction: the function has none, or
	// the kernel removes it at boot, because its own code does not call it by pointer.
	Sealed bool
	// NoProbe reports a function at which the kernel lets nobody have a breakpoint, because what handles one calls it
	// (NOKPROBE_SYMBOL and __kprobes; kernel/kprobes.c, populate_kprobe_blacklist).
	NoProbe bool
	// UserFault reports code of its own that reaches for memory of user space, where the kernel's
	// table of such places tells (arch.Arch.UserFault).
	UserFault bool
	// FtraceSite is the offset of ftrace's place from Addr, or -1
	// (recorded in __start_mcount_loc..__stop_mcount_loc).
	FtraceSite int

	// Calls are the direct calls and jumps that leave the function, by site,
	// without the one at FtraceSite.
	Calls   []Call
	Inlines []*Source // distinct source functions inlined into it (transitively), sorted by file, name
	Takes   []Take    // addresses of functions that its instructions take, by site
}

// Source is a function of the source text, with or without a symbol.
type Source struct {
	Name     string
	DeclFile string
	DeclLine int
	Unit     string
}

// Call is a direct branch from one function to another, or a call of itself.
type Call struct {
	// Site is the address of the instruction. It is outside the function for
	// code that belongs to the function but is kept elsewhere
	// (.altinstr_replacement, .altinstr_aux).
	Site   uint64
	To     *Function // the function that contains the target
	Offset uint64    // of the target in To; 0 for an ordinary call
	Jump   bool      // a jump (tail call, or to and from a .cold part), not a call
}

// Take is one place that takes a function's address.
type Take struct {
	Site uint64
	To   *Function
}

// DataTake is a function's address stored in static data.
type DataTake struct {
	Addr   uint64  // of the pointer
	In     *Object // the object that holds it, nil when no symbol covers Addr
	To     *Function
	Offset uint64 // of Addr in In
}

// Object is a data symbol. Names of the same address are separate Objects.
type Object struct {
	Name    string
	Addr    uint64 // link address; for per-CPU objects the address in the per-CPU section
	Size    uint64
	Section string
	Global  bool
	// Exported says that it has a __ksymtab_ entry.
	Exported bool
	Unit     string // compilation unit, "" when unknown
	// DeclFile and DeclLine as for Function; Type is the DWARF type in C
	// notation without qualifiers ("struct sched_class", "int[4]"). All three
	// are only known for units under Options.SourceDirs.
	DeclFile string
	DeclLine int
	Type     string
}

// SiteKind says who rewrites a PatchSite.
type SiteKind string

// The kinds of sites that a running kernel rewrites after boot.
const (
	SiteStaticKey  SiteKind = "static key"  // __start___jump_table
	SiteStaticCall SiteKind = "static call" // __start_static_call_sites
	SiteSMPLock    SiteKind = "smp lock"    // __smp_locks
)

// PatchSite is one such place.
type PatchSite struct {
	Addr uint64
	Size int
	Kind SiteKind
	// Target is where a static key's site jumps to while the key says so.
	Target uint64
}
