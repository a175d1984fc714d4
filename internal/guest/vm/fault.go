// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"regexp"
	"strings"
)

// Kind says what a Fault is about.
type Kind string

// Kinds of faults.
const (
	Panic        Kind = "panic"
	Oops         Kind = "oops"
	Bug          Kind = "bug"
	Warning      Kind = "warning"  // WARN() and the like
	Atomic       Kind = "atomic"   // sleeping where it is not allowed
	Lockup       Kind = "lockup"   // a CPU does not schedule or take interrupts
	Stall        Kind = "stall"    // RCU, hung tasks, workqueues
	Locking      Kind = "locking"  // lockdep
	Memory       Kind = "memory"   // corruption
	Unwind       Kind = "unwind"   // a stack that makes no sense
	Patching     Kind = "patching" // code was not what its patcher expected
	CPU          Kind = "cpu"      // a CPU did not come up, go down or answer
	OutOfMemory  Kind = "out-of-memory"
	Unresponsive Kind = "unresponsive" // decided by the host
	Reset        Kind = "reset"        // decided by the host
)

// A Fault is one complaint of a kernel.
type Fault struct {
	Kind Kind
	// Line is the line that gave it away, without its time stamp.
	Line string
	// Excerpt is the whole report, as printed.
	Excerpt string
}

type rule struct {
	kind Kind
	re   *regexp.Regexp
	// traced reports end with "---[ end trace", so all lines up to there belong
	// to them.
	traced bool
	why    string
}

func match(kind Kind, re, why string) rule {
	return rule{kind: kind, re: regexp.MustCompile(re), why: why}
}

func traced(kind Kind, re, why string) rule {
	r := match(kind, re, why)
	r.traced = true
	return r
}

// rules are tried in order; the first that matches a line names its kind. The
// texts are those of the kernel's sources from 5.10 to 7.2. testdata/reports
// holds at least one example of each.
var rules = []rule{
	match(Panic, `Kernel panic - not syncing`, "panic(): the kernel gave up"),
	match(Panic, `\bPANIC: `, "a double fault, or an exception before the handlers are set up"),

	match(Atomic, `BUG: scheduling while atomic`, "__schedule_bug(): the preempt count is wrong, or a sleeper holds a spinlock"),
	match(Atomic, `BUG: sleeping function called from invalid context`, "__might_resched()"),
	match(Atomic, `BUG: (workqueue|workqueue leaked) .*atomic`, "process_one_work(): a work function left with a wrong preempt count"),
	match(Atomic, `BUG: Invalid wait context|BUG: using \w+\(\) in preemptible`, "wrong context for a lock, or for per-CPU data"),

	match(Lockup, `BUG: soft lockup - CPU#\d+ stuck`, "watchdog_timer_fn(): a CPU has not scheduled for 20 s"),
	match(Lockup, `Watchdog detected hard LOCKUP`, "a CPU takes no interrupts"),
	match(Stall, `BUG: workqueue lockup`, "wq_watchdog_timer_fn(): no worker gets a CPU"),
	match(Stall, `INFO: rcu_?\w* (self-)?detected (expedited )?stalls?`, "RCU waits for a task or a CPU that does not run"),
	match(Stall, `rcu: .* kthread (starved for|timer wakeup didn't happen)`, "the grace period kthread does not run"),
	match(Stall, `INFO: task .*:\d+ .*blocked (for|on) `, "check_hung_task(): a task is not woken"),

	match(Locking, `WARNING: (possible |suspicious |inconsistent lock|bad unlock|held lock|lock held|[Nn]ested lock|bad contention|\S+-safe -> )`, "lockdep"),
	match(Locking, `INFO: trying to register non-static key`, "lockdep: a lock that was never initialised"),
	match(Locking, `BUG: (spinlock|rwlock|MAX_LOCK)`, "lock debugging"),

	match(Memory, `BUG: (KASAN|KFENCE|KMSAN|KCSAN): |\bUBSAN: `, "sanitizers"),
	match(Memory, `\b(list_add|list_del|hlist_\w+) corruption`, "lib/list_debug.c; the BUG or WARNING behind it is reported on its own"),
	match(Memory, `\brefcount_t: `, "refcount_warn_saturate(): a leak or a use after free"),
	match(Memory, `BUG: (Bad page|Bad rss-counter|non-zero pgtables)`, "page tables or page state"),
	match(Memory, `stack guard page was hit|kernel stack overflow|Insufficient stack space to handle exception`, "a stack was overrun"),
	match(Memory, `^=* ?BUG [\w-]+ ?\(|slab error in|usercopy: Kernel memory (exposure|overwrite)`, "slab checks"),

	traced(Oops, `: [0-9a-f]{4,16} \[#\d+\]`, "die(): 'Oops: 0002 [#1]', 'int3: 0000 [#1]', 'Internal error: Oops: 96000004 [#1]'"),
	traced(Oops, `BUG: (unable to handle|kernel NULL pointer)|Unable to handle kernel `, "a bad address; x86 says BUG, arm64 does not"),
	traced(Bug, `kernel BUG at `, "BUG()"),
	match(Bug, `\bBUG: `, "any other self-check"),

	traced(Warning, `WARNING: CPU: \d+ PID: \d+ at `, "WARN(), before 6.19"),
	traced(Warning, `WARNING: \S+:\d+ at \S+( \[\S+\])?, CPU#`, "WARN(), from 6.19 on"),
	match(Warning, `\bIPI .*sent to offline CPU|Unexpected reschedule of offline CPU`, "a task was woken on a CPU that is gone"),

	match(Unwind, `WARNING: (kernel stack (regs|frame)|stack recursion|stack going in the wrong|can't access|missing \w+ value|unknown (SP|BP|\.orc)|bad lookup)`, "arch/x86/kernel/unwind_*.c: a frame that nobody can read"),

	match(Patching, `jump_label: Fatal kernel bug`, "the code of a static key is not what was left there"),
	match(Patching, `unexpected static_call insn`, "the code of a static call is not what was left there"),
	match(Patching, `\[ ftrace bug \]|ftrace failed to modify|ftrace faulted on`, "ftrace_bug(): a call site is not what ftrace left there"),
	match(Patching, `Failed to fixup __raw_static_call`, "a module was refused for its static calls"),

	match(CPU, `do_boot_cpu failed|CPU ?\d+:? (is stuck in|failed to come online|didn't die|failed to report)`,
		"a CPU does not start or does not end"),
	match(CPU, `csd: .*non-responsive CSD lock`, "csd_lock_wait_toolong(): a CPU takes no inter-processor interrupts"),

	match(OutOfMemory, `Out of memory: Killed|invoked oom-killer|page allocation failure`,
		"results after this mean nothing, and a leak looks like this"),
}

