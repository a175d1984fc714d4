// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/artefact/desc"
	"plugsched/internal/artefact/installed"
	"plugsched/internal/command/cli"
	"plugsched/internal/operate/history"
	"plugsched/internal/operate/live"
	"plugsched/internal/operate/view"
	"plugsched/internal/outcome"
	"plugsched/scx"
)

const (
	release = "6.1.0-1"
	name    = "plugsched_aa"
)

// stock is a machine in order whose kernel runs its own scheduler.
func stock(t *testing.T) machine {
	t.Helper()
	m := machine{Host: live.Host{Root: t.TempDir()}}
	m.put(t, "/proc/self/status", "CapEff:\tffffffff\n")
	m.put(t, "/proc/sys/kernel/osrelease", release+"\n")
	m.put(t, "/proc/sys/kernel/version", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.0-1 (2026-11-16)\n")
	m.put(t, "/proc/sys/kernel/random/boot_id", "boot-1\n")
	m.put(t, "/proc/cmdline", "ro quiet\n")
	m.put(t, "/proc/kallsyms", "ffffffff81000000 T _stext\n")
	m.put(t, "/proc/kcore", "")
	m.put(t, "/run/plugsched.lock", "")
	m.put(t, "/sys/kernel/debug/kprobes/list", "")
	m.put(t, "/sys/kernel/notes", "\x04\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00GNU\x00\xab\xcd\x00\x00")
	return m
}

func (m machine) put(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(m.Root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// load makes the machine's kernel have a module since some time ago.
func (m machine) load(t *testing.T, module, state string, ago time.Duration) {
	t.Helper()
	dir := "/sys/module/" + module + "/plugsched/"
	m.put(t, dir+"state", state)
	m.put(t, dir+"functions", "f\ng\n")
	m.put(t, dir+"watchdog", "30000\n")
	m.put(t, dir+"report", "task 5 (sh) was not run for 2500 ms\n")
	m.put(t, dir+"timings", fmt.Sprintf("direction install\ncpus 2\nstop_machine_ns 1234567\nfinished_boottime_ns %d\n", live.Boottime()-ago))
}

func (m machine) install(t *testing.T, scheduler, version, release, module string) {
	t.Helper()
	m.put(t, installed.PackageDir(release, scheduler)+"/"+installed.About, fmt.Sprintf(`{"name": %q, "scheduler": %q, "version": %q,
		"release": %q, "module": %q}`, installed.PackageName(scheduler, release), scheduler, version, release, module))
}

// selects makes a scheduler the selected one.
func (m machine) selects(t *testing.T, release, scheduler string) {
	t.Helper()
	link := filepath.Join(m.Root, installed.Selection(release))
	os.Remove(link)
	if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(installed.PackageDir(release, scheduler), link)); err != nil {
		t.Fatal(err)
	}
}

func (m machine) trip(t *testing.T, module string) {
	t.Helper()
	m.put(t, installed.GuardFile("s-"+release),
		fmt.Sprintf(`{"attempt": {"package": "s", "version": "1", "module": %q, "boot_id": "boot-0"}}`, module))
}

func run(c *cobra.Command, args ...string) (out string, err error) {
	var b bytes.Buffer
	c.SetOut(&b)
	c.SetErr(&b)
	c.SetArgs(args)
	c.SilenceErrors, c.SilenceUsage = true, true
	err = c.Execute()
	return b.String(), err
}

func has(t *testing.T, what, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s: no %q in\n%s", what, w, text)
		}
	}
}

var sinceLine = regexp.MustCompile(`(?m)^since: .*\((.*)\)$`)

// ranFor checks how long a scheduler has run, by what status says a while after that was made up.
func ranFor(t *testing.T, what, out string, want time.Duration) {
	t.Helper()
	found := sinceLine.FindStringSubmatch(out)
	if found == nil {
		t.Errorf("%s: since when is not said:\n%s", what, out)
		return
	}
	if got, err := time.ParseDuration(found[1]); err != nil || got < want || got > want+want/2 {
		t.Errorf("%s: it has run for %s, not %v", what, found[1], want)
	}
}

