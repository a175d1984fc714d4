// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/guest/vm"
)

// patch is one edit of a working directory.
type patch struct {
	file, from, to string // from "" makes a new file, or adds to the end of one
}

// apply makes an edit.
func (c patch) apply(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, c.file)
	text, err := os.ReadFile(path)
	if err != nil && !(c.from == "" && errors.Is(err, os.ErrNotExist)) {
		t.Fatal(err)
	}
	if c.from == "" {
		text = append(text, c.to...)
	} else {
		if !bytes.Contains(text, []byte(c.from)) {
			t.Fatalf("%s does not contain %q", c.file, c.from)
		}
		text = bytes.Replace(text, []byte(c.from), []byte(c.to), 1)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// at returns FILE:LINE of a text in a working directory.
func at(t *testing.T, dir, file, text string) string {
	t.Helper()
	all, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(all), text)
	if !ok {
		t.Fatalf("%s does not contain %q", file, text)
	}
	return fmt.Sprintf("%s:%d:", file, 1+strings.Count(before, "\n"))
}

// What could not take effect, in a form that no other one hides. here is on the line
// that the refusal names, name what it calls the thing, class the section of
// docs/develop/refusals.md. The functions are Linux 6.1's.
const (
	core   = "kernel/sched/core.c"
	fair   = "kernel/sched/fair.c"
	rt     = "kernel/sched/rt.c"
	schedH = "kernel/sched/sched.h"
)

