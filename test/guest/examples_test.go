// SPDX-License-Identifier: BSD-3-Clause

//go:build guest && examples

package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// example builds examples, as they are for this kernel, and returns the module's path.
func example(t *testing.T, examples ...string) (ko string) {
	t.Helper()
	return variant(t, patchesOf(t, shared.release, examples...)...)
}

// onTopOf names the series that another one needs to be applied before it.
var onTopOf = map[string]string{"tiny": "no-bandwidth"}

// version orders series of kernels, and their releases by their series.
func version(release string) int {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return 0
	}
	return major<<16 + minor
}

// folderFor is the folder below examples/ of a series that is for a kernel. A folder in it that is
// named for kernels, as 6.12, is for those and later ones, up to the next such folder; beside
// them is what is for older ones.
func folderFor(t *testing.T, example, release string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(shared.root, "examples", example))
	if err != nil {
		t.Fatal(err)
	}
	best := ""
	for _, e := range entries {
		since := e.Name()
		if e.IsDir() && series.MatchString(since) && version(since) <= version(release) && version(since) > version(best) {
			best = since
		}
	}
	return filepath.Join(example, best)
}

// TestExampleFolder: which of an example's series a kernel gets.
func TestExampleFolder(t *testing.T) {
	for release, want := range map[string]string{
		"5.10.0-43-cloud-amd64": "tiny", "6.1.0-57-cloud-amd64": "tiny", "6.11.10-amd64": "tiny",
		"6.12.117+deb12-cloud-amd64": "tiny/6.12", "6.18.2-amd64": "tiny/6.12", "7.3.4+deb13-cloud-amd64": "tiny/7.3", "7.10.1-amd64": "tiny/7.3",
	} {
		if got := folderFor(t, "tiny", release); got != want {
			t.Errorf("%s: examples/%s, expected examples/%s", release, got, want)
		}
	}
}

// patchesOf lists the patches of series for a kernel, in order, relative to the repository.
func patchesOf(t *testing.T, release string, examples ...string) (patches []string) {
	t.Helper()
	for _, s := range examples {
		folder := folderFor(t, s, release)
		if below := onTopOf[folder]; below != "" {
			patches = append(patches, patchesOf(t, release, below)...)
		}
		found, err := filepath.Glob(filepath.Join(shared.root, "examples", folder, "*.patch"))
		if err != nil || len(found) == 0 {
			t.Fatalf("examples/%s: no patches (%v)", folder, err)
		}
		for _, p := range found {
			rel, err := filepath.Rel(shared.root, p)
			if err != nil {
				t.Fatal(err)
			}
			patches = append(patches, rel)
		}
	}
	return patches
}

// bootExample starts a guest of two CPUs with the module at /example.ko.
func bootExample(t *testing.T, ko string) *vm.Machine {
	t.Helper()
	return boot(t, func(c *vm.Config) {
		c.CPUs = 2
		with("/example.ko", ko)(c)
		addChrt(t, c)
	})
}

// threeTimes looks before the install, while the module is loaded, and after its
// removal.
func threeTimes(t *testing.T, m *vm.Machine, look func(when string, loaded bool)) {
	t.Helper()
	look("before", false)
	ok(t, m, "plugsched install /example.ko")
	look("while loaded", true)
	out := ok(t, m, "plugsched uninstall")
	if !strings.Contains(out, "no function, no timer and no stack leads to the module") || !strings.Contains(out, "no pointer to it") {
		t.Errorf("not verified:\n%s", out)
	}
	look("after", false)
}

// number reads a number that a command prints.
func number(t *testing.T, m *vm.Machine, command string) int {
	t.Helper()
	out := ok(t, m, command)
	n, err := strconv.Atoi(out)
	if err != nil {
		t.Fatalf("`%s` prints %q", command, out)
	}
	return n
}

// group makes a cgroup with a file set, and a busy loop in it on CPU 1.
func group(t *testing.T, m *vm.Machine, name, file, value string) {
	t.Helper()
	dir := "/sys/fs/cgroup/" + name
	ok(t, m, "mkdir "+dir+" && echo +cpu > /sys/fs/cgroup/cgroup.subtree_control && echo "+value+" > "+dir+"/"+file)
	ok(t, m, inBackground("taskset 2 sh -c 'echo $$ > "+dir+"/cgroup.procs; while :; do :; done'"))
	ok(t, m, "until grep -q . "+dir+"/cgroup.procs; do sleep 0.1; done")
}