const (
	// tracedLines bounds a report whose end is missing.
	tracedLines = 150
	// plainLines bounds a report without an end marker.
	plainLines = 50
)

var (
	stamp   = regexp.MustCompile(`^(<\d+>)?\[\s*\d+\.\d+\](\[\s*[TC]\d+\])? ?`)
	endMark = regexp.MustCompile(`---\[ end (trace|Kernel panic)`)
	cutHere = "------------[ cut here ]------------"
)

// message is a console line without what printk puts before it.
func message(line string) string {
	line = strings.TrimRight(line, "\r\n")
	return line[len(stamp.FindString(line)):]
}

func classify(msg string) *rule {
	if endMark.MatchString(msg) {
		return nil
	}
	for i := range rules {
		if rules[i].re.MatchString(msg) {
			return &rules[i]
		}
	}
	return nil
}

// Scan finds the complaints in a kernel's console output, oldest first. A
// report of many lines is one Fault; a panic is one of its own even if an oops
// led to it.
func Scan(console []byte) []Fault {
	lines := strings.Split(string(console), "\n")
	messages := make([]string, len(lines))
	matches := make([]*rule, len(lines))
	for i, l := range lines {
		messages[i] = message(l)
		matches[i] = classify(messages[i])
	}
	var faults []Fault
	for i := 0; i < len(lines); {
		r := matches[i]
		if r == nil {
			i++
			continue
		}
		begin, end := i, reportEnd(messages, matches, i)
		if i > 0 && messages[i-1] == cutHere {
			begin--
		}
		var b strings.Builder
		for _, l := range lines[begin:end] {
			b.WriteString(strings.TrimRight(l, "\r") + "\n")
		}
		faults = append(faults, Fault{r.kind, messages[i], b.String()})
		i = end
	}
	return faults
}

// reportEnd is the index behind the last line of the report that begins at i.
func reportEnd(messages []string, matches []*rule, i int) int {
	if matches[i].traced || matches[i].kind == Panic {
		for j := i + 1; j < min(len(messages), i+tracedLines); j++ {
			if matches[j] != nil && matches[j].kind == Panic {
				return j
			}
			if endMark.MatchString(messages[j]) {
				return j + 1
			}
		}
	}
	end := min(len(messages), i+plainLines)
	for j := i + 1; j < end; j++ {
		if matches[j] != nil || messages[j] == cutHere || strings.HasPrefix(messages[j], "plugsched") {
			return j
		}
	}
	return end
}
