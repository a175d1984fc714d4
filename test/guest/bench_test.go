// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/bench"
)

// TestBench: the parts of a stop are all of it, and what sleeps is not looked at in it: counted
// in instructions, which no host can make more or fewer.
func TestBench(t *testing.T) {
	dir := filepath.Join(shared.root, "build/test/bench")
	countBoot(t)
	countBoot(t)
	countBoot(t)
	// One CPU, for which any QEMU counts; one repetition, so that medians are one update's.
	out, code := plugsched(t, "bench", "--cpus", "1", "--series", "threads,overhead", "--at-most", "1000", "--repetitions", "1",
		"--output", dir, shared.work)
	t.Log(out)
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	text, err := os.ReadFile(filepath.Join(dir, "bench.json"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := bench.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	s := r.Find("threads")
	if s == nil || len(s.Points) != 2 || r.Release != shared.release {
		t.Fatalf("%+v", r)
	}
	work := map[bench.Way]int64{} // by which inspection grows
	for i, p := range s.Points {
		if len(p.Rows) != 6 {
			t.Fatalf("%d: %d rows", p.Value, len(p.Rows))
		}
		for _, row := range p.Rows {
			if row.Unnamed() != 0 {
				t.Errorf("%d, %s, %s: %.4f of the stop is in none of its parts", p.Value, row.Way, row.Direction, row.Unnamed())
			}
			figure := func(name string) int64 { return row.Figures[name].Median }
			if figure("empty") <= 0 || figure("write") <= 0 || figure(bench.Bytes) < 1000 {
				t.Errorf("%d, %s, %s: no floor: %v", p.Value, row.Way, row.Direction, row.Figures)
			}
			// What is written in three steps takes no more than three times what it takes at once.
			if figure("redirection") > 3*figure("write") || figure("compare") <= 0 || figure("compare") > figure("inspection") {
				t.Errorf("%d, %s, %s: more is done in the stop than writing and comparing: %v", p.Value, row.Way, row.Direction, row.Figures)
			}
			if row.Way == bench.Ours {
				if figure(bench.Threads) < int64(p.Value) || figure(bench.Stopped) > 50 {
					t.Errorf("%d sleepers: %d threads inspected, %d of them in the stop", p.Value, figure(bench.Threads), figure(bench.Stopped))
				}
			} else if figure(bench.Stopped) < int64(p.Value) {
				t.Errorf("%d sleepers: %s inspected %d", p.Value, row.Way, figure(bench.Stopped))
			}
			work[row.Way] += int64(2*i-1) * figure("inspection")
		}
	}
	if w := work[bench.Parallel]; w <= 0 || work[bench.Serial] <= w || work[bench.Ours] > w/20 {
		t.Errorf("with 900 sleepers more, inspection in the stop takes so many ns more: %v", work)
	}
	if len(r.Overhead) < 8 {
		t.Fatalf("%+v", r.Overhead)
	}
	for _, o := range r.Overhead {
		// The rarest are due to whatever else was due.
		if o.Stock < 100 || o.Ratio > 1.2 && !strings.HasSuffix(o.Operation, "%") {
			t.Errorf("an operation with the same scheduler as a module: %+v", o)
		}
	}
}

// TestBenchHost: a machine measures itself, and has its own scheduler before and after.
func TestBenchHost(t *testing.T) {
	t.Parallel()
	m := borrow(t, nil)
	ok(t, m, "cd /run && plugsched bench --host /scheduler.ko --repetitions 1 --output /run/figures")
	stock(t, m)
	text, err := m.ReadFile(t.Context(), "/run/figures/bench.json")
	if err != nil {
		t.Fatal(err)
	}
	r, err := bench.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	s := r.Find("host")
	if s == nil || len(s.Points) != 1 || len(s.Points[0].Rows) != 2 || r.Release != shared.release || r.Host == "" || r.NsPerInstruction != 0 {
		t.Fatalf("%s", text)
	}
	for _, row := range s.Points[0].Rows {
		if row.Unnamed() != 0 || row.Figures[bench.Stop].Median <= 0 {
			t.Errorf("%s: %+v", row.Direction, row)
		}
	}
	installs(t, m, "plugsched install /scheduler.ko")
	refusal{"while another runs", "plugsched bench --host /scheduler.ko -o /run/other", 3, "`plugsched uninstall` first"}.check(t, m)
	ok(t, m, "plugsched uninstall")
}
