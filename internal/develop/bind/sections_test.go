// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"bytes"
	"debug/elf"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/kernel/arch"
)

func TestSectionRules(t *testing.T) {
	want := map[treatment][]string{
		same: {".data..percpu", ".text", ".text.unlikely", ".text..refcount", ".rodata.str1.8", ".rodata..c_jump_table",
			".data.rel.ro.local", ".data.once", ".data..once", ".data..read_mostly",
			".data..page_aligned", ".bss..page_aligned", ".data..cacheline_aligned", ".data..ro_after_init", ".noinstr.text",
			".cpuidle.text", ".sched.text", ".softirqentry.text", ".irqentry.text",
			".kprobes.text", ".ref.text", ".ref.data", ".data..Lubsan_data1", "__ex_table", "__bug_table", "__jump_table",
			".static_call_sites", ".orc_unwind", ".orc_unwind_ip", ".orc_header", ".discard.reachable",
			".altinstr_aux", ".altinstructions", ".retpoline_sites", ".return_sites", ".call_sites", "__mcount_loc", ".note.gnu.build-id",
			".gnu.linkonce.this_module"},
		moved: {".data..percpu..shared_aligned", ".data..percpu..page_aligned", ".data..percpu..read_mostly", ".data..percpu..first",
			".data..percpu..hot..this_cpu_off", "__tracepoint_check"},
		dropped: {".init.text", ".init.setup", ".initcall4.init", ".con_initcall.init", ".exit.data", ".fini_array", "__tracepoints_ptrs",
			"__tracepoints", "__param", "___ksymtab_gpl+f", "_kprobe_blacklist",
			".static_call.text", ".discard.noendbr", ".modinfo", ".BTF_ids"},
		refused: {"__fair_sched_class", ".data..percpu..decrypted", ".data..init_task", ".data..nosave", ".entry.text",
			".bss..brk", "runtime_ptr_USER_PTR_MAX", ".data..whatever", "__mine", ".meminit.text"},
	}
	for does, sections := range want {
		for _, s := range sections {
			if got := ruleOf(s); got.does != does {
				t.Errorf("%s is %s (%s), want %s", s, got.does, got.pattern, does)
			}
		}
	}
	seen := map[string]bool{}
	for _, r := range sectionRules {
		if r.why == "" || seen[r.pattern] || (r.does == moved) != (r.to != "") || r.to != "" && ruleOf(r.to).does != same {
			t.Errorf("%+v", r)
		}
		seen[r.pattern] = true
	}
}

const padded = `
void keep(void *);
#define PAD __attribute__((noipa, used, patchable_function_entry(16, 16)))
PAD void external(void) { keep(0); }
PAD void border(void) { keep(0); }
PAD static int dequeue_entities(void) { keep(0); return 1; }
PAD static int internal(void) { keep(0); return dequeue_entities(); }
`

// TestPadding: gcc links its list of padded functions to the first one, which stays in the
// kernel; the padding itself is there. And what the runtime calls it can call.
func TestPadding(t *testing.T) {
	u := compile(t, padded)
	k := kernelOf(t, u, map[string]boundary.Class{"external": boundary.External, "border": boundary.Interface}, nil)
	k.SetUnits(map[string]*asm.Unit{unitName: u}, map[string]*asm.Unit{unitName: u})
	f, err := elf.Open(object(t, string(k.Decide(unitName, u, u).Render())))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	code, err := f.Section(".text").Data()
	if err != nil {
		t.Fatal(err)
	}
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range syms {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC {
			continue
		}
		if before := code[max(s.Value, 16)-16 : max(s.Value, 16)]; bytes.Count(before, []byte{0x90}) != len(before) {
			t.Errorf("%s has % x before it", s.Name, before)
		}
		if global := elf.ST_BIND(s.Info) == elf.STB_GLOBAL; global != (s.Name != "internal") {
			t.Errorf("%s is global: %v", s.Name, global)
		}
	}
	for _, name := range arch.X86.Unread {
		if f.Section(name) != nil {
			t.Errorf("the module has %s", name)
		}
	}
}

