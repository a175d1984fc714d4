// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"plugsched/internal/guest/vm"
	"plugsched/scx"
)

// hogs begins busy loops that do something first, and returns their process ids.
func hogs(t *testing.T, m *vm.Machine, n int, first string) (pids []string) {
	t.Helper()
	for range n {
		pids = append(pids, ok(t, m, "sh -c '"+first+" while :; do :; done' > /dev/null 2>&1 & echo $!"))
	}
	return pids
}

func kill(t *testing.T, m *vm.Machine, pids ...[]string) {
	t.Helper()
	for _, list := range pids {
		ok(t, m, "kill -9 "+strings.Join(list, " "))
	}
}

// slicesOf is how often somebody else got the CPU of one of the processes, which never give it up: how many slices they have had.
func slicesOf(t *testing.T, m *vm.Machine, pids []string) (sum int) {
	t.Helper()
	out := ok(t, m, "for p in "+strings.Join(pids, " ")+"; do sed -n 's/^nonvoluntary_ctxt_switches:[[:space:]]*//p' /proc/$p/status; done")
	for _, word := range strings.Fields(out) {
		n, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(out)
		}
		sum += n
	}
	return sum
}

// TestSCXSchedulers: each of the schedulers that are in the program does what it is for.
func TestSCXSchedulers(t *testing.T) {
	t.Parallel()
	m := boot(t, func(c *vm.Config) {
		c.Threads, c.Sockets = 2, 2
		// The kernel keeps the tick where its clock may be wrong, of which an emulator makes it suspicious.
		c.Append = append(c.Append, "nohz_full=2,3", "rcu_nocbs=2,3", "tsc=reliable")
	})
	if _, code := sh(t, m, "test -e "+scxState); code != 0 {
		t.Skip("the kernel has no sched_ext")
	}
	for _, c := range []struct {
		name string
		test func(*testing.T, *vm.Machine)
	}{{"qmap", testQmap}, {"central", testCentral}, {"flatcg", testFlatcg}, {"pair", testPair}, {"hybrid", testHybrid}} {
		ok(t, m, "schedload start --spec light")
		ok(t, m, "plugsched scx load "+c.name)
		ok(t, m, "schedload check --within 60")
		ok(t, m, "schedload stop")
		c.test(t, m)
		bpfRuns(t, m, c.name, c.name, scx.Ours)
		expects(t, m, "plugsched scx stop", 0, c.name+" has ended")
	}
}

// testQmap: of slices, the last queue gets sixteen times as many as the first.
func testQmap(t *testing.T, m *vm.Machine) {
	t.Helper()
	low, high := hogs(t, m, 12, "renice -n 19 -p $$;"), hogs(t, m, 12, "renice -n -20 -p $$;")
	before := [2]int{slicesOf(t, m, low), slicesOf(t, m, high)}
	var after [2]int
	if !await(m, func() bool {
		after = [2]int{slicesOf(t, m, low) - before[0], slicesOf(t, m, high) - before[1]}
		return after[0] >= 16
	}) {
		t.Errorf("tasks of the first queue get nothing: %v", after)
	}
	t.Logf("slices of the first queue and of the last: %v", after)
	// Each CPU is somewhere on its way round when it is looked at.
	if after[1] < 10*after[0] || after[1] > 22*after[0] {
		t.Errorf("the first queue has had %d slices, the last %d", after[0], after[1])
	}
	kill(t, m, low, high)
}

