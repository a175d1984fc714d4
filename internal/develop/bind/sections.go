// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"debug/elf"
	"path"
	"strings"
)

// treatment is what becomes of a section of the scheduler's units. They are compiled
// as built-in code, so that their sections are those that the kernel's linker script
// knows (include/asm-generic/vmlinux.lds.h). The module loader knows others
// (kernel/module/main.c, find_module_sections and setup_load_info).
type treatment string

const (
	same    treatment = "same"    // means the same in a module
	moved   treatment = "moved"   // goes into another section, which the loader knows
	dropped treatment = "dropped" // the kernel has it and read it once, at boot; a new entry is refused
	refused treatment = "refused" // would be an ordinary section of the module, and must not
)

// sectionRule is about the sections that match a pattern.
type sectionRule struct {
	pattern string
	does    treatment
	to      string // where it is moved to
	why     string
}

// perCPUSection is what the loader gives to every CPU. It looks for exactly this name.
const perCPUSection = ".data..percpu"

// blacklistSection lists functions that must have no kprobes.
const blacklistSection = "_kprobe_blacklist"

const (
	ordinary = "an ordinary section"
	byLoader = "the module loader looks for it"
)

// sectionRules: the first pattern that matches says what becomes of a section. A
// section that matches none is refused.
var sectionRules = []sectionRule{
	// Per CPU. Outside of the one section, a variable would be at its link address plus a CPU's offset: anywhere.
	{perCPUSection, same, "", byLoader},
	{perCPUSection + "..decrypted", refused, "", "memory that a confidential guest shares with its host, which a module does not get"},
	{perCPUSection + "..*", moved, perCPUSection, "the kernel's linker script sorts per-CPU variables by how they are used"},

	// What the kernel owns once and for all.
	{".init*", dropped, "", "ran at boot"},
	{".exit*", dropped, "", "never runs in built-in code"},
	{".fini_array*", dropped, "", "no loader runs it: KASAN has gcc write it beside its constructors, which modules run"},
	{".con_initcall*", dropped, "", "ran at boot"},
	{"__tracepoints_ptrs*", dropped, "", "the kernel registered its tracepoints"},
	{"__tracepoints_strings*", dropped, "", "names of the kernel's tracepoints"},
	{"__tracepoint_check", moved, ".discard.tracepoint_check", "which tracepoints are called, asked when the kernel is linked"},
	{"__tracepoints*", dropped, "", "the kernel's tracepoints; events keep going through them"},
	{"_ftrace_events*", dropped, "", "the kernel registered its trace events"},
	{"_ftrace_eval_map*", dropped, "", "the kernel registered its trace events"},
	{"__syscalls_metadata*", dropped, "", "the kernel registered its system calls"},
	{"__bpf_raw_tp_map*", dropped, "", "the kernel registered its raw tracepoints"},
	{blacklistSection, dropped, "", "read at boot; entries for the module's own functions are kept, see Plan.blacklists"},
	{"_error_injection_whitelist*", dropped, "", "read at boot"},
	{"__param*", dropped, "", "read at boot"},
	{".BTF_ids", dropped, "", "type ids are filled in for the kernel's image only, and lists of them stay with it"},
	{".static_call.text*", dropped, "", "trampolines of static calls; the kernel's are patched"},
	{".static_call_tramp_key*", dropped, "", "exports static calls"},
	{"__ksymtab*", dropped, "", "exports symbols"},
	{"___ksymtab*", dropped, "", "exports symbols"},
	{"__kcrctab*", dropped, "", "exports symbols"},
	{"___kcrctab*", dropped, "", "exports symbols"},
	{".export_symbol*", dropped, "", "exports symbols"},
	{".discard.ibt_endbr_noseal*", dropped, "", "about exported functions"},
	{".discard.noendbr*", dropped, "", "about static call trampolines"},
	{"__verbose*", dropped, "", "dynamic debug; the kernel's"},
	{".modinfo*", dropped, "", "about the kernel's built-in code"},

	// What only the kernel's linker script or its boot gives a meaning.
	{"__*_sched_class", refused, "", "the order of the scheduling classes is that of the kernel's image"},
	{".data..init_task", refused, "", "the first task's, which is there"},
	{".data..init_thread_info", refused, "", "the first task's, which is there"},
	{".data..nosave", refused, "", "hibernation would save and restore it in a module"},
	{".data..decrypted", refused, "", "memory that a confidential guest shares with its host, which a module does not get"},
	{".bss..decrypted", refused, "", "memory that a confidential guest shares with its host, which a module does not get"},
	{".bss..brk", refused, "", "reserved at boot"},
	{".entry.text", refused, "", "entry code is mapped for user space too, which a module's is not"},
	{".head.text", refused, "", "code that runs before the kernel does"},
	{".text..__*", refused, "", "thunks that the kernel patches at boot"},
	{".vvar*", refused, "", "pages that user space sees"},
	{"runtime_*", refused, "", "the kernel writes these constants into its code at boot only"},
	{"__tracepoint_str", refused, "", "the kernel lists its strings for tracers at boot only"},
	{".meminit*", refused, "", "may be gone after boot"},
	{".mem*.text", refused, "", "may be gone after boot"},

	// What the loader, or objtool and the linker before it, treat as for the kernel.
	{"__ex_table", same, "", byLoader},
	{"__bug_table", same, "", byLoader},
	{"__jump_table", same, "", byLoader},
	{"__mcount_loc", same, "", byLoader},
	{"__patchable_function_entries", same, "", byLoader},
	{".plt", same, "", byLoader + ": it makes there what branches need to reach far"},
	{"__trace_printk_fmt", same, "", byLoader},
	{"__dyndbg*", same, "", byLoader},
	{"___srcu_struct_ptrs", same, "", byLoader},
	{"alloc_tags", same, "", byLoader},
	{".codetag.*", same, "", byLoader},
	{".static_call_sites", same, "", byLoader},
	{".printk_index", same, "", byLoader},
	{".kcfi_traps", same, "", byLoader},
	{"__kcfi_traps", same, "", byLoader},
	{".data..ro_after_init", same, "", byLoader + ": read-only when plugsched_init() is done"},
	{".noinstr.text", same, "", byLoader + ": no kprobes"},
	{".kprobes.text", same, "", byLoader + ": no kprobes"},
	{".alt*instr*", same, "", byLoader},
	{".parainstructions", same, "", byLoader},
	{".smp_locks", same, "", byLoader},
	{".*_sites", same, "", byLoader + ": mitigations"},
	{".ibt_endbr_seal", same, "", byLoader},
	{".orc_*", same, "", byLoader},
	{".note.*", same, "", byLoader},
	{".BTF", same, "", byLoader},
	{"__versions*", same, "", byLoader},
	{"__version_ext_*", same, "", byLoader},
	{".gnu.linkonce.this_module", same, "", byLoader},
	{".discard*", same, "", "the linker leaves it out"},

	// The kernel's linker script puts these together, or names their ends for reports
	// (in_sched_functions, cpu_in_idle, in_lock_functions, filter_irq_stacks); "warn
	// once" is set back in the kernel's only.
	{".sched.text", same, "", ordinary},
	{".cpuidle.text", same, "", ordinary},
	{".spinlock.text", same, "", ordinary},
	{".irqentry.text", same, "", ordinary},
	{".softirqentry.text", same, "", ordinary},
	{".ref.*", same, "", ordinary},
	{".data..read_mostly", same, "", ordinary},
	{".data..cacheline_aligned", same, "", ordinary},
	{".data..shared_aligned", same, "", ordinary},
	{".data..page_aligned", same, "", ordinary},
	{".bss..page_aligned", same, "", ordinary},
	{".data..once", same, "", ordinary},
	{".data..unlikely", same, "", ordinary},
	{".data..L*", same, "", ordinary},
	{".bss..L*", same, "", ordinary},
	{".data..*", refused, "", "nothing is known of it"},
	{".bss..*", refused, "", "nothing is known of it"},
	{".text", same, "", ordinary},
	{".text.*", same, "", ordinary},
	{".data", same, "", ordinary},
	{".data.*", same, "", ordinary},
	{".bss", same, "", ordinary},
	{".bss.*", same, "", ordinary},
	{".rodata", same, "", ordinary},
	{".rodata.*", same, "", ordinary},
}

