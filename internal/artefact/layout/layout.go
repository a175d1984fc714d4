// SPDX-License-Identifier: BSD-3-Clause

// Package layout names the data of a kernel that is looked through when a module is gone, for what still
// refers to it. A kernel may not tell anybody the names of its data (CONFIG_KALLSYMS_ALL): so a module knows
// where it is, and shows it.
package layout

import (
	"maps"
	"slices"
)

// Data bounds the kernel's static data (include/asm-generic/sections.h).
// What lies between was freed after boot (free_kernel_image_pages) and is
// anybody's memory.
var Data = [][2]string{{"__start_rodata", "__end_rodata"}, {"_sdata", "_edata"}, {"__bss_start", "__bss_stop"}}

// PerCPU are the names by which every CPU's copy of static data is found (include/asm-generic/percpu.h,
// kernel/smp.c).
var PerCPU = []string{"__per_cpu_offset", "__per_cpu_start", "__per_cpu_end", "nr_cpu_ids"}

// Harmless names data that may hold an address in a module that is gone.
var Harmless = map[string]string{
	"init_thread_union":            "the boot CPU's idle stack; stacks are inspected as such",
	"init_stack":                   "the boot CPU's idle stack; stacks are inspected as such",
	"init_task.thread":             "what the boot CPU's idle task had in registers when it was switched from",
	"entry_stack_storage":          "a stack; what is above its pointer is stale",
	"exception_stacks":             "stacks; what is above their pointers is stale",
	"irq_stack_backing_store":      "a stack; what is above its pointer is stale",
	"__start_bss_decrypted_unused": "freed after boot (arch/x86/mm/mem_encrypt_amd.c, mem_encrypt_free_decrypted_mem)",
	"module_alloc_base":            "where memory of modules begins (arch/arm64/kernel/kaslr.c)",
	"module_direct_base":           "the same, later (arch/arm64/kernel/module.c)",
	"module_plt_base":              "the same, of those that are farther away",
	"mod_tree":                     "bounds of all module memory (kernel/module/main.c)",
	"cur_orc_table":                "scratch of the last module load (arch/x86/kernel/unwind_orc.c)",
	"cur_orc_ip_table":             "scratch of the last module load (arch/x86/kernel/unwind_orc.c)",
}

// Jumps is the name under which a module shows the code by way of which its jumps lead to it.
const Jumps = "plugsched_via"

// Names are all of the kernel's.
func Names() []string {
	var out []string
	for _, d := range Data {
		out = append(out, d[0], d[1])
	}
	out = append(out, PerCPU...)
	return slices.Concat(out, slices.Sorted(maps.Keys(Harmless)))
}