// ticks are the interrupts of a CPU's own timer so far.
func ticks(t *testing.T, m *vm.Machine, cpu int) int {
	t.Helper()
	n, err := strconv.Atoi(ok(t, m, fmt.Sprintf("awk '$1 == \"LOC:\" {print $%d}' /proc/interrupts", cpu+2)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// testCentral: a CPU that runs one task has no tick. Where two want one, both get it, which the timer of the scheduler sees to.
func testCentral(t *testing.T, m *vm.Machine) {
	t.Helper()
	one := append(hogs(t, m, 1, "taskset -p 2 $$;"), hogs(t, m, 1, "taskset -p 4 $$;")...)
	before := [2]int{ticks(t, m, 1), ticks(t, m, 2)}
	var after [2]int
	if !await(m, func() bool {
		after = [2]int{ticks(t, m, 1) - before[0], ticks(t, m, 2) - before[1]}
		return after[0] >= 1000
	}) {
		t.Errorf("a CPU that is to tick does not: %v", after)
	}
	t.Logf("ticks of a CPU of the usual sort and of nohz_full=: %v", after)
	if after[1] > after[0]/4 {
		t.Errorf("a CPU without a tick has had %d, another %d", after[1], after[0])
	}
	two := hogs(t, m, 2, "taskset -p 8 $$;")
	if !await(m, func() bool { return slicesOf(t, m, two[:1]) >= 5 && slicesOf(t, m, two[1:]) >= 5 }) {
		t.Errorf("two on one CPU have had %d and %d slices", slicesOf(t, m, two[:1]), slicesOf(t, m, two[1:]))
	}
	kill(t, m, one, two)
}

// testFlatcg: groups, on two levels, get CPUs by their weights, however many tasks they have.
func testFlatcg(t *testing.T, m *vm.Machine) {
	t.Helper()
	// Of four CPUs, a quarter is for one task's group, at most; so all of these can use what is theirs.
	groups := []struct {
		path         string
		weight, hogs int
		percent      float64
	}{
		{"flat/a", 100, 8, 12.5}, {"flat/b", 300, 6, 37.5}, // of flat's half
		{"other", 100, 5, 50},
	}
	ok(t, m, "cd /sys/fs/cgroup && echo +cpu > cgroup.subtree_control && mkdir flat && echo +cpu > flat/cgroup.subtree_control")
	var all []string
	for _, g := range groups {
		ok(t, m, fmt.Sprintf("mkdir /sys/fs/cgroup/%s && echo %d > /sys/fs/cgroup/%[1]s/cpu.weight", g.path, g.weight))
		pids := hogs(t, m, g.hogs, "")
		for _, pid := range pids {
			ok(t, m, "echo "+pid+" > /sys/fs/cgroup/"+g.path+"/cgroup.procs")
		}
		all = append(all, pids...)
	}
	usage := func() (list []float64, sum float64) {
		for _, g := range groups {
			n, err := strconv.ParseFloat(ok(t, m, "sed -n 's/^usage_usec //p' /sys/fs/cgroup/"+g.path+"/cpu.stat"), 64)
			if err != nil {
				t.Fatal(err)
			}
			list, sum = append(list, n/1e6), sum+n/1e6
		}
		return list, sum
	}
	before, from := usage()
	var after []float64
	var sum float64
	if !await(m, func() bool { after, sum = usage(); return sum-from >= 60 }) {
		t.Errorf("in a minute they have had %.0f s", sum-from)
	}
	for i, g := range groups {
		got := 100 * (after[i] - before[i]) / (sum - from)
		t.Logf("%s has had %.1f %%, of which %.1f %% are its", g.path, got, g.percent)
		if got < g.percent-5 || got > g.percent+5 {
			t.Errorf("%s has had %.1f %%, and %.1f %% are its", g.path, got, g.percent)
		}
	}
	kill(t, m, all)
	for _, g := range groups {
		ok(t, m, "until rmdir /sys/fs/cgroup/"+g.path+" 2> /dev/null; do sleep 0.1; done")
	}
	ok(t, m, "rmdir /sys/fs/cgroup/flat")
}

// together is for how much of the time in which somebody of two groups of processes ran on a core its threads ran both, by what
// the kernel's tracer has seen.
func together(t *testing.T, m *vm.Machine, a, b []string) float64 {
	t.Helper()
	const line = `s/.*\[\([0-9]*\)\] [^ ]* *\([0-9.]*\): sched_switch:.*next_pid=\([0-9]*\) .*/\1 \2 \3/p`
	ok(t, m, "cd "+tracing+" && echo mono > trace_clock && echo 4096 > buffer_size_kb && echo > trace")
	ok(t, m, "cd "+tracing+"/events/sched/sched_switch && echo 1 > enable && sleep 10 && echo 0 > enable")
	out := ok(t, m, "sed -n '"+line+"' "+tracing+"/trace")
	group := map[string]int{}
	for _, pid := range a {
		group[pid] = 1
	}
	for _, pid := range b {
		group[pid] = 2
	}
	var runs [4]int // whose process each CPU runs
	var last, both, all float64
	for row := range strings.Lines(out) {
		var cpu int
		var at float64
		var pid string
		if n, err := fmt.Sscan(row, &cpu, &at, &pid); n != 3 || cpu >= len(runs) {
			t.Fatalf("%q: %v", row, err)
		}
		for first := 0; first < len(runs) && last > 0; first += 2 { // the threads of a core are neighbours
			switch runs[first] + runs[first+1] {
			case 3:
				both, all = both+at-last, all+at-last
			case 1, 2, 4:
				all += at - last
			}
		}
		runs[cpu], last = group[pid], at
	}
	if all < 1 {
		t.Fatalf("they have run for %.3f s:\n%s", all, out)
	}
	return both / all
}

// testPair: threads of a core do not run two groups' tasks.
func testPair(t *testing.T, m *vm.Machine) {
	t.Helper()
	siblings := ok(t, m, "cat /sys/devices/system/cpu/cpu*/topology/thread_siblings_list")
	if strings.Join(strings.Fields(siblings), " ") != "0-1 0-1 2-3 2-3" {
		t.Fatalf("cores are %s", siblings)
	}
	ok(t, m, "cd /sys/fs/cgroup && echo +cpu > cgroup.subtree_control")
	var members [2][]string
	for i, g := range []string{"a", "b"} {
		members[i] = hogs(t, m, 3, "")
		ok(t, m, "mkdir /sys/fs/cgroup/"+g)
		for _, pid := range members[i] {
			ok(t, m, "echo "+pid+" > /sys/fs/cgroup/"+g+"/cgroup.procs")
		}
	}
	pair := together(t, m, members[0], members[1])
	for i := range members {
		for _, pid := range members[i] {
			had := slicesOf(t, m, []string{pid})
			if !await(m, func() bool { return slicesOf(t, m, []string{pid}) > had }) {
				t.Errorf("%s has nothing", pid)
			}
		}
	}
	ok(t, m, "plugsched scx replace simple")
	simple := together(t, m, members[0], members[1])
	ok(t, m, "plugsched scx replace pair")
	t.Logf("two groups on one core: for %.1f %% of the time, with simple %.1f %%", 100*pair, 100*simple)
	// Who lets go and who takes over are seen one after the other.
	if pair > 0.03 || simple < 0.1 {
		t.Errorf("two groups are on one core for %.1f %% of the time, and with simple for %.1f %%", 100*pair, 100*simple)
	}
	kill(t, m, members[0], members[1])
	for _, g := range []string{"a", "b"} {
		ok(t, m, "until rmdir /sys/fs/cgroup/"+g+" 2> /dev/null; do sleep 0.1; done")
	}
}

// domainsOf is in which of the two domains processes are, by the CPUs that they were last on, some times.
func domainsOf(t *testing.T, m *vm.Machine, pids []string, times int) (list [][]int) {
	t.Helper()
	out := ok(t, m, fmt.Sprintf("for i in $(seq %d); do awk '{printf \"%%s \", $39} END {print \"\"}' /proc/%s/stat; sleep 0.05; done",
		times, strings.Join(pids, "/stat /proc/")))
	for line := range strings.Lines(out) {
		var row []int
		for _, word := range strings.Fields(line) {
			cpu, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(out)
			}
			row = append(row, cpu/2)
		}
		if len(row) != len(pids) {
			t.Fatalf("%d processes:\n%s", len(pids), out)
		}
		list = append(list, row)
	}
	return list
}

// crossings is how often processes were seen in another domain than before.
func crossings(list [][]int) (n int) {
	for i := range list[1:] {
		for j := range list[i] {
			if list[i][j] != list[i+1][j] {
				n++
			}
		}
	}
	return n
}

// testHybrid: tasks stay in the domain where they are, until the process that balances moves half of them, for good. It may be killed.
func testHybrid(t *testing.T, m *vm.Machine) {
	t.Helper()
	packages := ok(t, m, "cat /sys/devices/system/cpu/cpu*/topology/package_cpus_list")
	if strings.Join(strings.Fields(packages), " ") != "0-1 0-1 2-3 2-3" {
		t.Fatalf("packages are %s", packages)
	}
	expects(t, m, "plugsched scx replace simple && plugsched scx balance", 3, "the BPF scheduler simple has nothing to balance")
	ok(t, m, "plugsched scx replace --set steal=0 hybrid")
	// Born in the first domain, they may run everywhere then.
	pids := hogs(t, m, 8, "taskset -p 3 $$;")
	for _, pid := range pids {
		ok(t, m, "taskset -p f "+pid)
	}
	second := func() (n int) {
		for _, d := range domainsOf(t, m, pids, 1)[0] {
			n += d
		}
		return n
	}
	if before := domainsOf(t, m, pids, 20); crossings(before) > 0 || second() > 0 {
		t.Errorf("without a process that balances they are in domains %v", before)
	}
	balancer := ok(t, m, "plugsched scx balance > /run/balance 2>&1 & echo $!")
	if !await(m, func() bool { return second() == 4 }) {
		t.Errorf("of eight, %d are in the second domain", second())
	}
	expects(t, m, "plugsched scx balance", 3, "is balanced by another process")
	hybrid := crossings(domainsOf(t, m, pids, 40))
	ok(t, m, "kill -9 "+balancer)
	for _, pid := range pids {
		had := slicesOf(t, m, []string{pid})
		if !await(m, func() bool { return slicesOf(t, m, []string{pid}) > had }) {
			t.Errorf("%s has nothing since nobody balances", pid)
		}
	}
	t.Log(ok(t, m, "cat /run/balance"))
	ok(t, m, "plugsched scx replace simple")
	simple := crossings(domainsOf(t, m, pids, 40))
	t.Logf("seen in another domain than before: with hybrid %d, with simple %d", hybrid, simple)
	if hybrid > 4 || simple < 20 {
		t.Errorf("seen in another domain than before: with hybrid %d, with simple %d", hybrid, simple)
	}
	// CPUs that would be idle take from others, and what balances ends with the scheduler.
	ok(t, m, "plugsched scx replace hybrid")
	for _, pid := range pids {
		ok(t, m, "taskset -p 3 "+pid+" && taskset -p f "+pid)
	}
	if !await(m, func() bool { return second() > 0 }) {
		t.Error("the second domain is idle")
	}
	ok(t, m, "(plugsched scx balance; echo exit $?) > /run/balance 2>&1 &")
	ok(t, m, "until grep -q 'domain 1' /run/balance; do sleep 0.1; done")
	ok(t, m, "plugsched scx replace hybrid")
	if !await(m, func() bool { return strings.Contains(ok(t, m, "cat /run/balance"), "exit 3") }) {
		t.Errorf("what balances goes on: %s", ok(t, m, "cat /run/balance"))
	}
	kill(t, m, pids)
	ok(t, m, "rm /run/balance")
}