var lost = []struct {
	patch
	here, name, class, why string
}{
	{patch{core, "\tsched_submit_work(tsk);\n", "\tsched_submit_work(tsk);\n\ttsk->nvcsw += 2;\n"},
		"\ttsk->nvcsw += 2;", "schedule", "stays", "__sched"},
	{patch{core, "\tif (task_is_running(tsk))\n\t\treturn;\n", "\tif (task_is_running(tsk) || tsk->pid == 12345)\n\t\treturn;\n"},
		"tsk->pid == 12345", "sched_submit_work", "inlined", "inlined into schedule"},
	{patch{core, "\tperf_event_task_sched_in(prev, current);", "\tperf_event_task_sched_in(prev, current);\n\tcurrent->nvcsw++;"},
		"\tcurrent->nvcsw++;", "finish_task_switch", "stays", "clone"},
	{patch{schedH, "#define TASK_ON_RQ_QUEUED\t1", "#define TASK_ON_RQ_QUEUED\t3"},
		"#define TASK_ON_RQ_QUEUED", "affine_move_task", "stays", "uses task_on_rq_queued, TASK_ON_RQ_QUEUED (macro)"},
	{patch{core, "\twait_bit_init();\n", "\twait_bit_init();\n\tinit_task.nvcsw = 1;\n"},
		"\tinit_task.nvcsw = 1;", "sched_init", "init", "__init"},
	{patch{"kernel/sched/topology.c", ".busy_factor\t\t= 16,", ".busy_factor\t\t= 48,"},
		"\t\t= 48,", "sd_init", "builder", "is a part of build_sched_domains"},
	{patch{core, "", "static int __init lost_setup(char *s)\n{\n\treturn 1;\n}\n__setup(\"lost=\", lost_setup);\n"},
		"__setup(\"lost=\"", "__setup(lost=)", "parameter", "command line"},
	{patch{core, "\nvoid sched_ttwu_pending(void *arg)", "\nvoid sched_ttwu_pending(struct llist_node *arg)"},
		"void sched_ttwu_pending(struct llist_node *arg)", "sched_ttwu_pending", "signature", `from "void (void *)"`},
	{patch{"kernel/sched/smp.h", "sched_ttwu_pending(void *arg)", "sched_ttwu_pending(struct llist_node *arg)"}, "", "", "", ""},
	{patch{rt, "static enum hrtimer_restart sched_rt_period_timer(", "static enum hrtimer_restart lost_timer("}, "", "", "", ""},
	{patch{rt, "function = sched_rt_period_timer;", "function = lost_timer;"}, "", "sched_rt_period_timer", "entry", "no longer a function"},
	{patch{schedH, "\tunsigned int\t\tnr_running;\n#ifdef CONFIG_NUMA_BALANCING",
		"\tunsigned int\t\tnr_running;\n\tunsigned long\t\tlost;\n#ifdef CONFIG_NUMA_BALANCING"},
		"\tunsigned long\t\tlost;", "struct rq", "layout", "+ long unsigned int lost at byte 8; "},
	{patch{fair, "unsigned long capacity = scale_rt_capacity(cpu);\n",
		"unsigned long capacity = scale_rt_capacity(cpu);\n\n\tcpu_relax();\n"}, "", "", "", ""},
	{patch{fair, "unsigned int sysctl_sched_latency\t\t\t= 6000000ULL;", "unsigned int sysctl_sched_latency\t\t\t= 7000000ULL;"},
		"= 7000000ULL;", "sysctl_sched_latency", "value", "initial value"},
	{patch{fair, "static unsigned int sched_nr_latency = 8;", "static unsigned int sched_nr_latency = 9;"},
		"sched_nr_latency = 9;", "sched_nr_latency", "value", "initial value"},
	{patch{core, "static struct ctl_table sched_core_sysctls[] = {\n",
		"static struct ctl_table sched_core_sysctls[] = {\n\t{ .procname = \"lost\", .data = &sched_rr_timeslice, .mode = 0444 },\n"},
		`.procname = "lost"`, "sched_core_sysctls", "variable", "sched_core_sysctl_init registered that at boot"},
	{patch{"include/linux/sched.h", "#define TASK_NOLOAD\t\t\t0x00000400", "#define TASK_NOLOAD\t\t\t0x00010000"},
		"#define TASK_NOLOAD", "TASK_NOLOAD", "header", "kernel/hung_task.c:"},
	{patch{core, "", "EXPORT_SYMBOL_GPL(update_rq_clock);\n"}, "EXPORT_SYMBOL_GPL(update_rq_clock);",
		"EXPORT_SYMBOL_GPL(update_rq_clock)", "export", "export"},
	{patch{core, "", "SYSCALL_DEFINE1(lost, int, x)\n{\n\treturn x + nr_running();\n}\n"}, "SYSCALL_DEFINE1(lost,",
		"SYSCALL_DEFINE1(lost)", "syscall", "table of system calls"},
	{patch{core, "", "static int lost_param;\ncore_param(lost_param, lost_param, int, 0644);\n"}, "core_param(lost_param",
		"core_param(lost_param)", "parameter", "command line"},
	{patch{core, "", "static int __init lost_late(void)\n{\n\treturn 0;\n}\nlate_initcall(lost_late);\n"}, "late_initcall(lost_late)",
		"late_initcall(lost_late)", "initcall", "boot is over"},
	{patch{"include/trace/events/sched.h", "TRACE_EVENT(sched_wake_idle_without_ipi,",
		"TRACE_EVENT(sched_lost,\n\tTP_PROTO(int cpu),\n\tTP_ARGS(cpu),\n\tTP_STRUCT__entry(__field(int, cpu)),\n\tTP_fast_assign(__entry->cpu = cpu;),\n\tTP_printk(\"%d\", __entry->cpu)\n);\n\nTRACE_EVENT(sched_wake_idle_without_ipi,"},
		"TRACE_EVENT(sched_lost,", "TRACE_EVENT(sched_lost)", "tracepoint", "list of tracepoints"},
	{patch{core, "", "static void lost_target(void) { nr_iowait(); }\nDEFINE_STATIC_CALL(lost_call, lost_target);\n"},
		"DEFINE_STATIC_CALL(lost_call", "DEFINE_STATIC_CALL(lost_call)", "static-call", "trampoline"},
	{patch{fair, "", "DEFINE_SCHED_CLASS(lost) = {\n\t.task_tick = task_tick_fair,\n};\n"}, "DEFINE_SCHED_CLASS(lost)",
		"lost_sched_class", "class", "new scheduling class"},
	{patch{rt, "", "struct lost_policy {\n\tint id;\n\tstruct sched_class class;\n};\n\nstatic struct lost_policy lost_own __used = {\n\t.class.task_tick = task_tick_rt,\n};\n"},
		"static struct lost_policy lost_own", "lost_own", "class", "new scheduling class"},
	{patch{fair, "", "int __nosavedata lost_quiet;\n"}, "int __nosavedata lost_quiet", "lost_quiet", "section", ".data..nosave"},
	{patch{core, "static __always_inline struct rq *\ncontext_switch(", "static noinline struct rq *\ncontext_switch("},
		"static noinline struct rq *\ncontext_switch(", "context_switch", "switch", "is not __schedule"},
	{patch{core, "", "NOKPROBE_SYMBOL(yield);\n"}, "", "_kbl_addr_yield", "registered", "_kprobe_blacklist"},
	{patch{core, "", "#ifdef CONFIG_SCHED_LOST\nint sched_lost;\n#endif\n"}, "#ifdef CONFIG_SCHED_LOST", "CONFIG_SCHED_LOST",
		"compiled-out", "an option that nothing defines"},
	{patch{"kernel/sched/lost.c", "", "int lost;\n"}, "int lost;", "lost.c", "not-compiled", "compiled by nothing"},
	{patch{"kernel/sched/Makefile", "", "obj-y += lost/\n"}, "obj-y += lost/", "lost/", "not-compiled", "directory"},
}

