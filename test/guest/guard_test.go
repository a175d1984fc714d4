// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// edit replaces text in the working directory, and takes it back at the end.
func edit(t *testing.T, file, from, to string) {
	t.Helper()
	path := filepath.Join(shared.work, file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), from) == 0 {
		t.Fatalf("%s does not contain %q", file, from)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("git", "-C", shared.work, "checkout", "-q", "--", file).CombinedOutput(); err != nil {
			t.Errorf("git checkout: %v: %s", err, out)
		}
	})
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestGuards: what could not take effect is refused, by name, and nothing is
// built; the change beside it that can is accepted.
func TestGuards(t *testing.T) {
	const refused = 6
	for _, c := range []struct {
		name           string
		file, from, to string
		code           int
		want           []string
	}{
		{"schedule stays", "kernel/sched/core.c",
			"\tsched_submit_work(tsk);\n", "\tsched_submit_work(tsk);\n\ttsk->nvcsw += 2;\n",
			refused, []string{"kernel/sched/core.c:", " schedule stays in the kernel", "__sched"}},
		{"inlined into a function that stays", "kernel/sched/core.c",
			"\tif (task_is_running(tsk))\n\t\treturn;\n", "\tif (task_is_running(tsk) || tsk->pid == 12345)\n\t\treturn;\n",
			refused, []string{" schedule stays in the kernel", "sched_submit_work"}},
		{"called behind the context switch", "kernel/sched/core.c",
			"\tperf_event_task_sched_in(prev, current);", "\tperf_event_task_sched_in(prev, current);\n\tcurrent->nvcsw++;",
			refused, []string{"finish_task_switch"}},
		{"init code", "kernel/sched/core.c",
			"\twait_bit_init();\n", "\twait_bit_init();\n\tinit_task.nvcsw = 1;\n",
			refused, []string{"sched_init", "__init"}},
		{"a structure of the kernel", "kernel/sched/sched.h",
			"\tunsigned int\t\tnr_running;\n#ifdef CONFIG_NUMA_BALANCING", "\tunsigned int\t\tnr_running;\n\tunsigned long\t\tmine;\n#ifdef CONFIG_NUMA_BALANCING",
			refused, []string{"struct rq", "kernel/sched/sched.h:"}},
		{"a shared variable's first value", "kernel/sched/fair.c",
			"unsigned int sysctl_sched_latency\t\t\t= 6000000ULL;", "unsigned int sysctl_sched_latency\t\t\t= 7000000ULL;",
			refused, []string{"sysctl_sched_latency", "initial value"}},
		{"no C at all", "kernel/sched/fair.c",
			"static void rq_online_fair(struct rq *rq)\n{", "static void rq_online_fair(struct rq *rq)\n{\n\tthis is not C;",
			refused, []string{"kernel/sched/fair.c:", "error:"}},
		{"a class method", "kernel/sched/fair.c",
			"static void rq_online_fair(struct rq *rq)\n{", "static unsigned long times_online;\n\nstatic void rq_online_fair(struct rq *rq)\n{\n\ttimes_online++;",
			0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, err := os.ReadFile(shared.project.Module())
			if err != nil {
				t.Fatal(err)
			}
			edit(t, c.file, c.from, c.to)
			out, code := plugsched(t, "build", shared.work)
			if code != c.code {
				t.Fatalf("exit code %d, expected %d:\n%s", code, c.code, out)
			}
			for _, w := range c.want {
				if !strings.Contains(out, w) {
					t.Errorf("%q is not in the message:\n%s", w, out)
				}
			}
			after, err := os.ReadFile(shared.project.Module())
			if err != nil {
				t.Fatal(err)
			}
			if changed := string(before) != string(after); changed != (c.code == 0) {
				t.Errorf("the module changed: %v", changed)
			}
		})
	}
	if out, code := plugsched(t, "build", shared.work); code != 0 {
		t.Fatalf("the tree does not build any more: %d\n%s", code, out)
	}
}

// TestGuardSignature: the kernel goes on calling a border function as it always
// did.
func TestGuardSignature(t *testing.T) {
	edit(t, "kernel/sched/smp.h", "sched_ttwu_pending(void *arg)", "sched_ttwu_pending(struct llist_node *arg)")
	edit(t, "kernel/sched/core.c", "sched_ttwu_pending(void *arg)", "sched_ttwu_pending(struct llist_node *arg)")
	out, code := plugsched(t, "build", shared.work)
	if code != 6 || !strings.Contains(out, "sched_ttwu_pending changes its signature") || !strings.Contains(out, "kernel/sched/core.c:") {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
}

// TestBoundary holds facts about a real kernel, one for each class of function
// that a plain call graph misses.
func TestBoundary(t *testing.T) {
	for _, c := range []struct{ name, class, why string }{
		{"__schedule", "interface", "is called by schedule "},
		{"schedule_tail", "interface", "ret_from_fork (arch/x86/entry/entry_64.S)"},
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
