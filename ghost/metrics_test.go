// SPDX-License-Identifier: BSD-3-Clause

package ghost_test

import (
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"plugsched/ghost"
	"plugsched/ghost/fifo"
	"plugsched/ghost/ghosttest"
)

// TestMetrics: a reader of Prometheus' format finds what an agent did.
func TestMetrics(t *testing.T) {
	k := ghosttest.New([]int{2, 5}, 8, 4)
	a := ghost.NewAgent(k, 1, fifo.New())
	step := func() {
		t.Helper()
		if err := a.Step(); err != nil {
			t.Fatal(err)
		}
	}
	x, y := k.Join("x", 1, true), k.Join("y", 1, true)
	k.Before = func(*ghost.Txn) {
		k.Before = nil
		k.Change(x) // the transaction is stale
	}
	step()
	step() // x runs
	y.Allowed = []int{2}
	k.Block(x)
	step() // y may not
	for range 7 {
		k.Change(y) // there is room for four
	}
	step()
	var text strings.Builder
	if err := (ghost.Metrics{5: a.Snapshot()}).Write(&text); err != nil {
		t.Fatal(err)
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}
	for name, want := range map[string]float64{
		"messages_lost_total": 3, "commit_calls_total": 4, "commits_total": 4, "commits_stale_total": 1, "commits_refused_total": 1,
		"commit_errors_total": 0,
	} {
		f := families["plugsched_ghost_"+name]
		if f == nil || f.GetType() != dto.MetricType_COUNTER || len(f.Metric) != 1 {
			t.Errorf("%s: %v", name, f)
		} else if m := f.Metric[0]; m.Counter.GetValue() != want || labels(m) != "cpu=5" {
			t.Errorf("%s: %v, want %v", name, m, want)
		}
	}
	messages := map[string]float64{}
	for _, m := range families["plugsched_ghost_messages_total"].GetMetric() {
		messages[labels(m)] = m.Counter.GetValue()
	}
	for kind, want := range map[string]float64{"NEW": 4, "BLOCKED": 1, "AFFINITY": 5, "DEAD": 0, "unknown": 0} {
		if got, ok := messages["cpu=5 type="+kind]; !ok || got != want {
			t.Errorf("%s: %v, want %v, of %v", kind, got, want, messages)
		}
	}
	if want := len(ghost.Types()) + 1; len(messages) != want {
		t.Errorf("%d types of messages, want %d", len(messages), want)
	}
}

func labels(m *dto.Metric) string {
	var out []string
	for _, l := range m.Label {
		out = append(out, l.GetName()+"="+l.GetValue())
	}
	return strings.Join(out, " ")
}
