// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

const (
	tracing      = "/sys/kernel/tracing"
	kprobeEvents = tracing + "/kprobe_events"
)

// watched counts events of hooks that others have set.
type watched struct {
	what  string
	count string // a shell command that prints a number, which only grows
}

// watchAll checks that every hook goes on counting.
func watchAll(t *testing.T, m *vm.Machine, when string, list []watched) {
	t.Helper()
	var commands []string
	for _, w := range list {
		commands = append(commands, "echo $("+w.count+")")
	}
	all := strings.Join(commands, "; ")
	counts := func() (n []int) {
		for _, word := range strings.Fields(ok(t, m, all)) {
			c, err := strconv.Atoi(word)
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			n = append(n, c)
		}
		if len(n) != len(list) {
			t.Fatalf("%s: %d numbers of %d hooks: %v", when, len(n), len(list), n)
		}
		return n
	}
	before := counts()
	var after []int
	grown := func() bool {
		after = counts()
		for i := range list {
			if after[i] <= before[i] {
				return false
			}
		}
		return true
	}
	if !await(m, grown) {
		for i, w := range list {
			if after[i] <= before[i] {
				t.Errorf("%s: %s: from %d to %d events", when, w.what, before[i], after[i])
			}
		}
	}
	if e := ok(t, m, "cat /proc/sys/kernel/ftrace_enabled"); e != "1" {
		t.Errorf("%s: ftrace_enabled is %s", when, e)
	}
}

// events is how many a trace buffer has taken in. To read the buffer would itself be
// traced.
func events(dir string) string {
	return "awk '/^(entries|overrun):/ { n += $2 } END { print n + 0 }' " + dir + "/per_cpu/cpu*/stats"
}

// graphed checks that the function_graph tracer sees calls of functions.
func graphed(t *testing.T, m *vm.Machine, when string, functions ...string) {
	t.Helper()
	ok(t, m, "cd "+tracing+" && echo > trace && sleep 1 && echo 0 > tracing_on && cat trace > /run/graph; echo 1 > tracing_on")
	for _, f := range functions {
		if _, code := sh(t, m, "grep -q ' "+f+"()' /run/graph"); code != 0 {
			t.Errorf("%s: function_graph sees no call of %s", when, f)
		}
	}
}

// functionTracer sets the function tracer of an instance on a function.
func functionTracer(t *testing.T, m *vm.Machine, instance, function string) watched {
	t.Helper()
	dir := tracing + "/instances/" + instance
	ok(t, m, "mkdir "+dir+" && cd "+dir+" && echo "+function+" > set_ftrace_filter && echo function > current_tracer")
	return watched{"function tracer on " + function + ", " + instance, events(dir)}
}

func kprobe(t *testing.T, m *vm.Machine, name, where string) watched {
	t.Helper()
	ok(t, m, "echo p:"+name+" "+where+" >> "+kprobeEvents+" && echo 1 > "+tracing+"/events/kprobes/"+name+"/enable")
	return watched{"kprobe on " + where, "awk '$1 == \"" + name + "\" { print $2 }' " + tracing + "/kprobe_profile"}
}

// background starts the tool of that name; it counts until the guest ends.
func background(t *testing.T, m *vm.Machine, name, args string, hooks ...string) (list []watched) {
	t.Helper()
	file := "/run/living-" + name
	ok(t, m, "living "+args+" > "+file+" 2>&1 & until [ -s "+file+" ]; do sleep 0.1; done; cat "+file)
	for _, h := range hooks {
		list = append(list, watched{"living " + args + ": " + h, "awk '$1 == \"" + h + "\" { n += $2 } END { print n + 0 }' " + file})
	}
	return list
}

func addLiving(c *vm.Config) {
	c.Files = append(c.Files, vm.File{GuestPath: "/bin/living", HostPath: filepath.Join(shared.root, "bin/living")})
}

