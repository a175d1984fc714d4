// SPDX-License-Identifier: BSD-3-Clause

package metrics

import (
	"bytes"
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/operate/history"
	"plugsched/internal/operate/live"
	"plugsched/internal/operate/view"
	"plugsched/internal/outcome"
	"plugsched/scx"
)

func example() *State {
	return &State{
		Status: &live.Status{Active: true, Name: "plugsched_aa", Release: `6.1.0-"1"`, Watchdog: 30 * time.Second,
			TrialLeft: 1500 * time.Millisecond,
			Timings:   &live.Timings{StopMachine: 2500000}, TakenOver: []string{"f"}, Probes: []string{"g+0x5", "h+0x5"}},
		Schedulers: []view.Scheduler{
			{Way: view.Module, Name: "plugsched_aa", Scope: view.AllTasks, Owner: scx.Ours, Watchdog: 30 * time.Second,
				TrialLeft: 1500 * time.Millisecond},
			{Way: view.BPF, Name: "tiny", Scope: view.ExtTasks, Owner: scx.Others, Watchdog: 5 * time.Second},
		},
		BPF:     &scx.Snapshot{Loads: 3, Rejected: 2, Events: map[string]int64{"SCX_EV_A": 7}},
		Package: &installed.Package{Name: "s", Version: "1\\2\n\xff"},
		Since:   time.UnixMilli(1234567890123),
		Guard:   true,
		History: []history.Entry{
			{Action: "install", Result: outcome.Done.String(), Direction: "install", Downtime: 2 * time.Millisecond},
			{Action: "try", Result: outcome.Done.String(), Direction: "replace", Downtime: 2500 * time.Millisecond},
			{Action: history.RolledBack, Result: outcome.Done.String(), Direction: "replace", Downtime: 10 * time.Second},
			{Action: "scx load", Result: outcome.Done.String(), Direction: "install", BPF: "tiny"},
			{Action: history.RolledBack, Result: outcome.Done.String(), Direction: "remove", BPF: "stall"},
			{Action: "uninstall", Result: outcome.Busy.String()},
			{Action: "uninstall", Result: outcome.Fault.String(), Direction: "remove", Downtime: time.Millisecond},
			{Action: "install", Result: history.Begun},
		},
		Damaged: 2,
	}
}

