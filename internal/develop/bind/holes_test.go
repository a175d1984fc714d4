// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/arch"
)

// TestHoles: where the module has members of its own, in all objects that the runtime finds, and
// nothing else.
func TestHoles(t *testing.T) {
	const text = `
struct sched_entity { int on_rq; long load; unsigned flag : 1; int nr; };
struct task_struct { long state; struct sched_entity se[2]; char tail; };
struct cfs_rq { int nr; long load; };
struct rq { long lock; struct cfs_rq cfs; };
struct domain { int level; long span; };
struct rq rq; struct task_struct init; struct domain domain;
`
	k := NewKernel(arch.X86, &boundary.Boundary{Sources: []string{"kernel/sched"}, Objects: []*boundary.Object{
		{Name: "rq", Unit: unitName, Type: "struct rq"}, {Name: "init", Unit: unitName, Type: "struct task_struct"},
		{Name: "domain", Unit: unitName, Type: "struct domain"}}}, table(t))
	was := types(t, text)
	for name, tt := range map[string]struct {
		from, to string
		want     []ClearedHole
		warning  string
	}{
		"in what is inside": {"int on_rq;", "int on_rq; int mine;",
			[]ClearedHole{{0, 12, 4, "struct sched_entity.mine int"},
				{0, 36, 4, "struct sched_entity.mine int"}, {4, 4, 4, "struct sched_entity.mine int"}}, "it is zero when"},
		"at the end": {"char tail;", "char tail; short mine;", []ClearedHole{{0, 58, 2, "struct task_struct.mine short int"}}, "it is zero when"},
		"in a queue": {"struct cfs_rq { int nr;", "struct cfs_rq { int nr; int mine;",
			[]ClearedHole{{1, 12, 4, "struct cfs_rq.mine int"}, {3, 4, 4, "struct cfs_rq.mine int"}}, "it is zero when"},
		"bits among others": {"flag : 1;", "flag : 1, mine : 2;", nil, "it shares a byte with others"},
		"bits of their own": {"flag : 1;", "flag : 1; unsigned : 7; unsigned mine : 8;",
			[]ClearedHole{{0, 25, 1, "struct sched_entity.mine unsigned int:8 at bit 136"},
				{0, 49, 1, "struct sched_entity.mine unsigned int:8 at bit 136"},
				{4, 17, 1, "struct sched_entity.mine unsigned int:8 at bit 136"}}, "it is zero when"},
		"bits in one byte": {"char tail;", "char tail; unsigned char a : 1, b : 1;",
			[]ClearedHole{{0, 57, 1, "struct task_struct.a unsigned char:1 at bit 456, b unsigned char:1 at bit 457"}}, "it is zero when"},
		"a union": {"char tail;", "char tail; union { short mine; struct { char low, high; }; };",
			[]ClearedHole{{0, 58, 2, "struct task_struct.mine short int at byte 58, low char at byte 58, high char at byte 59"}},
			"it is zero when"},
		"where objects are not found": {"int level;", "int level; int mine;", nil, "not all such objects can be found"},
	} {
		t.Run(name, func(t *testing.T) {
			edited := strings.Replace(text, tt.from, tt.to, 1)
			out, err := k.CompareTypes(t.Context(), unitName, types(t, edited), was, &edits.Set{}, nil)
			if err != nil || len(out.Refusals) > 0 || len(out.Holes) != 1 || len(out.Warnings) < 1 {
				t.Fatalf("%+v, %v", out, err)
			}
			if diff := cmp.Diff(tt.want, out.Holes[0].Cleared(was)); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(out.Warnings[0], tt.warning) {
				t.Errorf("%q, want %q", out.Warnings[0], tt.warning)
			}
		})
	}
}