// TestLiving: tracers, probes, BPF and perf that others have set up go on counting
// while schedulers come and go; those set up later see the new scheduler's calls.
func TestLiving(t *testing.T) {
	t.Parallel()
	m := boot(t, both(other(t), addLiving))
	// No hogs: where they starve each other, every tracer waits long for RCU-tasks.
	ok(t, m, "schedload start --spec none,ping_pipe=2,ping_futex=1,sleeper=64,timer=4,fork=1")
	hooks := []watched{functionTracer(t, m, "function", "wake_up_process")}
	ok(t, m, "cd "+tracing+" && echo wake_up_process schedule > set_ftrace_filter && echo function_graph > current_tracer")
	hooks = append(hooks, watched{"function_graph", events(tracing)},
		kprobe(t, m, "moves", "wake_up_process"), kprobe(t, m, "stays", "schedule"))
	hooks = append(hooks, background(t, m, "perf", "perf", "cpu-clock", "sched:sched_switch")...)
	hooks = append(hooks, background(t, m, "fentry", "fentry wake_up_process", "wake_up_process")...)

	check := func(when string) {
		t.Helper()
		watchAll(t, m, when, hooks)
		graphed(t, m, when, "wake_up_process", "schedule")
	}
	check("before")
	ok(t, m, "plugsched install /scheduler.ko")
	check("installed")
	late := functionTracer(t, m, "late", "try_to_wake_up")
	hooks = append(hooks, late, kprobe(t, m, "late", kernels(t, m, "wake_up_process", 0)))
	hooks = append(hooks, background(t, m, "late", "fentry wake_up_process schedule_tail", "wake_up_process", "schedule_tail")...)
	check("set up while installed")
	ok(t, m, "plugsched install --replace /other.ko")
	// The tracer has found the kernel's and the first module's function by their name.
	hooks = slices.DeleteFunc(hooks, func(w watched) bool { return w == late })
	hooks = append(hooks, functionTracer(t, m, "later", "try_to_wake_up"))
	check("replaced")
	ok(t, m, "plugsched uninstall")
	check("removed")
	// In no second, those of the updates included, was anything missed.
	for _, file := range []string{"/run/living-perf", "/run/living-fentry"} {
		if out := ok(t, m, "grep -n ' 0$' "+file+" || true"); out != "" {
			t.Errorf("%s: counted nothing in a second:\n%s", file, out)
		}
	}
	ok(t, m, "schedload check --within 60 && schedload stop")
}

// kernels is where the kernel's own function is in a guest, behind offset bytes. While
// a module has a function of the same name, kprobes do not take the name.
func kernels(t *testing.T, m *vm.Machine, function string, offset int) string {
	t.Helper()
	text := ok(t, m, "awk 'NF == 3 && $3 == \""+function+"\" { print $1 }' /proc/kallsyms")
	addr, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%#x", addr+uint64(offset))
}

// jumpOf is the place in a function where its jump goes.
func jumpOf(t *testing.T, m *vm.Machine, function string) string {
	t.Helper()
	b, err := shared.project.Boundary()
	if err != nil {
		t.Fatal(err)
	}
	list := b.Find(function)
	if len(list) != 1 || !list[0].Class.Border() {
		t.Fatalf("%s: %v is not one redirected function", function, list)
	}
	return kernels(t, m, function, int(list[0].Jump))
}

// TestProbedJump: a kprobe where a jump is or would go forbids every update, by
// name, and changes nothing; without it the update works. A trial that ends waits.
func TestProbedJump(t *testing.T) {
	t.Parallel()
	m := borrow(t, other(t))
	a, b := moduleName(t, shared.project.Module()), moduleName(t, variant(t, otherPatch))
	const function = "wake_up_process"
	set := "echo p:mine " + jumpOf(t, m, function) + " > " + kprobeEvents + " && echo 1 > " + tracing + "/events/kprobes/mine/enable"
	const unset = "echo 0 > " + tracing + "/events/kprobes/mine/enable; echo > " + kprobeEvents
	refused := func(name string) {
		t.Helper()
		for _, command := range []string{"install /scheduler.ko", "install --replace /other.ko", "uninstall"} {
			if (name == "") == (command == "uninstall") || name != "" && command == "install /scheduler.ko" {
				continue
			}
			out, code := sh(t, m, "plugsched "+command)
			if last := lastLine(out); code != 3 || !strings.Contains(last, "function "+function+" is hooked") {
				t.Errorf("%s: exit code %d:\n%s", command, code, out)
			}
			runs(t, m, command, name)
		}
	}
	ok(t, m, set)
	refused("")
	ok(t, m, unset+"; plugsched install /scheduler.ko && "+set)
	refused(a)
	if hits := ok(t, m, "sleep 1; awk '{ print $2 }' "+tracing+"/kprobe_profile"); hits == "0" {
		t.Error("the kprobe does not work")
	}
	ok(t, m, unset+"; plugsched install --replace /other.ko && "+set)
	if out, code := sh(t, m, "plugsched uninstall"); code != 3 || !strings.Contains(out, "function "+function+" is hooked") {
		t.Errorf("uninstall: exit code %d:\n%s", code, out)
	}
	runs(t, m, "uninstall of the other", b)
	ok(t, m, unset+"; plugsched uninstall")

	ok(t, m, "plugsched try --for 2s /scheduler.ko && "+set+"; sleep 5")
	s := status(t, m)
	if !s.Active || !strings.Contains(s.RollingBack, "not confirmed") || !strings.Contains(s.RollingBack,
		"has to wait: something has hooked "+function) {
		t.Errorf("the trial is over, but a probe is there: %+v", s)
	}
	if log := ok(t, m, "dmesg"); !strings.Contains(log, a+" is to be left, but that has to wait") {
		t.Errorf("the kernel's log:\n%s", log)
	}
	ok(t, m, unset+"; sleep 3")
	if s = status(t, m); s.Active || len(s.Modules) != 1 || !strings.Contains(s.Report, function) {
		t.Errorf("the probe is gone: %+v", s)
	}
	ok(t, m, "plugsched uninstall")
	runs(t, m, "in the end", "")
}

