// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"plugsched/internal/durable"
)

// circumstances are what an install does not look at: the kernel itself refuses it when
// the update begins, or it stops nothing.
var circumstances = []check{
	{"other commands", Host.findCommand},
	{"kprobes", Host.findProbes},
	{"old modules", Host.findOld},
	{"BPF schedulers", Host.findEnds},
	{"other loaders", Host.findRivals},
	{"memory", Host.findMemory},
	{"isolated CPUs", Host.findIsolated},
	{"preemption", Host.findPreemption},
	{"panic", Host.findPanic},
	{"realtime", Host.findRealtime},
	{"verification", Host.findVerification},
}

// findCommand looks for somebody who holds our lock file.
func (h Host) findCommand(*Module, InstallOptions) []error {
	if err := unix.Access(h.path("/run"), unix.W_OK); err != nil {
		return obstacle("commands are kept apart by a file there; /run is a tmpfs on any machine", "/run cannot be written to: %v", err)
	}
	if by := durable.Holder(h.path("/"), h.path(lockFile)); by != "" {
		return obstacle("wait until it has ended", "%s (%s)", otherCommand, by)
	}
	return nil
}

// probe is a kprobe in the kernel itself.
type probe struct {
	function string
	offset   uint64 // in it
	ftrace   bool   // it uses ftrace's site at the function's head, which a jump leaves alone
}

func (p *probe) String() string { return fmt.Sprintf("%s+%#x", p.function, p.offset) }

const probeList = "/sys/kernel/debug/kprobes/list"

// probes reads what kernel/kprobes.c, report_probe, shows: ADDRESS TYPE SYMBOL+OFFSET
// [MODULE] FLAGS.
func (h Host) probes() ([]probe, error) {
	f, err := os.Open(h.path(probeList))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []probe
	in := bufio.NewScanner(f)
	for in.Scan() {
		w := strings.Fields(in.Text())
		if len(w) < 3 || len(w) > 3 && !strings.HasPrefix(w[3], "[") {
			continue // a module's
		}
		name, offset, _ := strings.Cut(w[2], "+")
		n, err := strconv.ParseUint(strings.TrimPrefix(offset, "0x"), 16, 64)
		if err != nil {
			continue
		}
		out = append(out, probe{name, n, strings.Contains(in.Text(), "[FTRACE]")})
	}
	return out, in.Err()
}

// probesOn returns the kprobes that see nothing of the functions any more once they are
// redirected.
func (h Host) probesOn(functions []string) []string {
	list, _ := h.probes()
	var out []string
	for _, p := range list {
		if !p.ftrace && slices.Contains(functions, p.function) {
			out = append(out, p.String())
		}
	}
	return out
}

// findProbes looks for kprobes where jumps will be. (Where the module does not say how long
// they are, the kernel still refuses.)
func (h Host) findProbes(m *Module, _ InstallOptions) []error {
	list, err := h.probes()
	if err != nil {
		return warning("mount -t debugfs none /sys/kernel/debug", "whether kprobes are in the way cannot be told: %v", err)
	}
	if m == nil {
		return nil
	}
	var out []error
	for _, p := range list {
		if jump, ok := m.Desc.Jumps[p.function]; ok && p.offset >= jump && p.offset < jump+m.Desc.JumpSize {
			out = append(out, obstacle("remove the probe; put it on the module's function later (perf probe -m)",
				"a kprobe is at %s, where a jump will be", &p)...)
		}
	}
	return out
}

