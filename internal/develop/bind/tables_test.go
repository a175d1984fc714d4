// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"os"
	"strings"
	"testing"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
)

const registeredText = `
struct ctl_table { int x; }; struct cftype { int x; }; struct cgroup_subsys { void *dfl_cftypes, *legacy_cftypes; };
struct ctl_table sysctls[2] = { { 1 }, { 2 } };
struct cftype cpu_files[2] = { { 1 }, { 2 } };
struct cftype old_files[2] = { { 1 }, { 2 } };
struct cftype both_files[2] = { { 1 }, { 2 } };
struct cgroup_subsys cpu_cgrp_subsys = { .dfl_cftypes = cpu_files };
struct cgroup_subsys old_cgrp_subsys = { .legacy_cftypes = old_files };
struct cgroup_subsys both_cgrp_subsys = { .dfl_cftypes = both_files, .legacy_cftypes = both_files };
int number = 1;
__attribute__((section(".init.text"))) void setup(void) { asm volatile("" : : "r"(sysctls)); }
`

// TestRegisterAdvice: whoever changes a table that was registered is told by which call a module registers one.
func TestRegisterAdvice(t *testing.T) {
	types := map[string]string{"sysctls": "struct ctl_table[2]", "cpu_files": "struct cftype[2]",
		"old_files": "struct cftype[2]", "both_files": "struct cftype[2]", "cpu_cgrp_subsys": "struct cgroup_subsys",
		"old_cgrp_subsys": "struct cgroup_subsys", "both_cgrp_subsys": "struct cgroup_subsys", "number": "int"}
	for _, tt := range []struct {
		from, to string
		class    Class
		why, do  string
	}{
		{"sysctls[2] = { { 1 }", "sysctls[2] = { { 3 }", Value, "its new initial value",
			`make it known in plugsched_init() by register_sysctl("kernel", TABLE), until`},
		{"sysctls[2] = { {", "sysctls[3] = { { 0 }, {", Variable, "setup registered that at boot",
			`make it known in plugsched_init() by register_sysctl("kernel", TABLE)`},
		{"cpu_files[2] = { { 1 }", "cpu_files[2] = { { 3 }", Value, "its new initial value",
			"by cgroup_add_dfl_cftypes(&cpu_cgrp_subsys, TABLE), until"},
		{"cpu_files[2] = { {", "cpu_files[3] = { { 0 }, {", Variable, "cpu_cgrp_subsys, which stays",
			"by cgroup_add_dfl_cftypes(&cpu_cgrp_subsys, TABLE), until plugsched_exit(): cgroup_rm_cftypes()"},
		{"old_files[2] = { { 1 }", "old_files[2] = { { 3 }", Value, "its new initial value",
			"by cgroup_add_legacy_cftypes(&old_cgrp_subsys, TABLE), until"},
		{"both_files[2] = { { 1 }", "both_files[2] = { { 3 }", Value, "its new initial value",
			"by cgroup_add_dfl_cftypes(&both_cgrp_subsys, TABLE) and cgroup_add_legacy_cftypes(&both_cgrp_subsys, TABLE), until"},
		{"subsys = { .dfl_cftypes = cpu_files", "subsys = { 0", Value, "its new initial value", "change the functions that it names"},
		{"number = 1", "number = 2", Value, "its new initial value", doValue},
	} {
		was, is := compile(t, registeredText), compile(t, strings.Replace(registeredText, tt.from, tt.to, 1))
		k := kernelOf(t, was, map[string]boundary.Class{"setup": boundary.Init}, nil)
		for _, o := range k.Boundary.Objects {
			o.Type = types[o.Name]
		}
		k.SetUnits(map[string]*asm.Unit{unitName: was}, map[string]*asm.Unit{unitName: is})
		src := &edits.Set{}
		src.Compare(unitName, registeredText, strings.Replace(registeredText, tt.from, tt.to, 1))
		c := k.Decide(unitName, is, was).Compare(src)
		if len(c.Refusals) != 1 || c.Refusals[0].Class != tt.class || !strings.Contains(c.Refusals[0].Why,
			tt.why) || !strings.Contains(c.Refusals[0].Do, tt.do) {
			t.Errorf("%s: %v", tt.to, c.Refusals)
		}
	}
}

// TestTablesDocumented: hooks.md has each kind of table and its calls.
func TestTablesDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/develop/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range registeredTables {
		call, _, _ := strings.Cut(k.register, "(")
		end, _, _ := strings.Cut(k.end, "(")
		for _, want := range []string{k.typ, call, end} {
			if !strings.Contains(string(text), want) {
				t.Errorf("no %q", want)
			}
		}
	}
}
