// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// topology is a directory of CPUs; each file has a text.
func topology(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestDomains: CPUs of one last cache are a domain, or of one package where caches are not told.
func TestDomains(t *testing.T) {
	caches := map[string]string{}
	for cpu, list := range []string{"0-1", "0-1", "2-3", "2-3"} {
		dir := fmt.Sprintf("cpu%d/", cpu)
		for i, level := range []string{"1", "3", "2"} {
			index := fmt.Sprintf("%scache/index%d/", dir, i)
			caches[index+"level"] = level
			caches[index+"shared_cpu_list"] = map[string]string{"1": fmt.Sprint(cpu), "2": fmt.Sprint(cpu), "3": list}[level]
		}
		caches[dir+"topology/package_cpus_list"] = "0-3"
	}
	packages := map[string]string{"cpu0/topology/package_cpus_list": "0,2", "cpu1/topology/package_cpus_list": "1",
		"cpu2/topology/package_cpus_list": "0,2", "cpu3/online": "0"}
	for name, c := range map[string]struct {
		files map[string]string
		want  []uint32
		cpus  []int
	}{
		"caches":   {caches, []uint32{0, 0, 1, 1, 0}, []int{2, 2}},
		"packages": {packages, []uint32{0, 1, 0, 0, 0}, []int{2, 1}},
	} {
		dir := topology(t, c.files)
		got, _, err := domains(dir, 5)
		var b Balancer
		if bad := b.count(dir); err != nil || bad != nil || !slices.Equal(got, c.want) || !slices.Equal(b.cpus, c.cpus) {
			t.Errorf("%s: %v, %v; %v, %v", name, got, err, b.cpus, bad)
		}
	}
	if _, _, err := domains(topology(t, map[string]string{"cpu0/cache/index0/level": "x"}), 1); err == nil {
		t.Error("a level that is no number is taken")
	}
	o, err := Open("hybrid")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.setDomains(topology(t, caches)); err != nil {
		t.Fatal(err)
	}
	var count uint32
	first := make([]uint32, o.spec.Variables[domainFirstVariable].Size()/4)
	if err := o.spec.Variables[domainCountVariable].Get(&count); err != nil || count != 2 {
		t.Errorf("%d domains (%v)", count, err)
	}
	if err := o.spec.Variables[domainFirstVariable].Get(&first); err != nil || !slices.Equal(first[:3], []uint32{0, 2, 0}) {
		t.Errorf("first CPUs %v (%v)", first[:3], err)
	}
	many := map[string]string{}
	for cpu := range 65 {
		many[fmt.Sprintf("cpu%d/topology/package_cpus_list", cpu)] = fmt.Sprint(cpu)
	}
	if err := o.setDomains(topology(t, many)); err == nil || !strings.Contains(err.Error(), "more than 64") {
		t.Errorf("65 domains: %v", err)
	}
}

// TestBalanceLayout: the maps of hybrid are as balance.go reads them.
func TestBalanceLayout(t *testing.T) {
	spec, err := ebpf.LoadCollectionSpec("bpf/hybrid.bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	is, ok := spec.Maps[membersMap].Value.(*btf.Struct)
	if !ok || is.Size != 32 {
		t.Fatalf("%v", spec.Maps[membersMap])
	}
	want := map[string]uint32{"domain": 0, "weight": 4, "since": 8, "runnable": 16, "fixed": 24, "pad": 28}
	for _, m := range is.Members {
		if at, ok := want[m.Name]; !ok || at != m.Offset.Bytes() {
			t.Errorf("%s is at %d, not at %d", m.Name, m.Offset.Bytes(), at)
		}
	}
	if spec.Maps[wishesMap].ValueSize != 4 || spec.Maps[doneMap].ValueSize != 16 {
		t.Errorf("%v %v", spec.Maps[wishesMap], spec.Maps[doneMap])
	}
}

// TestWanted: what a task has wanted includes what it wants just now.
func TestWanted(t *testing.T) {
	m := member{Runnable: uint64(3 * time.Second)}
	if got := m.wanted(9 * time.Second); got != 3*time.Second {
		t.Error(got)
	}
	m.Since = uint64(5 * time.Second)
	if got := m.wanted(9 * time.Second); got != 7*time.Second {
		t.Error(got)
	}
	if got := m.wanted(4 * time.Second); got != 3*time.Second { // it has begun after the clock was read
		t.Error(got)
	}
}

// hogs are tasks that always want to run.
func hogs(domain, n, first int, weight float64) (list []wants) {
	for i := range n {
		list = append(list, wants{uint32(first + i), domain, 1, weight, false})
	}
	return list
}

// TestPlan: what is planned leaves domains alike, moves nobody for little, and none who may not move.
func TestPlan(t *testing.T) {
	for name, c := range map[string]struct {
		cpus  []int
		tasks []wants
		moves int
		loads []float64 // that are left
	}{
		"all in one":         {[]int{2, 2}, hogs(0, 8, 1, 1), 4, []float64{4, 4}},
		"by CPUs":            {[]int{1, 3}, hogs(0, 8, 1, 1), 6, []float64{2, 6}},
		"three domains":      {[]int{2, 2, 2}, hogs(1, 9, 1, 1), 6, []float64{3, 3, 3}},
		"one is over":        {[]int{2, 2}, slices.Concat(hogs(0, 3, 1, 1), hogs(1, 2, 9, 1)), 0, []float64{3, 2}},
		"enough CPUs":        {[]int{2, 2}, hogs(0, 2, 1, 1), 0, []float64{2, 0}},
		"weights":            {[]int{2, 2}, slices.Concat(hogs(0, 1, 1, 8), hogs(0, 8, 2, 1)), 3, []float64{6, 10}},
		"one has nearly all": {[]int{2, 2}, slices.Concat(hogs(0, 1, 1, 80), hogs(0, 2, 2, 1)), 1, []float64{81, 1}},
		"little":             {[]int{2, 2}, slices.Concat(hogs(0, 40, 1, 1), hogs(1, 38, 100, 1)), 0, []float64{40, 38}},
		"nobody wants":       {[]int{2, 2}, nil, 0, []float64{0, 0}},
		"one domain":         {[]int{4}, hogs(0, 9, 1, 1), 0, []float64{9}},
		"who may not move":   {[]int{2, 2}, []wants{{1, 0, 1, 1, true}, {2, 0, 1, 1, true}, {3, 0, 1, 1, true}}, 0, []float64{3, 0}},
	} {
		moves := plan(c.cpus, c.tasks)
		after := slices.Clone(c.tasks)
		for _, m := range moves {
			for i := range after {
				if after[i].task == m.task {
					after[i].domain = m.to
				}
			}
		}
		for d, got := range sum(c.cpus, after) {
			if math.Abs(got.Load-c.loads[d]) > 1e-9 {
				t.Errorf("%s: domain %d has %.1f, not %.1f (%v)", name, d, got.Load, c.loads[d], moves)
			}
		}
		if len(moves) != c.moves {
			t.Errorf("%s: %d moves, not %d: %v", name, len(moves), c.moves, moves)
		}
		// Whoever was moved in a round stays for that one; soon nobody is moved any more.
		for range 3 {
			for _, m := range plan(c.cpus, after) {
				i := slices.IndexFunc(after, func(t wants) bool { return t.task == m.task })
				after[i].domain = m.to
			}
		}
		if again := plan(c.cpus, after); len(again) > 0 {
			t.Errorf("%s: rounds later these are moved: %v", name, again)
		}
	}
	if n := len(plan([]int{1, 1}, hogs(0, 5000, 1, 1))); n != mostMoves {
		t.Errorf("%d moves at a time", n)
	}
}