// kept is what can take effect, each beside one that cannot.
var kept = []patch{
	// New code in a file of its own, and a border function that moves there.
	{"kernel/sched/kept.c", "", "// SPDX-License-Identifier: GPL-2.0-only\n#include <linux/sched/cputime.h>\n#include \"sched.h\"\n\nstatic DEFINE_PER_CPU(int, shown);\n\n" +
		"int kept_version(struct rq *rq)\n{\n\trq->kept = 900;\n\treturn rq->kept + this_cpu_inc_return(shown) * 0 + 15;\n}\n\n" +
		"int idle_cpu(int cpu)\n{\n\tstruct rq *rq = cpu_rq(cpu);\n\n\treturn rq->curr == rq->idle && !rq->nr_running && !rq->ttwu_pending;\n}\n"},
	{"kernel/sched/Makefile", "", "obj-y += kept.o\n"},
	{core, "\nint idle_cpu(int cpu)\n{", "\nstatic int __maybe_unused old_idle_cpu(int cpu)\n{"},
	// A callback, which shows all that is in this list.
	{"kernel/sched/stats.c", `seq_printf(seq, "version %d\n", SCHEDSTAT_VERSION);`,
		`seq_printf(seq, "version %d\n", kept_version(this_rq()) + sched_prio_to_weight[0] - 88762 + KEPT_ZERO);`},
	// A member in a hole, new definitions in headers, a constant that only moving code reads.
	{schedH, "\tunsigned int\t\tclock_update_flags;\n", "\tunsigned int\t\tclock_update_flags;\n\tunsigned int\t\tkept;\n"},
	{schedH, "extern const_debug unsigned int sysctl_sched_features;",
		"extern const_debug unsigned int sysctl_sched_features;\nextern int kept_version(struct rq *rq);"},
	{"include/linux/sched.h", "#define TASK_NOLOAD\t", "/* new, so that nobody else has it */\n#define KEPT_ZERO\t0\n#define TASK_NOLOAD\t"},
	{core, "/* -20 */     88761,", "/* -20 */     88762,"},
	// A structure with a list in it that is on the module's stack only.
	{fair, "\tint\t\t\tnew_dst_cpu;\n", "\tint\t\t\tnew_dst_cpu;\n\tlong\t\t\tkept;\n"},
	// A class method, with a new variable; an internal function with another signature.
	{fair, "static void rq_online_fair(struct rq *rq)\n{", "static unsigned long times_online;\n\nstatic void rq_online_fair(struct rq *rq)\n{\n\ttimes_online++;"},
	{rt, "static int push_rt_task(struct rq *rq, bool pull)", "static int push_rt_task(struct rq *rq, int pull)"},
	// An option of the change's own, and lines for a configuration that this kernel does not have.
	{"include/linux/kconfig.h", "#endif /* __LINUX_KCONFIG_H */", "#define CONFIG_SCHED_KEPT 1\n#endif /* __LINUX_KCONFIG_H */"},
	{rt, "static void rq_online_rt(struct rq *rq)\n{",
		"static void rq_online_rt(struct rq *rq)\n{\n#ifdef CONFIG_SCHED_KEPT\n\tbarrier();\n#endif"},
	{core, "#ifdef CONFIG_SCHED_CORE\n", "#ifdef CONFIG_SCHED_CORE\nstatic int kept_elsewhere;\n"},
}

