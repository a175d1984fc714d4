// SPDX-License-Identifier: BSD-3-Clause

package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/operate/live"
)

// timings is what a module says of an update whose clear and rebuild take so long, in ns.
func timings(direction string, clear, rebuild int64) *live.Timings {
	t := &live.Timings{Direction: direction, CPUs: 4, Threads: 180, Stopped: 5, Scan: 20e6, Gather: 9e4, Enter: 8e4,
		StackCheck: 4e5, Clear: clear, Redirect: 3e5, Rebuild: rebuild, Leave: 7e4}
	t.Handler = t.StackCheck + t.Clear + t.Redirect + t.Rebuild
	t.StopMachine = t.Gather + t.Enter + t.Handler + t.Leave
	return t
}

// made is a result of two series: in one, rebuild takes 1 µs for each; in the other three ways
// are compared, of which two take 10 µs for each.
func made() *Result {
	r := &Result{Schema: schema, Command: "plugsched bench <work>", Release: "6.1.0", BuildID: "0123", QEMU: "QEMU 10", Repetitions: 3,
		NsPerInstruction: 8, Date: "2026-11-29", HostLoad: "1 2 3"}
	add := func(name string, values []int, ways []Way, of func(w Way, n, i int) (clear, rebuild int64)) {
		s := SeriesResult{Name: name, What: name + " that exist", CPUs: 4}
		for _, v := range values {
			var updates []Update
			for i := range 3 {
				for _, w := range ways {
					for _, d := range directions {
						clear, rebuild := of(w, v, i)
						u := Update{Way: w, Direction: d, Tries: 1, Figures: figuresOf(timings(d, clear, rebuild))}
						u.Figures["empty"], u.Figures[Bytes] = 150e3, 2600
						updates = append(updates, u)
					}
				}
			}
			s.Points = append(s.Points, *point(v, updates))
		}
		s.fit()
		r.Series = append(r.Series, s)
	}
	add("runnable", []int{1, 100, 1000}, []Way{Ours}, func(_ Way, n, i int) (int64, int64) { return 5e3, int64(1000*n + 100*i) })
	add("threads", []int{100, 10000}, []Way{Ours, Serial, Parallel}, func(w Way, n, _ int) (int64, int64) {
		if w == Ours {
			return 5e3, 1e4
		}
		return int64(1e4 * n), 1e4
	})
	return r
}

func TestStats(t *testing.T) {
	if got := statsOf([]int64{9, 1, 5, 4}); got != (Stats{Median: 4, Min: 1, Max: 9}) {
		t.Errorf("%+v", got)
	}
	updates := []Update{
		{Way: Ours, Direction: "install", Tries: 1, Figures: map[string]int64{Stop: 3}},
		{Way: Ours, Direction: "install", Tries: 4, Figures: map[string]int64{Stop: 1}},
		{Way: Ours, Direction: "install", Tries: 1, Figures: map[string]int64{Stop: 2}},
		{Way: Serial, Direction: "remove", Tries: 1, Figures: map[string]int64{Stop: 7}},
	}
	want := &Point{Value: 5, Rows: []Row{
		{Way: Ours, Direction: "install", Updates: 3, Busy: 3, Figures: map[string]Stats{Stop: {2, 1, 3}}},
		{Way: Serial, Direction: "remove", Updates: 1, Figures: map[string]Stats{Stop: {7, 7, 7}}},
	}}
	if diff := cmp.Diff(want, point(5, updates)); diff != "" {
		t.Error(diff)
	}
}

// TestParts: the parts are all of a stop, whichever of them is long, and none is counted twice.
func TestParts(t *testing.T) {
	f := figuresOf(timings("install", 17e3, 23e3))
	var sum int64
	for _, part := range Parts {
		sum += f[part]
	}
	if sum != f[Stop] || sum == 0 {
		t.Errorf("parts %d, stop %d", sum, f[Stop])
	}
	for _, s := range made().Series {
		for _, p := range s.Points {
			for _, row := range p.Rows {
				if u := row.Unnamed(); u != 0 {
					t.Errorf("%s %d: %f is in no part", s.Name, p.Value, u)
				}
			}
		}
	}
}

