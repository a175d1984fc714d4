// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"testing"

	"plugsched/internal/fuzzing"
	"plugsched/kernels"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"
)

// FuzzConfig: a configuration is refused or read, and means the same when it is
// written and read again.
func FuzzConfig(f *testing.F) {
	f.Add(kernels.Common)
	f.Add([]byte("sources: [kernel/sched]\ninterface:\n  schedule: why\nstay: {a: b}\nprivate: {x: |\n  y}\n"))
	f.Add([]byte("preempts: {'__cond_*': x, '[': y}\nwaits:\n  ? a\n  : &x b\n  c: *x\n"))
	f.Add([]byte("stay: &a {<<: *a}\n---\nunknown: 1\n"))
	f.Add([]byte("sidecar:\n  kernel/fork.c: &x\n    copy_mm: why\n  fs/proc/array.c: *x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		fuzzing.Bounded(t, func() {
			var cfg, again Config
			if parseConfig(text, &cfg) != nil {
				return
			}
			cfg.Source("kernel/sched/core.c")
			cfg.preempts("__cond_resched")
			cfg.waits("do_wait")
			out, err := yaml.Marshal(&cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := parseConfig(out, &again); err != nil {
				t.Fatalf("what was written is refused: %v\n%s", err, out)
			}
			if diff := cmp.Diff(cfg, again, cmp.AllowUnexported(Config{}), cmpopts.EquateEmpty(),
				cmpopts.IgnoreFields(Sidecar{}, "Line")); diff != "" {
				t.Errorf("another configuration after writing and reading:\n%s", diff)
			}
		})
	})
}