// used is the part of a CPU that a cgroup uses over two seconds, in percent.
func used(t *testing.T, m *vm.Machine, name string) int {
	t.Helper()
	return number(t, m, `
usage() { sed -n 's/^usage_usec //p' /sys/fs/cgroup/`+name+`/cpu.stat; }
now() { cut -d' ' -f1 /proc/uptime | tr -d .; } # 10 ms
u=$(usage); t=$(now); sleep 2; v=$(usage); s=$(now)
echo $(( (v - u) / ((s - t) * 100) ))`)
}

// TestExampleNoBandwidth: a quota holds while it can be set, and is there again
// afterwards.
func TestExampleNoBandwidth(t *testing.T) {
	t.Parallel()
	m := bootExample(t, example(t, "no-bandwidth"))
	const quota = "20000 100000"
	group(t, m, "limited", "cpu.max", quota)
	const file = "/sys/fs/cgroup/limited/cpu.max"
	threeTimes(t, m, func(when string, loaded bool) {
		want, shown := quota, ok(t, m, "cat "+file)
		if loaded {
			want = "max 100000"
		}
		if shown != want {
			t.Errorf("%s: cpu.max is %q, expected %q", when, shown, want)
		}
		if _, code := sh(t, m, "echo "+quota+" > "+file); (code != 0) != loaded {
			t.Errorf("%s: setting a quota exits with %d", when, code)
		}
		p := used(t, m, "limited")
		t.Logf("%s: %d %%", when, p)
		if loaded && p < 60 || !loaded && p > 40 {
			t.Errorf("%s: a group with a quota of 20 %% uses %d %%", when, p)
		}
		// Groups are made and freed by whoever schedules.
		ok(t, m, "mkdir /sys/fs/cgroup/new && rmdir /sys/fs/cgroup/new")
	})
	if out := ok(t, m, "cat /sys/fs/cgroup/limited/cpu.stat"); strings.Contains(out, "nr_throttled 0\n") {
		t.Errorf("was not throttled:\n%s", out)
	}
}

// TestExampleUpstream: each of the patches shows.
func TestExampleUpstream(t *testing.T) {
	t.Parallel()
	m := bootExample(t, example(t, "upstream"))
	// Two tasks take turns on a CPU with ten that have no weight but make the period
	// a second, as hundreds do with the granularity that is the default.
	ok(t, m, "echo 100000000 > /sys/kernel/debug/sched/min_granularity_ns")
	ok(t, m, inBackground(`for i in $(seq 10); do chrt -i 0 taskset 2 sh -c 'while :; do :; done' & done; wait`))
	ok(t, m, inBackground(`taskset 2 sh -c 'while :; do :; done' & echo $! > /run/hog; taskset 2 sh -c 'while :; do :; done' & wait`))
	ok(t, m, "until [ -s /run/hog ]; do sleep 0.1; done; sleep 1")
	threeTimes(t, m, func(when string, loaded bool) {
		n := number(t, m, `
turns() { sed -n 's/^nonvoluntary_ctxt_switches:\s*//p' /proc/$(cat /run/hog)/status; }
u=$(turns); sleep 4; v=$(turns); echo $((v - u))`)
		t.Logf("%s: %d turns in 4 s", when, n)
		if (n > 15) != loaded {
			t.Errorf("%s: beside idle tasks a task has %d turns in 4 s", when, n)
		}
		if list := strings.Fields(ok(t, m, "cat "+features)); loaded == strings.Contains(strings.Join(list, " "), "SIS_PROP") {
			t.Errorf("%s: features %v", when, list)
		}
		if _, code := sh(t, m, "echo 'some 50000 100000' > /proc/pressure/cpu"); (code == 0) != loaded {
			t.Errorf("%s: a pressure trigger of 100 ms exits with %d", when, code)
		}
	})
}

// TestExampleStable: an update of another point release, on that release. A CPU that a
// task may not use does not make its socket look idle any more.
func TestExampleStable(t *testing.T) {
	t.Parallel()
	const release = "6.1.0-50-cloud-amd64"
	o := of(t, release)
	ko := o.variant(t, patchesOf(t, release, "stable")...)
	m := boot(t, func(c *vm.Config) {
		c.Kernel, c.CPUs, c.Sockets = o.target.Vmlinuz, 4, 2
		with("/example.ko", ko)(c)
		addChrt(t, c)
	})
	// The parent may use CPU 1 of one socket and CPU 2 of the other. CPU 3 is busy, CPU 0
	// is idle and not for it: by the old count a child is as well off at home.
	ok(t, m, inBackground("taskset 8 sh -c 'while :; do :; done'")+" sleep 2")
	threeTimes(t, m, func(when string, loaded bool) {
		// Where the child is, and where its parent was last: only from home counts.
		out := ok(t, m, `
for i in $(seq 60); do taskset 2 sh -c 'taskset -p 6 $$ > /dev/null
	for i in 1 2 3 4; do awk -v ORS=" " "{print \$39}" /proc/self/stat /proc/$$/stat; done'; done`)
		cpus := strings.Fields(out)
		var away, all int
		for i := 0; i+1 < len(cpus); i += 2 {
			if cpus[i+1] == "1" {
				all++
				if cpus[i] == "2" {
					away++
				}
			}
		}
		t.Logf("%s: %d of %d children on the other socket", when, away, all)
		if all < 60 || (100*away > 45*all) != loaded { // about 30 and 60 %
			t.Errorf("%s: %d of %d children on the other socket: %s", when, away, all, out)
		}
	})
}