func TestLine(t *testing.T) {
	f := line([]float64{0, 10, 20, 30}, []float64{7, 27, 47, 67})
	if math.Abs(f.Base-7) > 1e-9 || math.Abs(f.Each-2) > 1e-9 || math.Abs(f.R2-1) > 1e-9 {
		t.Errorf("%+v", f)
	}
	if f = line([]float64{1, 2, 3}, []float64{5, 5, 5}); f.Each != 0 || f.Base != 5 || f.R2 != 1 {
		t.Errorf("%+v", f)
	}
	if f = line([]float64{3, 3}, []float64{5, 7}); f.Each != 0 || f.Base != 6 {
		t.Errorf("of one value: %+v", f)
	}
	if f = line([]float64{1, 2, 3, 4}, []float64{1, -1, -1, 1}); math.Abs(f.R2) > 1e-9 {
		t.Errorf("no line explains this: %+v", f)
	}
}

// TestGrowth: what grows is named, with how much, and nothing else is.
func TestGrowth(t *testing.T) {
	r := made()
	got := r.Find("runnable").Growth()
	if want := "What grows: rebuild of install by 1 µs for each (of the differences the line explains 100 %); " +
		"rebuild of remove by 1 µs for each (of the differences the line explains 100 %)."; got != want {
		t.Errorf("%s", got)
	}
	if got = r.Find("threads").Growth(); got != "Nothing grows." {
		t.Errorf("of ours only: %s", got)
	}
	claims := strings.Join(r.Claims(), "\n")
	// Ours: (400 + 5 + 10) µs twice; the others: (400 + 100000 + 10) µs twice.
	for _, want := range []string{"10000 sleepers instead of 100", "1.00 times as long (install)", "are 242 times below", "and 60 times if"} {
		if !strings.Contains(claims, want) {
			t.Errorf("no %q in %s", want, claims)
		}
	}
}

// TestJSON: what is read is what was written.
func TestJSON(t *testing.T) {
	r := made()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, again); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "{}", `{"schema":99}`, `{"schema":1,"series":[{"points":[{"rows":[{"way":"other"}]}]}]}`} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestCompare(t *testing.T) {
	r, other := made(), made()
	if err := r.Compare(other); err != nil {
		t.Fatal(err)
	}
	for _, d := range r.Against.Figures {
		if d.Max != 0 || d.Median != 0 {
			t.Errorf("the same is apart: %+v", d)
		}
	}
	f := other.Series[1].Points[1].Row(Serial, "remove").Figures
	stop := f[Stop].Median
	f["clear"] = Stats{Median: f["clear"].Median + stop/10}
	if err := r.Compare(other); err != nil {
		t.Fatal(err)
	}
	i := 1 + 3 // clear, behind the stop and three parts
	if d := r.Against.Figures[i]; d.Figure != "clear" || math.Abs(d.Max-0.1) > 1e-6 || d.Where != "threads 10000, serial, remove" {
		t.Errorf("%+v", d)
	}
	other.BuildID = "other"
	if err := r.Compare(other); err == nil {
		t.Error("two kernels were compared")
	}
	other.BuildID, other.Series = r.BuildID, nil
	if err := r.Compare(other); err == nil {
		t.Error("nothing was compared")
	}
}

// TestMerge: two runs of the same become one, which has each series once.
func TestMerge(t *testing.T) {
	a, b := made(), made()
	a.Series, b.Series = a.Series[:1], b.Series[1:]
	if err := a.Merge(b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made().Series, a.Series); diff != "" {
		t.Error(diff)
	}
	if err := a.Merge(b); err == nil {
		t.Error("a series is there twice")
	}
	for _, change := range []func(*Result){func(r *Result) { r.BuildID = "x" }, func(r *Result) { r.QEMU = "x" },
		func(r *Result) { r.Tool = "x" }, func(r *Result) { r.NsPerInstruction++ }} {
		a, b := made(), made()
		b.Series = nil
		change(b)
		if err := a.Merge(b); err == nil {
			t.Errorf("what is not the same was merged: %+v", b)
		}
	}
}

func TestRepetitions(t *testing.T) {
	few, lots := Load{Sleepers: 100}, Load{Sleepers: many}
	for n, others := range map[int]int{1: 1, 3: 3, 9: 3} {
		if Ours.repetitions(n, few) != n || Serial.repetitions(n, few) != others || Parallel.repetitions(n, few) != others ||
			Ours.repetitions(n, lots) != n || Serial.repetitions(n, lots) != 1 {
			t.Errorf("of %d: %d, %d, %d", n, Ours.repetitions(n, few), Serial.repetitions(n, few), Parallel.repetitions(n, few))
		}
	}
}

