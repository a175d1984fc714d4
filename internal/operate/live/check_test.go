// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/artefact/desc"
)

// fakeHost is a machine on which the module of fakeModule can be installed.
func fakeHost(t *testing.T) Host {
	t.Helper()
	h := Host{t.TempDir()}
	for name, text := range map[string]string{
		"/proc/self/status":                                   "Name:\tx\nCapEff:\t000001ffffffffff\n",
		"/proc/sys/kernel/osrelease":                          "6.1.0-1\n",
		"/sys/kernel/notes":                                   string(note("GNU\x00", 3, 0xab, 0xcd)),
		"/proc/kallsyms":                                      "ffffffff81000000 T _stext\nffffffff81000010 t f\n",
		"/proc/kcore":                                         "",
		"/proc/meminfo":                                       "MemTotal: 999999 kB\nMemAvailable: 999999 kB\n",
		"/proc/locks":                                         "",
		"/run/plugsched.lock":                                 "",
		"/sys/kernel/debug/kprobes/list":                      "",
		"/sys/devices/system/cpu/isolated":                    "\n",
		"/sys/devices/system/cpu/nohz_full":                   "(null)\n",
		"/sys/kernel/debug/sched/preempt":                     "none (voluntary) full\n",
		"/proc/sys/kernel/panic_on_warn":                      "0\n",
		"/proc/sys/kernel/panic_on_oops":                      "0\n",
		"/proc/sys/kernel/sched_rt_runtime_us":                "950000\n",
		"/proc/sys/kernel/modules_disabled":                   "0\n",
		"/sys/module/module/parameters/sig_enforce":           "N\n",
		"/sys/kernel/security/lockdown":                       "[none] integrity confidentiality\n",
		"/sys/kernel/livepatch/fix/vmlinux/unrelated,1/state": "",
	} {
		put(t, h, name, text)
	}
	return h
}