// TestLivepatch: what a livepatch has replaced is refused, or told if it comes
// later; schedulers come and go all the same.
func TestLivepatch(t *testing.T) {
	t.Parallel()
	livepatch := buildKmod(t, filepath.Join(shared.root, "test/kmod/livepatch"))
	m := boot(t, both(other(t), with("/livepatch.ko", livepatch)))
	a, b := moduleName(t, shared.project.Module()), moduleName(t, variant(t, otherPatch))
	const (
		dir    = "/sys/kernel/livepatch/schedtest_livepatch"
		patch  = "insmod /livepatch.ko; for i in $(seq 900); do [ $(cat " + dir + "/transition) = 0 ] && exit; sleep 0.1; done; exit 1"
		remove = "echo 0 > " + dir + "/enabled; for i in $(seq 900); do [ -e " + dir + " ] || break; sleep 0.1; done; rmmod schedtest_livepatch"
	)
	patched := func(when string, want bool) {
		t.Helper()
		if got := ok(t, m, "grep procs_blocked /proc/stat") == "procs_blocked 4242"; got != want {
			t.Errorf("%s: patched: %v", when, got)
		}
	}
	ok(t, m, patch)
	for _, module := range []string{"/scheduler.ko", "/other.ko"} {
		refusal{"patched", "plugsched install " + module, 3, "a livepatch has replaced nr_iowait already"}.check(t, m)
	}
	runs(t, m, "patched before", "")
	ok(t, m, remove)

	ok(t, m, "plugsched install /scheduler.ko")
	takenOver := func(want ...string) {
		t.Helper()
		if got := status(t, m).TakenOver; !slices.Equal(got, want) {
			t.Errorf("taken over: %v, expected %v", got, want)
		}
	}
	takenOver()
	ok(t, m, patch)
	takenOver("nr_iowait")
	patched("over the module", true)
	refusal{"active", "plugsched install /other.ko", 3, "(" + a + ")"}.check(t, m)
	if out := ok(t, m, "plugsched install --replace /other.ko"); !strings.Contains(out, "a livepatch has replaced nr_iowait") {
		t.Errorf("replaced:\n%s", out)
	}
	runs(t, m, "replaced", b)
	takenOver("nr_iowait")
	patched("over the other", true)
	ok(t, m, "plugsched uninstall")
	runs(t, m, "removed", "")
	patched("removed", true)
	ok(t, m, remove)
	patched("in the end", false)
	time.Sleep(time.Second)
	ok(t, m, "plugsched install /scheduler.ko && plugsched uninstall")
}

// TestSleepersUnderBPF: BPF programs at the return of functions that sleep are in nobody's
// way, however many tasks sleep under them: to the unwinder of most kernels their stacks
// are unreliable.
func TestSleepersUnderBPF(t *testing.T) {
	t.Parallel()
	m := boot(t, addLiving)
	background(t, m, "fexit", "fexit hrtimer_nanosleep")
	ok(t, m, "for i in $(seq 300); do sleep 1000 & done; sleep 1")
	name := installs(t, m, "plugsched try --for 1h /scheduler.ko")
	ok(t, m, "for i in $(seq 100); do sleep 1000 & done; sleep 1; echo test > /sys/kernel/plugsched/"+rollback)
	report := rolledBack(t, m, name, time.Minute)
	if !strings.HasPrefix(report, "asked for: test\n") || strings.Contains(report, "has to wait") {
		t.Errorf("report:\n%s", report)
	}
	if out, code := sh(t, m, "n=$(cat /proc/[0-9]*/stack | grep -c bpf_trampoline); echo $n; [ $n -ge 400 ]"); code != 0 {
		t.Errorf("%s tasks sleep under the program, not 400", out)
	}
	ok(t, m, "plugsched uninstall && plugsched doctor /scheduler.ko")
	stock(t, m)
}