func TestStatus(t *testing.T) {
	m := stock(t)
	out, err := run(newStatus(m))
	if err != nil {
		t.Fatal(err)
	}
	has(t, "stock", out, "scheduler:  the kernel's own\n", "since:      ")
	if strings.Contains(out, "package:") || strings.Contains(out, "watchdog") {
		t.Errorf("stock:\n%s", out)
	}

	m.install(t, "s", "3", release, name)
	out, _ = run(newStatus(m))
	has(t, "not selected", out, "installed:  s 3\n")
	if strings.Contains(out, "package:") {
		t.Errorf("not selected:\n%s", out)
	}
	m.selects(t, release, "s")
	m.trip(t, name)
	out, _ = run(newStatus(m))
	has(t, "kept back", out, "package:    s-6.1.0-1 3 is selected for this kernel, but its scheduler does not run\n",
		"boot guard: in an earlier boot s 1 (plugsched_aa) was loaded and not confirmed")

	os.Remove(filepath.Join(m.Root, installed.GuardFile("s-"+release)))
	m.load(t, name, "active", time.Hour)
	m.put(t, "/sys/kernel/livepatch/fix/vmlinux/g,1/state", "")
	m.put(t, "/sys/kernel/debug/kprobes/list", "ffffffff81000010  k  f+0x5     \n")
	out, _ = run(newStatus(m))
	has(t, "running", out, "scheduler:  plugsched_aa\n", "package:    s-6.1.0-1 3\n", "watchdog:   30s\n", "2 redirected",
		"a livepatch has replaced g since", "kprobes at f+0x5: they do not see", "downtime 1.234567ms")
	ranFor(t, "running", out, time.Hour)

	out, _ = run(newStatus(m), "--json")
	var s struct {
		live.Status
		Since     time.Time
		Package   struct{ Version string }
		OfPackage bool `json:"of_package"`
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Name != name || !s.OfPackage || s.Package.Version != "3" ||
		time.Since(s.Since) < time.Hour || s.Timings.StopMachine != 1234567 {
		t.Errorf("%+v, %v, of\n%s", s, err, out)
	}

	m.install(t, "q", "1", release, "plugsched_dd")
	out, _ = run(newStatus(m))
	has(t, "beside", out, "package:    s-6.1.0-1 3\n", "installed:  q 1, s 3 (selected)\n")
	m.selects(t, release, "q")
	out, _ = run(newStatus(m))
	has(t, "another is selected", out, "package:    s-6.1.0-1 3\n", "installed:  q 1 (selected), s 3\n")
	m.selects(t, release, "s")
	m.install(t, "s", "4", release, "plugsched_bb")
	out, _ = run(newStatus(m))
	has(t, "another", out, "package:    s-6.1.0-1 4 is selected for this kernel, but its scheduler does not run\n")
	if err := os.RemoveAll(filepath.Join(m.Root, installed.Dir)); err != nil {
		t.Fatal(err)
	}
	out, _ = run(newStatus(m))
	has(t, "by hand", out, "package:    none, it was installed by hand\n")

	// What ran before came back by itself: since then, not since its own update.
	m.load(t, "plugsched_cc", "rolled back", time.Minute)
	out, _ = run(newStatus(m))
	has(t, "was rolled back", out, "scheduler:  plugsched_aa\n", "was rolled back by the kernel:\n  task 5 (sh)")
	ranFor(t, "was rolled back", out, time.Minute)
}

func TestList(t *testing.T) {
	m := stock(t)
	out, err := run(newList(m))
	if err != nil {
		t.Fatal(err)
	}
	has(t, "stock", strings.Join(strings.Fields(out), " "), "any simple bpf (built in) - - no, the kernel has no sched_ext no")
	if out, _ := run(newList(m), "--json"); !strings.HasPrefix(out, "{\n  \"schema\": 1,\n  \"packages\": [],\n") {
		t.Errorf("%q", out)
	}
	m.install(t, "s", "3", release, name)
	m.install(t, "q", "2", release, "plugsched_cc")
	m.selects(t, release, "s")
	m.install(t, "s", "1", "6.1.0-2", "plugsched_bb")
	m.selects(t, "6.1.0-2", "s")
	m.put(t, installed.Dir+"/6.1.0-3/s/"+installed.About, "{")
	m.put(t, "/etc/systemd/system/multi-user.target.wants/"+installed.Unit(release), "")
	m.load(t, name, "active", 0)
	out, _ = run(newList(m))
	rows := strings.Split(strings.Join(strings.FieldsFunc(out, func(r rune) bool { return r == ' ' }), " "), "\n")
	has(t, "rows", strings.Join(rows, "\n"), "warning: ", "6.1.0-3/s/package.json is damaged",
		"6.1.0-1 q module q-6.1.0-1 2 plugsched_cc no no\n", "6.1.0-1 s module s-6.1.0-1 3 plugsched_aa yes yes\n",
		"6.1.0-2 s module s-6.1.0-2 1 plugsched_bb another kernel runs selected, but plugsched-6.1.0-2.service is not enabled\n")
	m.trip(t, name)
	out, _ = run(newList(m), "--json")
	var printed packages
	err = json.Unmarshal([]byte(out[strings.Index(out, "{\n"):]), &printed)
	list := printed.Packages
	if err != nil || len(list) != 3 || list[0].Selected || list[0].Enabled || list[0].Runs || list[0].Guard != "" || !list[1].Selected ||
		!list[1].Runs || !list[1].Enabled || !list[1].Kernel || list[1].Guard == "" || list[2].Runs || list[2].Enabled ||
		list[2].Kernel || list[2].Name != "s-6.1.0-2" {
		t.Errorf("%+v, %v of\n%s", list, err, out)
	}
}

func TestDoctor(t *testing.T) {
	m := stock(t)
	out, err := run(newDoctor(m))
	if err != nil || out != "nothing is in the way of installing a scheduler\n" {
		t.Errorf("%v\n%s", err, out)
	}
	m.put(t, "/proc/sys/kernel/modules_disabled", "1\n")
	m.put(t, "/proc/kallsyms", "0000000000000000 T _stext\n")
	m.put(t, "/proc/sys/kernel/sched_rt_runtime_us", "-1\n")
	before := files(t, m.Root)
	var exit *cli.QuietError
	out, err = run(newDoctor(m))
	if !errors.As(err, &exit) || exit.Means != outcome.Precondition {
		t.Errorf("exit %v", err)
	}
	has(t, "obstacles", out, "obstacle: module loading: ", "obstacle: addresses: ", "          fix: set kernel.kptr_restrict",
		"warning:  realtime: ", "2 in the way of installing a scheduler\n")
	out, err = run(newDoctor(m), "--json")
	var d diagnosis
	if e := json.Unmarshal([]byte(out), &d); e != nil || !errors.As(err, &exit) || d.OK || len(d.Findings) != 3 ||
		d.Findings[2].Fix == "" || !d.Findings[2].Warning {
		t.Errorf("%v, %v, %+v", e, err, d)
	}
	if after := files(t, m.Root); after != before {
		t.Errorf("something was changed:\n%s\nwas\n%s", after, before)
	}
	if _, err := run(newDoctor(m), filepath.Join(m.Root, "none.ko")); outcome.Of(err) != outcome.Precondition {
		t.Errorf("no module: %v", err)
	}
}

// files is a picture of a directory tree.
func files(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(root, func(path string, st os.FileInfo, err error) error {
		fmt.Fprintln(&b, path, st.Mode(), st.Size(), st.ModTime().UnixNano())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHistory(t *testing.T) {
	m := stock(t)
	if out, err := run(newHistory(m)); err != nil || out != "nothing has happened yet\n" {
		t.Errorf("%q, %v", out, err)
	}
	if out, _ := run(newHistory(m), "--json"); out != "{\n  \"schema\": 1,\n  \"entries\": []\n}\n" {
		t.Errorf("%q", out)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	line := func(e history.Entry) string {
		e.Time = at
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return string(text) + "\n"
	}
	m.put(t, installed.StateDir+"/history.jsonl",
		line(history.Entry{Action: "install", Result: outcome.Done.String(), After: name, Module: name, Package: "s", Version: "3",
			Direction: "install", Downtime: 1234567})+
			"damaged\n"+
			line(history.Entry{Action: "uninstall", Result: outcome.Busy.String(), Before: name, After: name, Error: "busy in all tries:\ntask 5"})+
			line(history.Entry{Action: "install", Result: history.Begun, Before: name, After: name, Begun: 5, Error: "\x1b[31m"}))
	out, err := run(newHistory(m))
	if err != nil {
		t.Fatal(err)
	}
	has(t, "history", strings.Join(strings.Fields(out), " "), "warning: 1 lines of the history are damaged",
		"2026-01-02 03:04:05 install done 1.235ms kernel -> plugsched_aa s 3", "uninstall busy plugsched_aa busy in all tries: ",
		"install has not ended plugsched_aa ?[31m")
	if strings.Contains(out, "task 5") || strings.Contains(out, "\x1b") {
		t.Errorf("%q", out)
	}
}

func TestMetrics(t *testing.T) {
	m := stock(t)
	m.install(t, "s", "3", release, name)
	m.load(t, name, "active", time.Minute)
	out, err := run(newMetrics(m))
	if err != nil {
		t.Fatal(err)
	}
	has(t, "metrics", out, `plugsched_scheduler_info{module="plugsched_aa",release="6.1.0-1",package="s-6.1.0-1",version="3"} 1`,
		"plugsched_watchdog_timeout_seconds 30\n")
	file := filepath.Join(t.TempDir(), "plugsched.prom")
	for range 2 {
		if _, err := run(newMetrics(m), "--output", file); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	st, _ := os.Stat(file)
	if names, _ := os.ReadDir(filepath.Dir(file)); err != nil || len(names) != 1 || st.Mode() != 0o644 ||
		!strings.Contains(string(text), "plugsched_scheduler_active 1\n") {
		t.Errorf("%v, %v, %v:\n%s", err, names, st.Mode(), text)
	}
	if _, err := run(newMetrics(m), "--output", filepath.Join(t.TempDir(), "no", "file")); err == nil {
		t.Error("wrote into a directory that is not there")
	}
	var usage *cli.UsageError
	if _, err := run(newMetrics(m), "--listen", "0.0.0.0:0"); !errors.As(err, &usage) ||
		!strings.Contains(err.Error(), "not a loopback address") {
		t.Errorf("%v", err)
	}
}

// TestRanges: numbers out of range are mistakes on the command line, of every command, before
// the module is even looked for; a negative watchdog is not none.
func TestRanges(t *testing.T) {
	m := stock(t)
	for _, bad := range []string{"install --watchdog=-5s", "install --watchdog=10ms", "install --watchdog=25h",
		"install --tries=0", "install --tries=-3",
		"try --for=25h", "try --for=0", "try --for=-1m", "try --tries=-3", "try --watchdog=-1ns", "uninstall --tries=-1",
		"boot --trial=25h", "boot --settle=-1s", "boot --trial=10s --settle=10s"} {
		words := strings.Fields(bad)
		if words[0] != "uninstall" {
			words = append(words, "/nosuch.ko")
		}
		for _, c := range []*cobra.Command{newInstall(m), newTry(m), newUninstall(m), newBoot(m)} {
			if c.Name() != words[0] {
				continue
			}
			if out, err := run(c, words[1:]...); outcome.Of(err) != outcome.Usage {
				t.Errorf("%s: %v (%v)\n%s", bad, err, outcome.Of(err), out)
			}
		}
	}
}

// module makes a file that says of itself that it can be installed on a stock machine.
func (m machine) module(t *testing.T, name string) string {
	t.Helper()
	text, err := json.Marshal(desc.Description{Format: desc.Version, Release: release, BuildID: "abcd", Name: name,
		Witnesses: map[string]uint64{"_stext": 0xffffffff80000000}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for file, text := range map[string][]byte{"a.json": text, "a.s": []byte("\t.globl init_module\ninit_module:\n\tret\n")} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, words := range [][]string{{"as", "-o", "a.o", "a.s"},
		{"objcopy", "--add-section", desc.Section + "=a.json", "--set-section-flags", desc.Section + "=readonly,noload", "a.o", "a.ko"}} {
		c := exec.Command(words[0], words[1:]...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", words, err, out)
		}
	}
	return filepath.Join(dir, "a.ko")
}

// TestDryRun: it says so when all is well, and what is in the way otherwise.
func TestDryRun(t *testing.T) {
	m := stock(t)
	ko := m.module(t, "plugsched_01234567")
	out, err := run(newInstall(m), "--dry-run", ko)
	if err != nil {
		t.Fatal(err)
	}
	has(t, "all is well", out, ko+" can be installed: nothing is in the way\n")
	m.put(t, "/proc/sys/kernel/osrelease", "6.1.0-2\n")
	out, err = run(newInstall(m), "--dry-run", ko)
	if outcome.Of(err) != outcome.Precondition || out != "" {
		t.Errorf("another kernel: %v\n%s", err, out)
	}
}

// TestBPF: a scheduler in BPF is shown as a module's is.
func TestBPF(t *testing.T) {
	m := stock(t)
	m.snapshot = &scx.Snapshot{State: "enabled", Name: "simple", All: true, Owner: scx.Ours, Since: live.Boottime() - time.Hour,
		Timeout: 30 * time.Second, Loads: 2, Ends: []scx.End{{Name: "stall", Kind: 1026, Error: true, At: int64(live.Boottime() - 2*time.Hour),
			Reason: "runnable task stall", Message: "a[1] failed"}}}
	out, err := run(newStatus(m))
	if err != nil {
		t.Fatal(err)
	}
	has(t, "status", out, "scheduler:  simple, in BPF, for all tasks of the fair class and of SCHED_EXT\n",
		"loaded by:  plugsched\n", "watchdog:   30s\n", "health:     in order\n", "last end:   stall ", "  runnable task stall: a[1] failed\n")
	ranFor(t, "status", out, time.Hour)
	out, _ = run(newStatus(m), "--json")
	var s state
	if err := json.Unmarshal([]byte(out), &s); err != nil || len(s.Schedulers) != 1 || s.Schedulers[0].Name != "simple" ||
		s.Schedulers[0].Way != view.BPF || s.LastEnd == nil || s.LastEnd.Name != "stall" || s.Active {
		t.Errorf("%+v, %v of\n%s", s, err, out)
	}
	out, err = run(newMetrics(m))
	if err != nil {
		t.Fatal(err)
	}
	has(t, "metrics", out, "plugsched_scheduler_active 1\n",
		`plugsched_scheduler_running{way="bpf",name="simple",scope="all",owner="plugsched"} 1`, "plugsched_bpf_loads_total 2\n",
		"plugsched_watchdog_timeout_seconds 30\n")
	// Beside a module, into which somebody else has put one.
	m.load(t, name, "active", time.Minute)
	m.snapshot.All, m.snapshot.Owner, m.snapshot.Holders = false, scx.Others, []scx.Holder{{PID: 7, Command: "tiny"}}
	out, _ = run(newStatus(m))
	has(t, "both", out, "scheduler:  plugsched_aa\n", "scheduler:  simple, in BPF, for tasks of SCHED_EXT\n",
		"held by:    tiny[7]\n", "loaded by:  somebody else\n")
	ranFor(t, "both", out, time.Minute)
	// With its end the kernel's own runs, since then.
	m = stock(t)
	m.snapshot = &scx.Snapshot{State: "disabled", Ends: []scx.End{
		{Name: "simple", Kind: 64, At: int64(live.Boottime() - time.Minute), Reason: "x"}}}
	out, _ = run(newStatus(m))
	has(t, "ended", out, "scheduler:  the kernel's own\n", "last end:   simple ")
	ranFor(t, "ended", out, time.Minute)
}

// TestBPFBesideModule: none is loaded while a module's scheduler runs; the history has what was tried.
func TestBPFBesideModule(t *testing.T) {
	m := stock(t)
	m.load(t, name, "active", time.Minute)
	var p *live.PreconditionError
	_, err := run(newSCX(m), "load", "simple")
	if !errors.As(err, &p) || !strings.Contains(err.Error(), "a module's scheduler runs (plugsched_aa)") {
		t.Errorf("%v", err)
	}
	out, err := run(newHistory(m))
	if err != nil {
		t.Fatal(err)
	}
	has(t, "history", strings.Join(strings.Fields(out), " "), "scx load refused plugsched_aa simple: a module's scheduler runs")
}

// TestShowPrograms: what the verifier has looked at is said of each operation.
func TestShowPrograms(t *testing.T) {
	var b bytes.Buffer
	showSCX(&b, &scx.Snapshot{State: "enabled", Name: "simple",
		Programs: []scx.Program{{Operation: "enqueue", Name: "simple_enqueue", Verified: 42}}})
	has(t, "status", b.String(), "program:    enqueue, 42 instructions verified\n")
}

// TestRivals: who loads a scheduler is told of services that may load another, and so is who asks beforehand.
func TestRivals(t *testing.T) {
	m := stock(t)
	m.load(t, name, "active", time.Minute) // so that nothing is loaded
	m.put(t, "/sys/kernel/sched_ext/state", "disabled\n")
	m.put(t, "/run/systemd/units/invocation:scx_loader.service", "")
	m.snapshot = &scx.Snapshot{State: "disabled"}
	const want = "scx_loader.service runs, and may load a scheduler in BPF at any time"
	for _, words := range []string{"load", "try"} {
		out, err := run(newSCX(m), words, "simple")
		if err == nil {
			t.Errorf("%s: no error", words)
		}
		has(t, words, out, "warning: "+want+": systemctl stop scx_loader.service\n")
	}
	for _, c := range []*cobra.Command{newInstall(m), newTry(m)} {
		out, err := run(c, m.module(t, "plugsched_bb"))
		if err == nil {
			t.Errorf("%s: no error", c.Name())
		}
		has(t, c.Name(), out, "warning: "+want+": systemctl stop scx_loader.service\n")
	}
	out, _ := run(newDoctor(m))
	has(t, "doctor", out, "warning:  other loaders: "+want+"\n          fix: systemctl stop scx_loader.service\n")
}

// TestBPFBroken: where a scheduler in BPF cannot be asked, a module is shown, and confirmed, all the same.
func TestBPFBroken(t *testing.T) {
	m := stock(t)
	m.broken = errors.New("a map of another header")
	m.put(t, "/sys/kernel/sched_ext/state", "enabled\n")
	m.put(t, "/sys/kernel/sched_ext/root/ops", "tiny\n")
	out, err := run(newStatus(m))
	if err != nil {
		t.Fatal(err)
	}
	has(t, "alone", out, "scheduler:  tiny, in BPF\n", "health:     it cannot be asked: a map of another header\n")
	m.load(t, name, "active", time.Minute)
	out, err = run(newStatus(m))
	if err != nil {
		t.Fatal(err)
	}
	has(t, "beside a module", out, "scheduler:  plugsched_aa\n", "scheduler:  tiny, in BPF\n", "watchdog:   30s\n")
	if out, err := run(newMetrics(m)); err != nil || !strings.Contains(out, "plugsched_watchdog_timeout_seconds 30\n") {
		t.Errorf("%v\n%s", err, out)
	}
	for what, find := range map[string]func() (string, error){"confirm": m.bpfToConfirm, "reject": m.bpfOnTrial} {
		if name, err := find(); name != "" || err != nil {
			t.Errorf("%s is about %q, %v", what, name, err)
		}
	}
}

// TestBPFToConfirm: which scheduler in BPF confirm and reject are about.
func TestBPFToConfirm(t *testing.T) {
	m := stock(t)
	lapsed := scx.End{Name: "old", Kind: 65, Code: 1}
	for _, tt := range []struct {
		s               scx.Snapshot
		confirm, reject string
	}{
		{scx.Snapshot{State: "disabled"}, "", ""},
		{scx.Snapshot{State: "enabled", Name: "simple"}, "", ""},
		{scx.Snapshot{State: "enabled", Name: "simple", TrialLeft: 1}, "simple", "simple"},
		{scx.Snapshot{State: "disabled", Ends: []scx.End{lapsed}}, "old", ""},
		{scx.Snapshot{State: "enabled", Name: "simple", Ends: []scx.End{lapsed}}, "", ""},
		{scx.Snapshot{State: "disabled", Ends: []scx.End{lapsed, {Name: "later", Kind: 64}}}, "", ""},
	} {
		m.snapshot = &tt.s
		confirm, err := m.bpfToConfirm()
		reject, bad := m.bpfOnTrial()
		var none *scx.NoTrialError // it runs, and is named
		if errors.As(err, &none) != (tt.s.State == "enabled" && tt.s.TrialLeft == 0) || err != nil && none.Name != tt.s.Name {
			t.Errorf("%+v: %v", tt.s, err)
		}
		if confirm != tt.confirm || reject != tt.reject || bad != nil {
			t.Errorf("%+v: confirm %q, reject %q, %v, %v", tt.s, confirm, reject, err, bad)
		}
	}
}
