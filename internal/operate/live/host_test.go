// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"golang.org/x/sys/unix"
)

// TestMadeUpMachine: whatever changes schedulers looks at the machine it is given and at
// no other, and no module of one that is made up gets into the kernel that runs here.
func TestMadeUpMachine(t *testing.T) {
	ctx := context.Background()
	refused := func(what string, err error, want string) {
		t.Helper()
		var pre *PreconditionError
		if !errors.As(err, &pre) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	h := fakeHost(t)
	_, err := h.Install(ctx, fakeModule(), InstallOptions{})
	refused("install", err, "the kernel does not load it: "+unix.EPERM.Error())
	_, err = h.Uninstall(ctx, UninstallOptions{})
	refused("uninstall", err, "no scheduler is installed")
	_, err = h.Confirm(ctx, nil)
	refused("confirm", err, "the kernel runs its own scheduler")

	load(t, h, "plugsched_aa", "active", "try", "0\n")
	_, err = h.Confirm(ctx, nil)
	refused("confirm", err, "plugsched_aa is not on trial")
	load(t, h, "plugsched_aa", "active", "try", "5000\n")
	if s, err := h.Confirm(ctx, nil); err != nil || s.Name != "plugsched_aa" {
		t.Errorf("confirm: %+v, %v", s, err)
	}
	if got := h.text("/sys/module/plugsched_aa/plugsched/try"); got != "0" {
		t.Errorf("the trial's time is %q", got)
	}

	unlock, err := h.lock()
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Uninstall(ctx, UninstallOptions{})
	refused("while another one does something", err, "another plugsched")
	if other, err := fakeHost(t).lock(); err != nil {
		t.Errorf("another machine: %v", err)
	} else {
		other()
	}
	unlock()
	put(t, h, "/proc/self/status", "CapEff:\t0\n")
	_, err = h.Uninstall(ctx, UninstallOptions{})
	refused("as a user", err, "removing a scheduler needs root")
}

// TestSettleRolledBack: a module that is left meanwhile is no success.
func TestSettleRolledBack(t *testing.T) {
	h := fakeHost(t)
	load(t, h, "plugsched_aa", "rolled back", "report", "SysRq\n")
	var back *RolledBackError
	if err := h.Settle(t.Context(), "plugsched_aa", time.Hour); !errors.As(err, &back) || back.Report != "SysRq" {
		t.Errorf("%v", err)
	}
	load(t, h, "plugsched_aa", "active", "report", "")
	if err := h.Settle(t.Context(), "plugsched_aa", 0); err != nil {
		t.Errorf("%v", err)
	}
}

// TestGoBack: the reason reaches the module, and what is waited for is that it runs no more.
func TestGoBack(t *testing.T) {
	h := fakeHost(t)
	load(t, h, "plugsched_aa", "active", "rollback", "")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := h.Rollback(ctx, "plugsched_aa", "slow", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if got := h.text("/sys/module/plugsched_aa/plugsched/rollback"); got != "slow" {
		t.Errorf("the module was told %q", got)
	}
}

// TestFindLeftovers looks at all of a machine: function heads, data, every CPU's data,
// timers and stacks.
func TestFindLeftovers(t *testing.T) {
	const base = 0xffffffff81000000
	module := uint64(0xffffffffc0001000)
	memory := make([]byte, 0x6000)
	put8 := func(at int, v uint64) { binary.LittleEndian.PutUint64(memory[at:], v) }
	memory[0x105] = 0xe9 // f, behind ftrace's site
	distance := module - (base + 0x10a)
	binary.LittleEndian.PutUint32(memory[0x106:], uint32(distance))
	put8(0x1010, module)      // in .rodata
	put8(0x2008, module+0xff) // in .data
	put8(0x3008, module-1)    // in .bss, not the module's
	memory[0x3800] = 2        // nr_cpu_ids
	put8(0x3900+8, 0x1000)    // of CPU 1
	put8(0x5020, module)      // its copy of a variable
	h := fakeHost(t)
	put(t, h, "/proc/kcore", coreFile(base, memory))
	put(t, h, "/proc/modules", "other 4096 0 - Live 0xffffffffa0000000\nplugsched_aa 4096 0 - Live 0xffffffffc0001000 (OE)\n")
	put(t, h, "/proc/kallsyms", `ffffffff81000100 T f
ffffffff81001000 R __start_rodata
ffffffff81001010 r constant
ffffffff81001800 R __end_rodata
ffffffff81002000 D _sdata
ffffffff81002008 d variable
ffffffff81002800 D _edata
ffffffff81003000 B __bss_start
ffffffff81003400 B __bss_stop
ffffffff81003800 D nr_cpu_ids
ffffffff81003900 D __per_cpu_offset
ffffffff81004000 D __per_cpu_start
ffffffff81004020 d per_cpu_variable
ffffffff81004800 D __per_cpu_end
ffffffffc0001000 t g	[plugsched_aa]
`)
	put(t, h, "/proc/timer_list", " #0: <0000000000000000>, 0xffffffffc0001040, S:01\n #1: <0>, tick, S:01\n")
	put(t, h, "/proc/7/task/8/stack", "[<0>] g+0x1/0x2 [plugsched_aa]\n")
	put(t, h, "/proc/7/task/9/stack", "[<0>] do_wait+0x1/0x2\n")

	where, err := h.moduleSpans([]Loaded{{Name: "plugsched_aa"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.findLeftovers(where, []string{"f"})
	if err != nil {
		t.Fatal(err)
	}
	want := &Leftovers{Heads: []string{"f"}, Pointers: []string{"constant+0x0", "variable+0x0", "per_cpu_variable+0x0 of CPU 1"},
		Stacks: []string{"/proc/7/task/8"}, Timers: 1, Functions: 1, Tasks: 2}
	want.Words = (0x800+0x800+0x400)/8 + 2*0x800/8
	if diff := cmp.Diff(want, got); diff != "" || !got.Deadly() {
		t.Error(diff)
	}
	if stays := where.without([]Loaded{{Name: "plugsched_aa"}}); stays.holds(module) || len(stays.names) > 0 {
		t.Error("a module that stays loaded is looked for")
	}
	if gone := where.without([]Loaded{{Name: "other"}}); !gone.holds(module) || gone.names[0] != "plugsched_aa" {
		t.Error("a module that is gone is not looked for")
	}
	if _, err := h.moduleSpans([]Loaded{{Name: "plugsched_bb"}}); err == nil {
		t.Error("a module that is not loaded has no place")
	}
}

// TestKernelLog: complaints are those of the machine that was asked.
func TestKernelLog(t *testing.T) {
	h := fakeHost(t)
	log := h.openLog()
	defer log.close()
	if lines := log.complaints(); len(lines) != 0 {
		t.Errorf("a machine without a log complains: %q", lines)
	}
	if err := os.MkdirAll(h.path("/dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	// A FIFO gives one record for each write, as /dev/kmsg does for each message.
	if err := unix.Mkfifo(h.path("/dev/kmsg"), 0o600); err != nil {
		t.Fatal(err)
	}
	log = h.openLog()
	defer log.close()
	w, err := os.OpenFile(h.path("/dev/kmsg"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.WriteString("4,1,1,-;WARNING: CPU: 0\n"); err != nil {
		t.Fatal(err)
	}
	if lines := log.complaints(); !slices.Equal(lines, []string{"WARNING: CPU: 0"}) {
		t.Errorf("%q", lines)
	}
}

// TestRemovedName: what ran until this command stopped it is not called inactive.
func TestRemovedName(t *testing.T) {
	for state, want := range map[string]string{
		stateInactive:   "plugsched_a",
		stateRolledBack: "plugsched_a, from which the kernel had rolled back",
	} {
		if got := (&Loaded{Name: "plugsched_a", State: state}).String(); got != want {
			t.Errorf("%s: %q, want %q", state, got, want)
		}
	}
}