// percpu has a variable of each kind, as include/linux/percpu-defs.h makes them for
// built-in code.
const percpu = `
void keep(void *);
#define PERCPU(kind, align) __attribute__((section(".data..percpu" kind), aligned(align)))
int plain PERCPU("", 4) = 1;
long aligned PERCPU("..shared_aligned", 64) = 2;
static char page[10] PERCPU("..page_aligned", 4096) = { 3 };
int mostly PERCPU("..read_mostly", 4) = 4;
int first PERCPU("..first", 4096) = 5;
__attribute__((used)) void user(void) { keep(&plain); keep(&aligned); keep(page); keep(&mostly); keep(&first); }
`

// TestPerCPU: per-CPU variables of all kinds go where the module loader looks for
// them, aligned as they were; new ones, and those of which the module has its own.
func TestPerCPU(t *testing.T) {
	u := compile(t, percpu)
	empty := &asm.Unit{Name: unitName}
	for name, p := range map[string]*Plan{
		"new": kernelOf(t, empty, nil, nil).Decide(unitName, u, empty),
		"private": kernelOf(t, u, nil, map[string]boundary.ObjectClass{"plain": boundary.Private, "aligned": boundary.Private,
			"page":   boundary.Private,
			"mostly": boundary.Private, "first": boundary.Private}).Decide(unitName, u, u),
	} {
		path := object(t, string(p.Render()))
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		syms, err := f.Symbols()
		if err != nil {
			t.Fatal(err)
		}
		at := map[string]uint64{}
		for _, s := range syms {
			if elf.ST_TYPE(s.Info) == elf.STT_OBJECT {
				at[s.Name] = s.Value
				if got := f.Sections[s.Section].Name; got != perCPUSection {
					t.Errorf("%s: %s is in %s", name, s.Name, got)
				}
			}
		}
		for v, align := range map[string]uint64{"aligned": 64, "page": 4096, "first": 4096} {
			if a, ok := at[v]; !ok || a%align != 0 {
				t.Errorf("%s: %s is at %#x, want it aligned to %d", name, v, a, align)
			}
		}
		if s := f.Section(perCPUSection); s == nil || s.Addralign != 4096 {
			t.Errorf("%s: section %+v", name, s)
		}
		if list, err := CheckSections(path); err != nil || len(list) > 0 {
			t.Errorf("%s: refused: %v, %v", name, list, err)
		}
	}
}

// TestCheckSections: a module whose loaded sections are not all known is refused,
// whatever put them there.
func TestCheckSections(t *testing.T) {
	text := ".section .data..percpu..shared_aligned,\"aw\"\n.quad 1\n.section .data..percpu,\"aw\"\n.quad 1\n.section __mine,\"a\"\n.quad 1\n" +
		".section __fair_sched_class,\"a\"\n.section .unloaded\n.quad 1\n.section .init.text,\"ax\"\nret\n"
	list, err := CheckSections(object(t, text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range list {
		if r.Class != Section || strings.Contains(r.String(), "\n") {
			t.Errorf("%+v", r)
		}
		_, rest, _ := strings.Cut(r.Why, "section ")
		name, _, _ := strings.Cut(rest, ",")
		got = append(got, name)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{".data..percpu..shared_aligned", "__mine"}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := CheckSections(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no file is no error")
	}
}

// TestRefusedSections: what is new in a section that modules do not have is refused by
// name; what the kernel has stays there.
func TestRefusedSections(t *testing.T) {
	pristine := scheduler + "int old SECTION(\".data..nosave\") = 1; NOINLINE void sees(void) { keep(&old); }\n"
	p, src := plan(t, pristine, pristine+"int mine SECTION(\".data..nosave\") = 1; NOINLINE SECTION(\".entry.text\") void enter(void) { keep(&mine); }\n")
	got := map[string]string{}
	for _, r := range p.Compare(src).Refusals {
		if r.Class == Section {
			got[r.Name] = r.Why
		}
	}
	if len(got) != 2 || !strings.Contains(got["mine"], ".data..nosave") || !strings.Contains(got["enter"], ".entry.text") {
		t.Errorf("refused: %v", got)
	}
}
