// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"context"
	"debug/elf"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// vmlinuxEnv names a real vmlinux with debug information, of any x86-64 kernel.
// What the test expects holds for Debian's 6.1 and is marked where later kernels
// may differ.
const vmlinuxEnv = "PLUGSCHED_TEST_VMLINUX"

func TestVmlinux(t *testing.T) {
	path := os.Getenv(vmlinuxEnv)
	if path == "" {
		t.Skipf("%s is not set", vmlinuxEnv)
	}
	start := time.Now()
	p, err := Load(context.Background(), path, Options{SourceDirs: []string{"kernel/sched"}, Progress: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	report(t, p, time.Since(start))
	t.Run("functions", func(t *testing.T) { realFunctions(t, p) })
	t.Run("calls", func(t *testing.T) { realCalls(t, p) })
	t.Run("data", func(t *testing.T) { realData(t, p) })
	t.Run("scheduler", func(t *testing.T) { realScheduler(t, p) })
	t.Run("types", func(t *testing.T) { realTypes(t, path) })
}

func report(t *testing.T, p *Program, took time.Duration) {
	var calls, takes, inlines, sites int
	for _, f := range p.Functions {
		calls, takes, inlines = calls+len(f.Calls), takes+len(f.Takes), inlines+len(f.Inlines)
		if f.FtraceSite >= 0 {
			sites++
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%s %s: %v, %d MB live; %d functions, %d objects, %d calls, %d takes, %d data takes, %d inlined, %d ftrace sites, %d patch sites, %d bytes undecoded",
		p.Release, p.BuildID, took, m.HeapAlloc>>20, len(p.Functions), len(p.Objects), calls, takes, len(p.DataTakes), inlines, sites,
		len(p.PatchSites), p.Undecoded)
	if len(p.Functions) < 10000 || calls < 100000 || takes < 1000 || len(p.DataTakes) < 5000 || inlines < 1000 || len(p.PatchSites) < 1000 {
		t.Error("a kernel has more than that")
	}
	if p.Undecoded > 4096 {
		t.Errorf("%d bytes of code are no known instruction", p.Undecoded)
	}
	if p.Release == "" || len(p.BuildID) != 40 || !strings.HasPrefix(p.Compiler, "GNU C") {
		t.Errorf("release %q, build-id %q, compiler %q", p.Release, p.BuildID, p.Compiler)
	}
}

func realFunctions(t *testing.T, p *Program) {
	const core = "kernel/sched/core.c"
	for _, want := range []struct {
		name, base, unit, decl string
		exported, ftrace       bool
	}{
		{"__schedule", "__schedule", core, core, false, false},
		{"schedule", "schedule", core, core, true, true},
		{"yield_to", "yield_to", core, core, true, true},
		{"try_to_wake_up", "try_to_wake_up", core, core, false, true},
		{"finish_task_switch.isra.0", "finish_task_switch", core, core, false, true},
		{"enqueue_task_fair", "enqueue_task_fair", "kernel/sched/fair.c", "kernel/sched/fair.c", false, true},
		{"sched_rt_handler", "sched_rt_handler", "kernel/sched/build_policy.c", "kernel/sched/rt.c", false, true},
		{"vfs_read", "vfs_read", "fs/read_write.c", "", false, true},
	} {
		list := p.Func(want.name)
		if len(list) != 1 {
			t.Errorf("%d functions are called %s", len(list), want.name)
			continue
		}
		f := list[0]
		if f.Base != want.base || f.Unit != want.unit || f.DeclFile != want.decl || f.Exported != want.exported || f.Section != ".text" {
			t.Errorf("%+v, want %+v", *f, want)
		}
		if p.FtraceKnown && want.ftrace != (f.FtraceSite >= 0) {
			t.Errorf("%s: ftrace site at %d", f.Name, f.FtraceSite)
		}
		if got := p.Lookup(want.name, want.unit); got != f {
			t.Errorf("Lookup of %s yields %v", want.name, got)
		}
	}
	for _, f := range p.Functions {
		if _, ok := padded(f.Name); ok {
			t.Errorf("%s is a function", f.Name)
		}
		if len(p.Bytes(f.Addr, int(f.Size))) != int(f.Size) {
			t.Errorf("%s has no code", f.Name)
		}
	}
}

func realCalls(t *testing.T, p *Program) {
	schedule := one(t, p, "__schedule")
	switches, finish := 0, 0
	for _, c := range schedule.Calls {
		switch {
		case c.To.Name == "__switch_to_asm" && c.Offset == 0 && !c.Jump:
			switches++
			if b := p.Bytes(c.Site, 1); len(b) != 1 || b[0] != 0xe8 {
				t.Errorf("__schedule+%#x is no call", c.Site-schedule.Addr)
			}
		case c.To.Base == "finish_task_switch":
			finish++
		}
	}
	if switches != 1 || finish != 1 {
		t.Errorf("__schedule calls __switch_to_asm %d times, finish_task_switch %d times", switches, finish)
	}
	for _, want := range []struct{ to, from string }{
		{"schedule_tail", "ret_from_fork"}, // assembly up to 6.5
		{"__schedule", "schedule"},
		{"__schedule", "preempt_schedule_irq"},
		{"do_syscall_64", "entry_SYSCALL_64"},
		{"try_to_wake_up", "wake_up_process"},
		{"scheduler_tick", "update_process_times"},
	} {
		found := false
		for _, c := range p.Callers(one(t, p, want.to)) {
			found = found || c.From.Base == want.from
		}
		if !found {
			t.Errorf("%s does not call %s", want.from, want.to)
		}
	}
	for _, f := range p.Functions {
		if strings.HasPrefix(f.Name, ".altinstr") {
			t.Errorf("%s belongs to no function", f.Name)
		}
		for _, c := range f.Calls {
			if c.To == f && (c.Jump || c.Offset != 0) {
				t.Errorf("%s+%#x: a branch inside the function is a call", f.Name, c.Site-f.Addr)
			}
		}
	}
	taken := false
	for _, k := range p.Takers(one(t, p, "autoremove_wake_function")) {
		taken = taken || k.From.Name == "kswapd"
	}
	if !taken {
		t.Error("kswapd does not take the address of autoremove_wake_function")
	}
	// in_sched_functions compares with __sched_text_start.
	if start, ok := p.Symbol("__sched_text_start"); ok {
		if first := p.FuncAt(start); first != nil {
			for _, k := range p.Takers(first) {
				if k.From.Name == "in_sched_functions" {
					t.Errorf("a comparison takes the address of %s", first.Name)
				}
			}
		}
	}
}

func realData(t *testing.T, p *Program) {
	o := p.Object("fair_sched_class")
	if o == nil || o.Type != "struct sched_class" || o.Section != ".rodata" || o.Unit != "kernel/sched/fair.c" {
		t.Fatalf("fair_sched_class is %+v", o)
	}
	members := map[string]uint64{}
	for _, d := range p.DataTakes {
		if d.In == o {
			members[d.To.Base] = d.Offset
		}
		if d.Addr+8 == 0 || len(p.Bytes(d.Addr, 8)) != 8 {
			t.Errorf("the pointer to %s at %#x is not in the file", d.To.Name, d.Addr)
		}
	}
	if off, ok := members["enqueue_task_fair"]; !ok || off != 0 || len(members) < 15 {
		t.Errorf("fair_sched_class holds %v", members)
	}
	for _, d := range p.DataTakesOf(one(t, p, "schedule")) {
		t.Errorf("the address of schedule is in %+v", d.In)
	}
	if rq := p.Object("runqueues"); rq == nil || rq.Type != "struct rq" || rq.Section != ".data..percpu" {
		t.Errorf("runqueues is %+v", rq)
	}
	if key := p.LookupObject("sched_clock_running", "kernel/sched/build_utility.c"); key == nil || key.DeclFile != "kernel/sched/clock.c" {
		t.Errorf("sched_clock_running is %+v", key)
	}
	unknown := 0
	for _, o := range p.Objects {
		if o.Unit == "" {
			unknown++
		}
	}
	if unknown > len(p.Objects)/50 {
		t.Errorf("the unit of %d of %d objects is unknown", unknown, len(p.Objects))
	}
	kinds := map[SiteKind]int{}
	for _, s := range p.PatchSites {
		kinds[s.Kind]++
		code := p.Bytes(s.Addr, s.Size)
		switch {
		case len(code) != s.Size:
			t.Errorf("%s at %#x has no code", s.Kind, s.Addr)
		case s.Kind == SiteSMPLock && code[0] != 0xf0 && code[0] != 0x3e:
			t.Errorf("smp lock at %#x is %#x", s.Addr, code[0])
		case s.Kind == SiteStaticKey && code[0] != 0x66 && code[0] != 0x0f && code[0] != 0xeb && code[0] != 0xe9:
			t.Errorf("static key at %#x is % x", s.Addr, code)
		case s.Kind == SiteStaticCall && code[0] != 0xe8 && code[0] != 0xe9:
			t.Errorf("static call at %#x is % x", s.Addr, code)
		}
	}
	if len(kinds) != 3 {
		t.Errorf("patch sites: %v", kinds)
	}
}

func realScheduler(t *testing.T, p *Program) {
	functions, inlined := 0, 0
	for _, f := range p.Functions {
		if !strings.HasPrefix(f.Unit, "kernel/sched/") {
			continue
		}
		functions++
		inlined += len(f.Inlines)
		if f.DeclFile == "" || f.DeclLine == 0 {
			t.Errorf("%s of %s is declared nowhere", f.Name, f.Unit)
		}
		for _, s := range f.Inlines {
			if s.DeclFile == "" || strings.HasPrefix(s.DeclFile, "/") || strings.HasPrefix(s.DeclFile, ".") {
				t.Errorf("%s, inlined into %s, is declared in %q", s.Name, f.Name, s.DeclFile)
			}
		}
	}
	t.Logf("%d functions in kernel/sched, %d inlined", functions, inlined)
	if functions < 900 || inlined < 3000 {
		t.Errorf("%d functions in kernel/sched, %d inlined", functions, inlined)
	}
	// __schedule inlines its way to switch_mm and friends.
	found := false
	for _, s := range one(t, p, "__schedule").Inlines {
		found = found || s.Name == "context_switch" && s.DeclFile == "kernel/sched/core.c"
	}
	if !found {
		t.Error("context_switch is not inlined into __schedule")
	}
}

func realTypes(t *testing.T, path string) {
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	types, err := ReadTypes(d, func(unit string) bool { return strings.HasPrefix(unit, "kernel/sched/") })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d layouts, %d prototypes, conflicts %v", len(types.Layouts), len(types.Prototypes), types.Conflicts)
	rq := types.Layouts["struct rq"]
	if rq.Size == 0 || rq.DeclFile != "kernel/sched/sched.h" || len(rq.Members) < 50 {
		t.Errorf("struct rq: %d bytes, %d members, declared in %s", rq.Size, len(rq.Members), rq.DeclFile)
	}
	for _, m := range rq.Members {
		if m.Offset+m.Size > rq.Size {
			t.Errorf("rq.%s ends at %d, the structure at %d", m.Name, m.Offset+m.Size, rq.Size)
		}
	}
	want := Prototype{Signature: "void (struct rq *, struct task_struct *, int)", DeclFile: "kernel/sched/fair.c"}
	got := types.Prototypes["enqueue_task_fair"]
	got.DeclLine = 0
	if got != want {
		t.Errorf("enqueue_task_fair is %+v", got)
	}
}