// TestExampleIdentity: two busy loops on one CPU have half of it each. While one has a
// low identity, the other has all, and the watchdog lets it wait.
func TestExampleIdentity(t *testing.T) {
	t.Parallel()
	m := bootExample(t, example(t, "identity"))
	group(t, m, "high", "cpu.weight", "100")
	group(t, m, "low", "cpu.weight", "100")
	const file = "/sys/fs/cgroup/low/cpu.idle"
	ok(t, m, "mkdir /sys/fs/cgroup/low/below")
	look := func(when string, loaded bool) {
		if _, code := sh(t, m, "echo -1 > "+file); (code == 0) != loaded {
			t.Errorf("%s: setting a low identity exits with %d", when, code)
		}
		if _, code := sh(t, m, "echo -1 > /sys/fs/cgroup/low/below/cpu.idle"); code == 0 {
			t.Errorf("%s: a group that is not below the root has an identity", when)
		}
		high, low := used(t, m, "high"), used(t, m, "low")
		t.Logf("%s: high %d %%, low %d %%", when, high, low)
		if loaded && (low > 2 || high < 60) || !loaded && (high < 30 || low < 30) {
			t.Errorf("%s: high %d %%, low %d %%", when, high, low)
		}
		if loaded {
			// Nobody is in the way of the low group on the other CPU.
			ok(t, m, "taskset -p 1 $(cat /sys/fs/cgroup/high/cgroup.procs)")
			if low = used(t, m, "low"); low < 60 {
				t.Errorf("%s: alone on its CPU the low group uses %d %%", when, low)
			}
			ok(t, m, "taskset -p 2 $(cat /sys/fs/cgroup/high/cgroup.procs)")
		}
		want := "0"
		if loaded {
			want = "-1"
		}
		if got := ok(t, m, "cat "+file); got != want {
			t.Errorf("%s: cpu.idle is %s, expected %s", when, got, want)
		}
	}
	look("before", false)
	name := installs(t, m, "plugsched install --watchdog 2s /example.ko")
	look("while loaded", true)
	time.Sleep(6 * time.Second)
	alone(t, m, name)
	if low := used(t, m, "low"); low > 2 {
		t.Errorf("after 6 s: low %d %%", low)
	}
	ok(t, m, "plugsched uninstall")
	look("after", false)
}

// TestExampleTiny: everything goes on under another scheduler, and groups have no
// weight in it.
func TestExampleTiny(t *testing.T) {
	t.Parallel()
	m := bootExample(t, example(t, "tiny"))
	for _, g := range []struct{ name, weight string }{{"heavy", "1000"}, {"light", "10"}} {
		group(t, m, g.name, "cpu.weight", g.weight)
	}
	threeTimes(t, m, func(when string, loaded bool) {
		p := used(t, m, "light")
		t.Logf("%s: the light group has %d %%", when, p)
		if loaded && (p < 30 || p > 70) || !loaded && p > 15 {
			t.Errorf("%s: beside a group of a hundred times its weight another has %d %% of the CPU", when, p)
		}
	})
	ok(t, m, "for g in heavy light; do echo 1 > /sys/fs/cgroup/$g/cgroup.kill; done")

	ok(t, m, "schedload start --spec light,hotplug=1,cgchurn=0")
	name := installs(t, m, "plugsched install /example.ko")
	goesOn(t, m)
	for range 3 {
		ok(t, m, "plugsched uninstall --verify=false && plugsched install /example.ko")
	}
	goesOn(t, m)
	alone(t, m, name)
	ok(t, m, "plugsched install --replace /scheduler.ko && plugsched install --replace /example.ko")
	goesOn(t, m)
	ok(t, m, "plugsched uninstall")
	goesOn(t, m)
	ok(t, m, "schedload stop")
}