// findOld looks for modules that do not run any more and are still loaded. What is left of
// them is as somebody last saw it: to look again would change something.
func (h Host) findOld(m *Module, _ InstallOptions) []error {
	list, err := h.loadedModules()
	if err != nil {
		return []error{err}
	}
	var out []error
	for i := range list {
		l := &list[i]
		stays, held := l.stays()
		switch {
		case l.State == stateActive || l.State == stateInactive && !held:
		case l.State == stateInactive:
			out = append(out, obstacle("end that by hand, then `plugsched uninstall` looks again", "%s %s", l.Name, stays)...)
		case stays != "" && m != nil && l.Name == m.Desc.Name:
			out = append(out, obstacle("restart this machine, or change the source: another module has another name", "%s %s", l.Name, stays)...)
		case stays != "":
			out = append(out, warning("restart this machine one day", "%s %s", l.Name, stays)...)
		default:
			out = append(out, warning("read `plugsched status`; the next install removes it", "%s was rolled back by the kernel (%s)",
				l.Name, l.whyRolledBack())...)
		}
	}
	return out
}

const staysPinned = "was rolled back although a task was inside of it or somebody had hooked one of its jumps, and stays loaded for good"

// stays says why a module that does not run cannot be unloaded, "" when it can; held:
// because of what it made (runtime/leftovers.c), and not of a rollback (runtime/rollback.c).
func (l *Loaded) stays() (why string, held bool) {
	if left, _ := l.report("leftovers"); left != "" {
		return "stays loaded, because something would outlive it: " + strings.ReplaceAll(left, "\n", ", "), true
	}
	if l.pinned() {
		return staysPinned, false
	}
	return "", false
}

// loadMemory is what the update takes besides the module, roughly, in bytes.
const loadMemory = 16 << 20

func (h Host) findMemory(m *Module, _ InstallOptions) []error {
	need := loadMemory
	if m != nil {
		need += 4 * len(m.image) // ours, the loader's copy, the module, and its symbols
	}
	for line := range strings.Lines(h.text("/proc/meminfo")) {
		var kib int
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 && kib < need>>10 {
			return warning("free some", "%d MiB of memory are available, an install takes some %d", kib>>10, need>>20)
		}
	}
	return nil
}

// findIsolated names the CPUs that were promised not to be disturbed.
func (h Host) findIsolated(*Module, InstallOptions) []error {
	var out []error
	for _, kind := range []string{"isolated", "nohz_full"} {
		cpus := h.text("/sys/devices/system/cpu/" + kind)
		if cpus != "" && cpus != "(null)" { // drivers/base/cpu.c, print_cpus_nohz_full
			out = append(out, warning("choose a moment when what runs there can wait",
				"CPUs %s are %s: an update stops them like all others", cpus, kind)...)
		}
	}
	return out
}

func (h Host) findPreemption(*Module, InstallOptions) []error {
	if strings.Contains(h.text("/sys/kernel/debug/sched/preempt"), "(full)") {
		return warning("install when there is little load, or boot with preempt=voluntary",
			"tasks are preempted inside of the scheduler (preempt=full): an update may be busy for long")
	}
	return nil
}

func (h Host) findPanic(*Module, InstallOptions) []error {
	var out []error
	for _, name := range []string{"panic_on_warn", "panic_on_oops"} {
		if v := h.text("/proc/sys/kernel/" + name); v != "" && v != "0" {
			out = append(out, warning("sysctl kernel."+name+"=0 as long as a scheduler is on trial",
				"kernel.%s=%s: a broken scheduler takes the machine down before it can roll back", name, v)...)
		}
	}
	return out
}

func (h Host) findRealtime(*Module, InstallOptions) []error {
	if h.text("/proc/sys/kernel/sched_rt_runtime_us") == "-1" {
		return warning("sysctl kernel.sched_rt_runtime_us=950000",
			"realtime tasks may keep a CPU for ever (kernel.sched_rt_runtime_us=-1): the watchdog does not tell that from a broken scheduler")
	}
	return nil
}

// findVerification tries what uninstall reads to look for leftovers.
func (h Host) findVerification(*Module, InstallOptions) []error {
	f, err := os.Open(h.path("/proc/kcore"))
	if err != nil {
		return warning("`plugsched uninstall --verify=false` does without", "uninstall will not be able to verify: %v", err)
	}
	f.Close()
	return nil
}