func put(t *testing.T, h Host, name, text string) {
	t.Helper()
	path := h.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func fakeModule() *Module {
	return &Module{Path: "a.ko", Desc: &desc.Description{Name: "plugsched_aa", Release: "6.1.0-1", BuildID: "abcd",
		Replaced: []string{"f", "g"}, Jumps: map[string]uint64{"f": 5, "g": 0}, JumpSize: 5,
		Witnesses: map[string]uint64{"f": 0xffffffff80000010, "_stext": 0xffffffff80000000}}, image: make([]byte, 1<<20)}
}

// load adds a loaded module to a host.
func load(t *testing.T, h Host, name, state string, files ...string) {
	t.Helper()
	dir := "/sys/module/" + name + "/plugsched/"
	put(t, h, dir+"state", state+"\n")
	put(t, h, dir+"functions", "f\ng\n")
	for i := 0; i < len(files); i += 2 {
		put(t, h, dir+files[i], files[i+1])
	}
}

func TestFindings(t *testing.T) {
	if list := fakeHost(t).Findings(fakeModule(), InstallOptions{}); len(list) != 0 {
		t.Fatalf("on a machine in order: %v", list)
	}
	if list := fakeHost(t).Findings(nil, InstallOptions{}); len(list) != 0 {
		t.Fatalf("on a machine in order, without a module: %v", list)
	}
	set := func(name, text string) func(*testing.T, Host, *Module) {
		return func(t *testing.T, h Host, _ *Module) { put(t, h, name, text) }
	}
	without := func(name string) func(*testing.T, Host, *Module) {
		return func(t *testing.T, h Host, _ *Module) {
			if err := os.RemoveAll(h.path(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	rolledBack := func(name string, files ...string) func(*testing.T, Host, *Module) {
		return func(t *testing.T, h Host, _ *Module) { load(t, h, name, "rolled back", files...) }
	}
	// By whom an install is refused.
	const check, kernel, nobody = "check", "kernel", "nobody"
	for name, tt := range map[string]struct {
		do    func(*testing.T, Host, *Module)
		o     InstallOptions
		by    string
		check string
		want  string
	}{
		"a user": {set("/proc/self/status", "CapEff:\t0\n"), InstallOptions{}, check, "privileges", "needs root"},
		"another release": {func(_ *testing.T, _ Host, m *Module) { m.Desc.Release = "6.1.0-2" }, InstallOptions{}, check, "kernel",
			"is for kernel 6.1.0-2, but 6.1.0-1 is running: build it"},
		"another build": {func(_ *testing.T, _ Host, m *Module) { m.Desc.BuildID = "ef" }, InstallOptions{}, check, "kernel", "build-id ef"},
		"no build-id":   {without("/sys/kernel/notes"), InstallOptions{}, check, "kernel", "cannot be told"},
		"watchdog":      {func(*testing.T, Host, *Module) {}, InstallOptions{Watchdog: time.Millisecond}, check, "options", "from 100ms"},
		"running": {func(t *testing.T, h Host, _ *Module) { load(t, h, "plugsched_aa", "active") }, InstallOptions{}, check,
			"running scheduler", "already (plugsched_aa)"},
		"another": {func(t *testing.T, h Host, _ *Module) { load(t, h, "plugsched_bb", "active") }, InstallOptions{}, check,
			"running scheduler", "installed already (plugsched_bb)"},
		"trial": {func(t *testing.T, h Host, _ *Module) { load(t, h, "plugsched_bb", "active", "try", "5000\n") },
			InstallOptions{Replace: true}, check, "running scheduler", "is on trial"},
		"lockdown": {set("/sys/kernel/security/lockdown", "none [integrity] confidentiality"), InstallOptions{}, check,
			"signature", "locked down (integrity)"},
		"signatures": {set("/sys/module/module/parameters/sig_enforce", "Y\n"), InstallOptions{}, check, "signature", "sig_enforce=1"},
		"BPF scheduler": {func(t *testing.T, h Host, _ *Module) {
			put(t, h, "/sys/kernel/sched_ext/state", "enabled\n")
			put(t, h, "/sys/kernel/sched_ext/root/ops", "tiny\n")
		}, InstallOptions{}, check, "sched_ext", "sched_ext: tiny"},
		"BPF scheduler, beginning": {set("/sys/kernel/sched_ext/state", "enabling\n"), InstallOptions{}, check, "sched_ext",
			"one that is enabling"},
		"livepatch": {set("/sys/kernel/livepatch/fix/vmlinux/g,1/state", ""), InstallOptions{}, check, "livepatch",
			"has replaced g already: disable it first"},
		"modules disabled": {set("/proc/sys/kernel/modules_disabled", "1\n"), InstallOptions{}, check, "module loading", "modules_disabled=1"},
		"addresses hidden": {set("/proc/kallsyms", "0000000000000000 T _stext\n0000000000000000 t f\n"), InstallOptions{}, check,
			"addresses", "kptr_restrict"},
		"another kernel": {set("/proc/kallsyms", "ffffffff81000000 T _stext\nffffffff81000020 t f\n"), InstallOptions{}, check,
			"addresses", "not as far apart"},
		"probe on a jump": {set("/sys/kernel/debug/kprobes/list", "ffffffff81000015  k  f+0x5     [DISABLED]\n"), InstallOptions{},
			kernel, "kprobes", "a kprobe is at f+0x5"},
		"probe in a jump": {set("/sys/kernel/debug/kprobes/list", "ffffffff81000024  r  g+0x4     \n"), InstallOptions{}, kernel,
			"kprobes", "a kprobe is at g+0x4"},
		"no debugfs":    {without("/sys/kernel/debug/kprobes"), InstallOptions{}, nobody, "kprobes", "mount -t debugfs"},
		"stuck":         {rolledBack("plugsched_aa", "pinned", "1\n"), InstallOptions{}, kernel, "old modules", "stays loaded for good"},
		"another stuck": {rolledBack("plugsched_bb", "pinned", "1\n"), InstallOptions{}, nobody, "old modules", "stays loaded for good"},
		"left a timer": {func(t *testing.T, h Host, _ *Module) {
			load(t, h, "plugsched_bb", "inactive", "leftovers", "timer f\nwork g\n")
		}, InstallOptions{}, kernel, "old modules", "would outlive it: timer f, work g: end that by hand"},
		"was rolled back, a timer": {rolledBack("plugsched_bb", "leftovers", "timer f\n"), InstallOptions{}, nobody, "old modules",
			"would outlive it: timer f"},
		"was rolled back": {rolledBack("plugsched_aa", "report", "SysRq\nmore\n"), InstallOptions{}, nobody, "old modules",
			"was rolled back by the kernel (SysRq)"},
		"memory": {set("/proc/meminfo", "MemAvailable: 9000 kB\n"), InstallOptions{}, nobody, "memory",
			"8 MiB of memory are available, an install takes some 20"},
		"isolated": {set("/sys/devices/system/cpu/isolated", "2-3\n"), InstallOptions{}, nobody, "isolated CPUs",
			"CPUs 2-3 are isolated"},
		"nohz_full": {set("/sys/devices/system/cpu/nohz_full", "1\n"), InstallOptions{}, nobody, "isolated CPUs",
			"CPUs 1 are nohz_full"},
		"preemption": {set("/sys/kernel/debug/sched/preempt", "none voluntary (full)\n"), InstallOptions{}, nobody,
			"preemption", "may be busy for long"},
		"panic": {set("/proc/sys/kernel/panic_on_oops", "1\n"), InstallOptions{}, nobody, "panic", "kernel.panic_on_oops=1"},
		"realtime": {set("/proc/sys/kernel/sched_rt_runtime_us", "-1\n"), InstallOptions{}, nobody, "realtime",
			"sched_rt_runtime_us=-1"},
		"memory not to read": {without("/proc/kcore"), InstallOptions{}, nobody, "verification", "will not be able to verify"},
		"no /run":            {without("/run"), InstallOptions{}, kernel, "other commands", "/run cannot be written to"},
	} {
		t.Run(name, func(t *testing.T) {
			h, m := fakeHost(t), fakeModule()
			tt.do(t, h, m)
			list := h.Findings(m, tt.o)
			if len(list) != 1 {
				t.Fatalf("findings %v", list)
			}
			f := list[0]
			if f.Check != tt.check || !strings.Contains(f.Error(), tt.want) || f.Fix == "" || f.Warning != (tt.by == nobody) {
				t.Errorf("%+v", f)
			}
			err := h.Check(m, tt.o)
			var pre *PreconditionError
			if tt.by == check && (!errors.As(err, &pre) || err.Error() != f.Error()) || tt.by != check && err != nil {
				t.Errorf("refused: %v", err)
			}
		})
	}
}

// TestFindingsHarmless: what looks like an obstacle and is none.
func TestFindingsHarmless(t *testing.T) {
	h, m := fakeHost(t), fakeModule()
	put(t, h, "/sys/kernel/debug/kprobes/list", strings.Join([]string{
		"ffffffff81000010  k  f+0x0     [FTRACE]",
		"ffffffff8100001a  k  f+0xa     [OPTIMIZED]",
		"ffffffff81000090  k  elsewhere+0x5     ",
		"ffffffffc0000015  k  f+0x5  ext4 ",
		"noise", "1 2 3", ""}, "\n"))
	put(t, h, "/proc/locks", "1: FLOCK  ADVISORY  WRITE 77 00:19:1 0 EOF\n2: -> POSIX\n")
	load(t, h, "plugsched_cc", "inactive")
	if list := h.Findings(m, InstallOptions{}); len(list) != 0 {
		t.Errorf("%v", list)
	}
	// A livepatch took over from the running scheduler: the next one loses nothing.
	load(t, h, "plugsched_bb", "active")
	put(t, h, "/sys/kernel/livepatch/fix/vmlinux/g,1/state", "")
	if list := h.Findings(m, InstallOptions{Replace: true}); len(list) != 0 {
		t.Errorf("replacing: %v", list)
	}
	// Without a module, what depends on it stops nothing.
	put(t, h, "/sys/module/module/parameters/sig_enforce", "Y\n")
	list := h.Findings(nil, InstallOptions{})
	if len(list) != 2 || slices.ContainsFunc(list, func(f Finding) bool { return !f.Warning }) {
		t.Errorf("any module: %v", list)
	}
	s, err := h.Read()
	if err != nil || !slices.Equal(s.TakenOver, []string{"g"}) || !slices.Equal(s.Probes, []string{"f+0xa"}) {
		t.Errorf("status %+v, %v", s, err)
	}
}

// TestFindCommand: a lock that somebody holds is found in the kernel's own list.
func TestFindCommand(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := fakeHost(t)
	if err := os.Remove(h.path(lockFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(f.Name(), h.path(lockFile)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		t.Fatal(err)
	}
	put(t, h, "/proc/locks", string(locks))
	if errs := h.findCommand(nil, InstallOptions{}); len(errs) != 1 || !strings.Contains(errs[0].Error(), "another plugsched") {
		t.Errorf("%v; locks:\n%s", errs, locks)
	}
}