// unknownSection is the rule for all others.
var unknownSection = sectionRule{"*", refused, "", "nothing is known of it"}

// ruleOf returns what becomes of a section.
func ruleOf(section string) *sectionRule {
	for i := range sectionRules {
		if ok, _ := path.Match(sectionRules[i].pattern, section); ok {
			return &sectionRules[i]
		}
	}
	return &unknownSection
}

// kernelSection reports sections whose contents stay with the kernel.
func kernelSection(name string) bool { return ruleOf(name).does == dropped }

// placed names the section of the module that a section goes into.
func placed(name string) string {
	if r := ruleOf(name); r.does == moved {
		return r.to
	}
	return name
}

// perCPU reports objects of which every CPU has one.
func perCPU(section string) bool {
	return section == perCPUSection || strings.HasPrefix(section, perCPUSection+"..")
}

const doSection = "undo the change, or give what is in it no section"

// refusedSection is the refusal of something in a section that a module must not have.
func refusedSection(name, section string) Refusal {
	return Refusal{Class: Section, Name: name, Do: doSection,
		Why: "is in section " + section + ", which the module loader does not treat as the kernel does (" + ruleOf(section).why + ")"}
}

// CheckSections refuses a module in which there is anything that is loaded into memory
// and belongs into a section that the loader does not know.
func CheckSections(ko string) ([]Refusal, error) {
	f, err := elf.Open(ko)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []Refusal
	for _, s := range f.Sections {
		loaded := s.Flags&elf.SHF_ALLOC != 0 && s.Size > 0 && s.Type != elf.SHT_RELA
		if does := ruleOf(s.Name).does; loaded && (does == refused || does == moved) {
			out = append(out, refusedSection("the module", s.Name))
		}
	}
	return out, nil
}