func text(t *testing.T, s *State, as Format) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Write(&b, as); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestText: what the library for the format reads is what was meant.
func TestText(t *testing.T) {
	p := expfmt.NewTextParser(model.UTF8Validation)
	got, err := p.TextToMetricFamilies(strings.NewReader(text(t, example(), Text)))
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string, labels ...string) float64 {
		t.Helper()
		f := got[name]
		if f == nil || f.GetHelp() == "" {
			t.Fatalf("%s: %v", name, f)
		}
	metric:
		for _, m := range f.Metric {
			if len(m.Label) != len(labels)/2 {
				continue
			}
			for i, l := range m.Label {
				if l.GetName() != labels[2*i] || l.GetValue() != labels[2*i+1] {
					continue metric
				}
			}
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
		t.Fatalf("%s has no %v: %v", name, labels, f)
		return 0
	}
	for _, c := range []struct {
		name   string
		want   float64
		labels []string
	}{
		{"plugsched_scheduler_active", 1, nil},
		{"plugsched_scheduler_info", 1, []string{"module", "plugsched_aa", "release", `6.1.0-"1"`, "package", "s", "version", "1\\2\n?"}},
		{"plugsched_scheduler_running", 1, []string{"way", "module", "name", "plugsched_aa", "scope", "all", "owner", "plugsched"}},
		{"plugsched_scheduler_running", 1, []string{"way", "bpf", "name", "tiny", "scope", "sched_ext", "owner", "other"}},
		{"plugsched_bpf_loads_total", 3, nil},
		{"plugsched_bpf_rejected_tasks_total", 2, nil},
		{"plugsched_bpf_events_total", 7, []string{"event", "SCX_EV_A"}},
		{"plugsched_watchdog_timeout_seconds", 30, nil},
		{"plugsched_trial_left_seconds", 1.5, nil},
		{"plugsched_rolling_back", 0, nil},
		{"plugsched_conflicts", 3, nil},
		{"plugsched_guard_tripped", 1, nil},
		{"plugsched_history_damaged_lines", 2, nil},
		{"plugsched_scheduler_start_time_seconds", 1234567890.123, nil},
		{"plugsched_last_downtime_seconds", 0.0025, nil},
		{"plugsched_rollbacks_total", 2, nil},
		{"plugsched_updates_total", 2, []string{"direction", "install", "result", "done"}},
		{"plugsched_updates_total", 2, []string{"direction", "replace", "result", "done"}},
		{"plugsched_updates_total", 1, []string{"direction", "remove", "result", "done"}},
		{"plugsched_updates_total", 1, []string{"direction", "remove", "result", "fault"}},
		{"plugsched_updates_total", 1, []string{"direction", "none", "result", "busy"}},
		{"plugsched_updates_total", 1, []string{"direction", "none", "result", "begun"}},
		{"plugsched_updates_total", 0, []string{"direction", "none", "result", "failed"}},
	} {
		if v := value(c.name, c.labels...); v != c.want {
			t.Errorf("%s%v is %v, want %v", c.name, c.labels, v, c.want)
		}
	}
	f := got["plugsched_downtime_seconds"]
	if f.GetType() != dto.MetricType_HISTOGRAM || len(f.Metric) != 1 {
		t.Fatalf("%v", f)
	}
	h := f.Metric[0].Histogram
	if h.GetSampleCount() != 4 || math.Abs(h.GetSampleSum()-12.503) > 1e-9 {
		t.Errorf("count %d, sum %v", h.GetSampleCount(), h.GetSampleSum())
	}
	want := map[float64]uint64{.0003: 0, .001: 1, .003: 2, 1: 2, 3: 3, math.Inf(1): 4}
	seen := 0
	for _, b := range h.Bucket {
		if n, ok := want[b.GetUpperBound()]; ok {
			seen++
			if b.GetCumulativeCount() != n {
				t.Errorf("bucket %v has %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), n)
			}
		}
	}
	if seen != len(want) {
		t.Errorf("buckets %v", h.Bucket)
	}
}

// promtool finds the tool, which scripts/setup fetches. Without it a test is skipped, unless
// `make test` runs it, which has fetched it.
func promtool(t *testing.T) string {
	t.Helper()
	if tool, err := exec.LookPath("promtool"); err == nil {
		return tool
	}
	tool, err := filepath.Abs("../../../build/tools/promtool")
	if err == nil {
		_, err = os.Stat(tool)
	}
	switch {
	case err == nil:
	case os.Getenv("PLUGSCHED_NEED_TOOLS") != "":
		t.Fatalf("there is no promtool: run scripts/setup (%v)", err)
	default:
		t.Skipf("not checked: there is no promtool: scripts/setup fetches it (%v)", err)
	}
	return tool
}

// TestPromtool: Prometheus' own judge has nothing to complain of, with and without a
// scheduler; and it does judge.
func TestPromtool(t *testing.T) {
	tool := promtool(t)
	check := func(text string) (string, error) {
		c := exec.Command(tool, "check", "metrics")
		c.Stdin = strings.NewReader(text)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	for _, s := range []*State{example(), {Status: &live.Status{Release: "r"}}} {
		if out, err := check(text(t, s, Text)); err != nil || out != "" {
			t.Errorf("%v: %s", err, out)
		}
	}
	if out, err := check("# TYPE plugsched_x counter\nplugsched_x 1\n"); err == nil {
		t.Errorf("promtool found nothing in a counter without help: %s", out)
	}
}

// TestOpenMetrics: the newer format is the older one but for counters' names and the
// end.
func TestOpenMetrics(t *testing.T) {
	older, newer := text(t, example(), Text), text(t, example(), OpenMetrics)
	counters := []string{"updates", "rollbacks", "bpf_loads", "bpf_rejected_tasks", "bpf_events"}
	var words []string
	for _, name := range counters {
		for _, line := range []string{"# HELP plugsched_", "# TYPE plugsched_"} {
			words = append(words, line+name+"_total", line+name)
		}
	}
	want := strings.NewReplacer(words...).Replace(older) + "# EOF\n"
	if newer != want || strings.Count(older, "_total") != strings.Count(newer, "_total")+2*len(counters) {
		t.Errorf("%s", newer)
	}
}

func TestLoopback(t *testing.T) {
	for _, bad := range []string{":9101", "0.0.0.0:9101", "[::]:9101", "192.0.2.1:9101", "127.0.0.1", "127.0.0.1:x", "10.0.0.1:0"} {
		if l, err := Loopback(bad); err == nil {
			l.Close()
			t.Errorf("%s is listened on", bad)
		}
	}
	for _, good := range []string{"127.0.0.1:0", "localhost:0", "127.1.2.3:0"} {
		l, err := Loopback(good)
		if err != nil {
			t.Errorf("%s: %v", good, err)
			continue
		}
		l.Close()
	}
}

func TestServe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := Socket(path)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if _, err := Socket(path); err == nil || !strings.Contains(err.Error(), "somebody listens") {
		t.Errorf("twice: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	var fail atomic.Bool
	go func() {
		ended <- Serve(ctx, l, func() (*State, error) {
			if fail.Load() {
				return nil, io.ErrUnexpectedEOF
			}
			return example(), nil
		})
	}()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	get := func(method, path, accept string) (int, string, string) {
		t.Helper()
		r, _ := http.NewRequest(method, "http://x"+path, nil)
		r.Header.Set("Accept", accept)
		a, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		body, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		return a.StatusCode, a.Header.Get("Content-Type"), string(body)
	}
	if code, kind, body := get("GET", "/metrics", "*/*"); code != 200 || kind != Text.ContentType || body != text(t, example(), Text) {
		t.Errorf("%d %s\n%s", code, kind, body)
	}
	if code, kind, body := get("GET", "/metrics", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4"); code != 200 || kind != OpenMetrics.ContentType || body != text(t, example(), OpenMetrics) {
		t.Errorf("%d %s\n%s", code, kind, body)
	}
	if code, _, _ := get("GET", "/", ""); code != 404 {
		t.Errorf("/: %d", code)
	}
	if code, _, _ := get("POST", "/metrics", ""); code != 405 {
		t.Errorf("POST: %d", code)
	}
	fail.Store(true)
	if code, _, body := get("GET", "/metrics", ""); code != 500 || !strings.Contains(body, "unexpected EOF") {
		t.Errorf("%d %s", code, body)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestStaleSocket: what a process that died has left is replaced, and nothing else is.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := Socket(path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if l, err = Socket(path); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Socket(path); err == nil {
		t.Error("a file was replaced")
	}
}
