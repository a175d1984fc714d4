// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"slices"
	"strings"
	"testing"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/kernel/arch"
)

func TestUnsupported(t *testing.T) {
	for _, c := range []struct{ symbol, class, want string }{
		{"", "fair_sched_class", ""},
		{"rt_spin_lock", "fair_sched_class", "PREEMPT_RT"},
		{"sched_rt_can_attach", "fair_sched_class", "CONFIG_RT_GROUP_SCHED"},
		{"", "ext_sched_class", "scheduling class, ext_sched_class"},
		{"scx_root", "ext_sched_class", ""},
		{"scx_root", "my_sched_class", "scheduling class, my_sched_class"},
	} {
		b := &boundary.Boundary{Objects: []*boundary.Object{{Name: c.class, Class: boundary.Table},
			{Name: "other_sched_class", Class: boundary.Shared}}}
		err := Unsupported(arch.X86, func(name string) (uint64, bool) { return 1, slices.Contains(strings.Fields(c.symbol), name) }, b)
		if c.want == "" && err == nil {
			continue
		}
		if err == nil || c.want == "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %s: %v, expected %q", c.symbol, c.class, err, c.want)
		}
	}
}
