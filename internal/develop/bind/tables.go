// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"fmt"
	"slices"
	"strings"

	"plugsched/internal/develop/asm"
)

// tableKind is a kind of variable by which the kernel has learned of something at boot. What it made of it then it
// goes on with, whatever the variable says; a module gives it one of its own by a call, and takes it back.
type tableKind struct {
	typ      string // of the variable, or of the elements of an array
	register string // "" if there is no such call once the kernel has booted
	end      string
}

// The calls are those of the headers named.
var registeredTables = []tableKind{
	{"struct ctl_table", "register_sysctl(\"kernel\", TABLE)", "unregister_sysctl_table()"}, // include/linux/sysctl.h
	// include/linux/cgroup.h: files of the unified hierarchy, and of those before it.
	{"struct cftype", "cgroup_add_dfl_cftypes(&SUBSYS, TABLE), of cgroup v1 by cgroup_add_legacy_cftypes()", "cgroup_rm_cftypes()"},
	{"struct proc_ops", "proc_create(NAME, MODE, NULL, &TABLE)", "remove_proc_entry()"},                   // include/linux/proc_fs.h
	{"struct seq_operations", "proc_create_seq(NAME, MODE, NULL, &TABLE)", "remove_proc_entry()"},         // include/linux/proc_fs.h
	{"struct file_operations", "debugfs_create_file(NAME, MODE, NULL, NULL, &TABLE)", "debugfs_remove()"}, // include/linux/debugfs.h
	{"struct attribute_group", "sysfs_create_group(KOBJ, &TABLE)", "sysfs_remove_group()"},                // include/linux/sysfs.h
	{"struct cpufreq_governor", "cpufreq_register_governor(&TABLE)", "cpufreq_unregister_governor()"},     // include/linux/cpufreq.h
	{"struct miscdevice", "misc_register(&TABLE)", "misc_deregister()"},                                   // include/linux/miscdevice.h
	{"struct syscore_ops", "register_syscore_ops(&TABLE)", "unregister_syscore_ops()"},                    // include/linux/syscore_ops.h
	{"struct notifier_block", "the register function of its chain", "the unregister function"},            // include/linux/notifier.h
	{"struct cgroup_subsys", "", ""}, // include/linux/cgroup_subsys.h: the list of controllers is in the image
	{"struct kobj_type", "", ""},
}

// cftypeCalls are the calls for a table of struct cftype by the member of struct cgroup_subsys (include/linux/cgroup-defs.h)
// that names it: a file has to be of the hierarchy that the others are of.
var cftypeCalls = []struct{ member, register string }{
	{"dfl_cftypes", "cgroup_add_dfl_cftypes(&SUBSYS, TABLE)"}, {"legacy_cftypes", "cgroup_add_legacy_cftypes(&SUBSYS, TABLE)"}}

// registerAdvice says how a module gives the kernel what was put into a variable that is registered; "" if the
// variable is of no such kind. The kernel's function that made it known is who, if that is known.
func (c *comparer) registerAdvice(d *asm.Def, who string) string {
	o := c.plan.kernel.objects[key{d.Name, c.plan.Unit}]
	if o == nil {
		return ""
	}
	for _, t := range registeredTables {
		if elementType(o.Type) != t.typ {
			continue
		}
		if t.register == "" {
			return "undo the change, and change the functions that it names: those that move take effect"
		}
		call := t.register
		if s := c.plan.kernel.objects[key{who, c.plan.Unit}]; s != nil && s.Type == "struct cgroup_subsys" {
			members := c.src.Designated(who, c.plan.kernel.sourceName(d.Name))
			var calls []string
			for _, by := range cftypeCalls {
				if slices.Contains(members, by.member) {
					calls = append(calls, by.register)
				}
			}
			if len(calls) > 0 {
				call = strings.Join(calls, " and ")
			}
			call = strings.ReplaceAll(call, "SUBSYS", who)
		}
		return fmt.Sprintf("undo the change, put what is new into a table of your own, and make it known in plugsched_init() by %s, "+
			"until plugsched_exit(): %s (docs/develop/hooks.md#tables)", call, t.end)
	}
	return ""
}