func TestChoose(t *testing.T) {
	if l, overhead, err := Choose([]string{"cpus", "threads"}); err != nil || overhead || len(l) != 2 || l[0].Name != "cpus" {
		t.Errorf("%v %v", l, err)
	}
	if _, _, err := Choose([]string{"nosuch"}); err == nil {
		t.Error("a series that there is not")
	}
	l, _, _ := Choose([]string{"threads"})
	if s := l[0].AtMost(1000); len(s.Values) != 2 || len(All[0].Values) < 3 {
		t.Errorf("%v, and all are %v", s.Values, All[0].Values)
	}
	for _, s := range All {
		if why[s.Name] == "" {
			t.Errorf("%s: what grows has to have a reason", s.Name)
		}
		for _, v := range s.Values {
			if s.cpusFor(v) < 1 || s.MiB(v) < 1024 {
				t.Errorf("%s %d: %d CPUs, %d MiB", s.Name, v, s.cpusFor(v), s.MiB(v))
			}
		}
	}
}

// TestTables: what is made for people has every figure, in tables of equal rows.
func TestTables(t *testing.T) {
	r := made()
	if err := r.Compare(made()); err != nil {
		t.Fatal(err)
	}
	var table, md bytes.Buffer
	if err := r.Table(&table); err != nil {
		t.Fatal(err)
	}
	if err := r.Markdown(&md); err != nil {
		t.Fatal(err)
	}
	columns := 0
	for l := range strings.Lines(md.String()) {
		n := strings.Count(l, "|")
		if columns > 0 && n > 0 && n != columns {
			t.Errorf("%d columns before, %d in %s", columns, n, l)
		}
		columns = n
	}
	for _, s := range r.Series {
		for _, p := range s.Points {
			for _, row := range p.Rows {
				stop := micro(row.Figures[Stop].Median)
				if !strings.Contains(table.String(), " "+stop) || !strings.Contains(md.String(), " "+stop+" (") {
					t.Errorf("%s %d %s %s: %s is in no table", s.Name, p.Value, row.Way, row.Direction, stop)
				}
			}
		}
	}
}

// TestWays: the runtime has the same names in the same order.
func TestWays(t *testing.T) {
	text, err := os.ReadFile("../../runtime/plugsched.h")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "enum plugsched_way {")
	list, _, _ = strings.Cut(list, "}")
	found := regexp.MustCompile(`\bPLUGSCHED_(\w+),`).FindAllStringSubmatch(list, -1)
	if len(found) != 3 {
		t.Fatalf("%q", found)
	}
	for i, m := range found {
		if strings.ToLower(m[1]) != Way(i).String() {
			t.Errorf("way %d is %s, and %s for the runtime", i, Way(i), m[1])
		}
	}
}

// TestOverheads: pairs are compared turn by turn, in instructions.
func TestOverheads(t *testing.T) {
	var turns []Turn
	for i, stock := range []float64{800, 1600, 1200} {
		turns = append(turns, Turn{"pipe", false, Sample{Each: stock}}, Turn{"pipe", true, Sample{Each: stock * (1.01 + float64(i)/100)}},
			Turn{"wake-up", false, Sample{Each: 80, Most: 160}}, Turn{"wake-up", true, Sample{Each: 80, Most: 320}})
	}
	got := overheads(turns, 8)
	if len(got) != 3 || got[0].Operation != "pipe" || got[1].Operation != "wake-up" || got[2].Operation != "wake-up, 99 %" {
		t.Fatalf("%+v", got)
	}
	if o := got[0]; o.Stock != 150 || o.Percent() != "+2.00" || math.Abs(o.Least-1.01) > 1e-9 || math.Abs(o.Greatest-1.03) > 1e-9 {
		t.Errorf("%+v", o)
	}
	if got[1].Ratio != 1 || got[2].Ratio != 2 || got[2].Stock != 20 {
		t.Errorf("%+v", got)
	}
	r := made()
	r.Overhead = got
	r.Analyses = []Analysis{{Release: "6.1.0", Text: 20e6, DWARF: 300e6, Seconds: 6, Memory: 800e6}}
	var page bytes.Buffer
	if err := r.Markdown(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 150 | 154 | +2.00 (+1.00 – +3.00) |", "| 6.1.0 | 20.0 | 300 | 6.0 | 2.00 | 800 | 40 |"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("no %q in\n%s", want, page.String())
		}
	}
	if err := r.Page(&page); err != nil {
		t.Fatal(err)
	}
}

// TestOperations: all of them can be done on the machine that tests run on, whatever they take there.
func TestOperations(t *testing.T) {
	// Processes end with the thread that made them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, o := range operations {
		if o.Name == "tick" || o.Name == "exec" {
			continue // they count instructions, and write where a guest's root may
		}
		s, err := o.run(max(o.Unit/50, 100))
		if err != nil || s.Each <= 0 {
			t.Errorf("%s: %+v %v", o.Name, s, err)
		}
	}
}
