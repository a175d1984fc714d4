// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"fmt"
	"strings"

	"plugsched/internal/kernel/image"
	"plugsched/internal/kernel/symbols"
)

// probes tell the runtime what this kernel's structures have. The debug
// information says so; version numbers do not, because distributions backport.
var probes = []struct{ macro, structure, member, why string }{
	{"PLUGSCHED_HAVE_STOP_WORK_CALLER", stopWork, "caller", "a recorded return address, which must not outlive the module"},
	{"PLUGSCHED_HAVE_VLAG", "struct sched_entity", "vlag", "EEVDF: a dequeued task keeps its lag, not its virtual time"},
	{"PLUGSCHED_HAVE_THROTTLE_NODE", "struct task_struct", "throttle_node", "fair tasks are throttled one by one, and are on no queue then"},
	{"PLUGSCHED_HAVE_ZERO_VRUNTIME", "struct cfs_rq", "zero_vruntime", "replaces min_vruntime"},
	{"PLUGSCHED_HAVE_TASK_STATE", "struct task_struct", "__state", "replaces state, which was signed"},
	{"PLUGSCHED_HAVE_KRETPROBE_INSTANCES", "struct task_struct", "kretprobe_instances", "the return probes that a task is in; later rethooks"},
	{"PLUGSCHED_HAVE_RQ_SPINLOCK", "struct rq", "lock", "a run queue has a lock of its own, which no function hides"},
	{"PLUGSCHED_HAVE_D_CHILDREN", "struct dentry", "d_children", "replaces the list d_subdirs"},
	{"PLUGSCHED_HAVE_MM_MT", "struct mm_struct", "mm_mt", "mappings are in a maple tree, no longer in a list"},
	{"PLUGSCHED_HAVE_DL_SERVER", "struct sched_dl_entity", "dl_server", "an entity on the deadline queue that is no task"},
	{"PLUGSCHED_HAVE_EXT_SERVER", "struct rq", "ext_server", "one for tasks of BPF schedulers (sched_ext)"},
	{"PLUGSCHED_HAVE_NR_QUEUED", "struct cfs_rq", "nr_queued", "replaces nr_running"},
	{"PLUGSCHED_HAVE_H_LOAD", "struct sched_entity", "h_load", "the tasks of all groups are in one tree, by their part of the CPU"},
	{"PLUGSCHED_HAVE_GROUP_ENTITIES", "struct task_group", "se", "groups have arrays of entities and queues, in later kernels per-CPU data"},
	{"PLUGSCHED_HAVE_PROC_DOPS", "struct proc_dir_entry", "proc_dops", "a file in /proc may have operations for its name"},
	{"PLUGSCHED_HAVE_FAIR_SERVER", "struct rq", "fair_server", "fair tasks' own, instead of realtime throttling"},
	{"PLUGSCHED_HAVE_RT_THROTTLED", "struct rt_rq", "rt_throttled", "realtime tasks may have had their share of a period"},
	{"PLUGSCHED_HAVE_SCHED_DELAYED", "struct sched_entity", "sched_delayed", "sleepers and empty groups may stay queued for a while"},
	{"PLUGSCHED_HAVE_REL_DEADLINE", "struct sched_entity", "rel_deadline", "a dequeued task keeps its deadline"},
}

// symbolProbes do the same for global functions and variables of the kernel.
var symbolProbes = []struct{ macro, symbol, why string }{
	{"PLUGSCHED_HAVE_FEATURES", "sched_feat_keys", "the administrator can set features; without, they are constants"},
	{"PLUGSCHED_HAVE_HRTIMER_SETUP", "hrtimer_setup", "replaces hrtimer_init()"},
	{"PLUGSCHED_HAVE_KMSG_NOLOCK", "kmsg_dump_rewind_nolock", "who reads the kernel's log has a dumper, later an iterator"},
	{"PLUGSCHED_HAVE_DYING", "__cpu_dying_mask", "CPUs that go offline are known while they still run"},
	{"PLUGSCHED_HAVE_KTHREAD_FUNC", "kthread_func", "what a kernel thread runs, or will run"},
	{"PLUGSCHED_HAVE_KERNFS_MUTEX", "kernfs_mutex", "guards all trees of files like sysfs"},
	{"PLUGSCHED_HAVE_KERNFS_RWSEM", "kernfs_rwsem", "the same later; now each has its own"},
	{"PLUGSCHED_HAVE_SYSTEM_PERCPU_WQ", "system_percpu_wq", "and system_dfl_wq: queues of their own beside system_wq and system_unbound_wq"},
	{"PLUGSCHED_HAVE_RQ_UNLOCK", "raw_spin_rq_unlock", "where it is none, the scheduler's header has the code"},
	{"PLUGSCHED_HAVE_SCX", "scx_root", "the BPF scheduler that runs (sched_ext)"},
}

// sizeProbes are sizes, in bytes, of objects whose types only one file of the kernel
// knows, and of functions.
var sizeProbes = []struct{ macro, object, why string }{
	{"PLUGSCHED_SIZE_TIMER_BASES", "timer_bases", "every CPU's timer wheels (kernel/time/timer.c)"},
	{"PLUGSCHED_SIZE_KPROBE_TABLE", "kprobe_table", "all kprobes (kernel/kprobes.c)"},
	{"PLUGSCHED_SIZE_COPY_PROCESS", "copy_process", "in which new tasks are made (kernel/fork.c)"},
}

// objectProbes do the same for variables of the kernel, which only one file declares.
var objectProbes = []struct{ macro, object, structure, why string }{
	{"PLUGSCHED_HAVE_PUSH_WORK", "push_work", stopWork, "each CPU's stopper work for its tasks while it goes offline (kernel/sched/core.c)"},
}

// stopWork is what a stopper thread is given to do.
const stopWork = "struct cpu_stop_work"

// rqStopWorks says where a run queue has works, in the order of its members.
func rqStopWorks(t *image.Types) string {
	var list []string
	for _, m := range t.Layouts["struct rq"].Members {
		if m.Type == stopWork {
			list = append(list, "offsetof(struct rq, "+m.Name+")")
		}
	}
	return "#define PLUGSCHED_RQ_STOP_WORKS " + strings.Join(list, ", ") + "\n"
}

// configHeader renders the answers for the runtime.
func configHeader(t *image.Types, kernel *symbols.Table) string {
	var b strings.Builder
	b.WriteString("/* SPDX-License-Identifier: GPL-2.0-only */\n/* Generated from the kernel's debug information. */\n")
	for _, p := range probes {
		for _, m := range t.Layouts[p.structure].Members {
			if m.Name == p.member {
				b.WriteString("#define " + p.macro + " 1 /* " + p.why + " */\n")
			}
		}
	}
	for _, p := range symbolProbes {
		if kernel.Global(p.symbol) != nil {
			b.WriteString("#define " + p.macro + " 1 /* " + p.why + " */\n")
		}
	}
	for _, p := range objectProbes {
		if l := kernel.Named(p.object); len(l) == 1 && l[0].Kind == symbols.Object && int64(l[0].Size) == t.Layouts[p.structure].Size {
			b.WriteString("#define " + p.macro + " 1 /* " + p.why + " */\n")
		}
	}
	b.WriteString(rqStopWorks(t))
	for _, p := range sizeProbes {
		if l := kernel.Named(p.object); len(l) == 1 {
			fmt.Fprintf(&b, "#define %s %d /* %s */\n", p.macro, l[0].Size, p.why)
		}
	}
	return b.String()
}