// TestGuards: what could not take effect is refused, by name, at the line of the
// edit, and nothing is built.
func TestGuards(t *testing.T) {
	t.Parallel()
	const refused = 6
	dir, _ := workbench(t)
	for _, c := range lost {
		c.apply(t, dir)
	}
	out, code := plugsched(t, "build", dir)
	if code != refused {
		t.Fatalf("exit code %d, expected %d:\n%s", code, refused, out)
	}
	for _, c := range lost {
		if c.class == "" {
			continue // a part of another one, or innocent
		}
		where := ""
		if c.here != "" {
			where = at(t, dir, c.file, c.here)
		}
		found := 0
		for line := range strings.Lines(strings.TrimPrefix(out, "plugsched: ")) {
			if strings.Contains(line, where) && strings.Contains(line, " "+c.name) && strings.Contains(line, c.why) &&
				strings.HasSuffix(line, "(docs/develop/refusals.md#"+c.class+")\n") {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%d refusals of %q at %q, class %s, because of %q", found, c.name, where, c.class, c.why)
		}
	}
	// It moves. Who stays and differs does so because of the structure's layout.
	if strings.Contains(out, "update_cpu_capacity") {
		t.Error("a function that moves is blamed for what others did")
	}
	if t.Failed() {
		t.Log(out)
	}
	if made, _ := filepath.Glob(filepath.Join(dir, "scheduler*")); len(made) != 0 {
		t.Errorf("something was made: %q", made)
	}
}

// TestGuardsAccept: what is beside the refused takes effect.
func TestGuardsAccept(t *testing.T) {
	t.Parallel()
	dir, done := workbench(t)
	for _, c := range kept {
		c.apply(t, dir)
	}
	out, code := plugsched(t, "build", dir)
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	for _, want := range []string{"warning: struct rq: kept is where the kernel has nothing",
		"(1 line) is compiled out by #ifdef CONFIG_SCHED_CORE in line "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if strings.Contains(out, "CONFIG_SCHED_KEPT") {
		t.Errorf("an option that the tree defines is told:\n%s", out)
	}
	ko := done()
	m := borrow(t, func(c *vm.Config) { c.Files = append(c.Files, vm.File{GuestPath: "/kept.ko", Content: ko}) })
	version := func() string { return ok(t, m, "head -n 1 /proc/schedstat") }
	was := version()
	ok(t, m, "plugsched install /kept.ko")
	if is := version(); was != "version 15" || is != "version 915" {
		t.Errorf("%q before, %q with the module", was, is)
	}
	ok(t, m, "schedload start --spec light; sleep 2; schedload stop")
	ok(t, m, "plugsched uninstall")
	if is := version(); is != was {
		t.Errorf("%q after removal", is)
	}
}

// TestGuardInput: what is no C and no YAML is refused with its place, and so is a
// configuration that contradicts what is known.
func TestGuardInput(t *testing.T) {
	t.Parallel()
	dir, _ := workbench(t)
	patch{fair, "static void rq_online_fair(struct rq *rq)\n{", "static void rq_online_fair(struct rq *rq)\n{\n\tthis is not C;"}.apply(t, dir)
	if out, code := plugsched(t, "build", dir); code != 6 || !strings.Contains(out,
		strings.TrimSuffix(at(t, dir, fair, "this is not C"), ":")) || !strings.Contains(out, "error:") {
		t.Errorf("no C: exit code %d:\n%s", code, out)
	}
	const config = "plugsched.yaml"
	pristine, err := os.ReadFile(filepath.Join(dir, config))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"interface:\n  schedule: [x\n":              config + ":2: ",
		"stay:\n  rq_online_fair: why\nstray: {}\n": config + ":3: unknown key stray",
		"stay:\n  f: a\ninterface:\n  f: b\n":       config + ":2: stay: f is listed under interface too (line 4)",
		"stay:\n  rq_online_fair: why\n":            config + ": has changed since `plugsched init`",
	} {
		patch{config, string(pristine), text}.apply(t, dir)
		if out, code := plugsched(t, "build", dir); code != 3 || !strings.Contains(out, want) || strings.Count(out, "\n") != 1 {
			t.Errorf("%q: exit code %d:\n%s", text, code, out)
		}
		patch{config, text, string(pristine)}.apply(t, dir)
	}
}

// TestBoundary holds facts about a real kernel, one for each class of function
// that a plain call graph misses.
func TestBoundary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, class, why string }{
		{"__schedule", "interface", "is called by schedule "},
		{"schedule_tail", "external", "any user can keep a task (schedule_tail is called by ret_from_fork (arch/x86/entry/entry_64.S)): schedule_tail calls __put_user_4"},
		{"__x64_sys_sched_rr_get_interval", "external", "calls put_timespec64, _copy_to_user"},
		{"sched_rr_get_interval", "interface", "is called by __x64_sys_sched_rr_get_interval"},
		{"psi_write", "external", "any user can keep a task"},
		{"psi_fop_release", "external", "psi_trigger_destroy calls synchronize_rcu"},
		{"wait_task_inactive", "external", "schedule_hrtimeout"},
		{"sched_cpu_deactivate", "callback", "cpuhp_hp_states"},
		{"sched_feat_write", "callback", "sched_feat_fops"},
		{"psi_trigger_create", "interface", "is called by pressure_write"},
		{"try_to_wake_up", "internal", ""},
		{"wake_up_process", "interface", "is exported"},
		{"sched_rt_period_timer", "callback", "its address is taken"},
		{"enqueue_task_fair", "internal", ""},
		{"schedule", "external", "__sched"},
		{"finish_task_switch", "external", "clone"},
		{"do_idle", "external", "sleeps"},
		{"sched_init", "init", "boot"},
		{"housekeeping_cpumask", "external", "static key"},
		{"fair_sched_class", "table", "in place"},
		{"sched_feat_keys", "private", "indexed"},
		{"runqueues", "shared", "inherited"},
	} {
		out, code := plugsched(t, "boundary", "why", c.name, "--dir", shared.work)
		if code != 0 || !strings.Contains(out, " is "+c.class) || !strings.Contains(out, c.why) {
			t.Errorf("boundary why %s: %d, expected %q and %q:\n%s", c.name, code, c.class, c.why, out)
		}
	}
	if out, code := plugsched(t, "boundary", "why", "no_such_function", "--dir", shared.work); code != 3 || strings.Count(out, "\n") != 1 {
		t.Errorf("unknown name: %d\n%s", code, out)
	}
	if r, err := shared.project.Reproduction(); err != nil || r.Functions < 900 || r.Reproduced != r.Functions {
		t.Errorf("reproduction: %+v, %v", r, err)
	}
}
