// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/kernel/arch"
)

const defaults = `
const char * const sched_feat_names[] = { "FIRST", "SECOND" };
unsigned int sysctl_sched_features = 1;
unsigned int slice = 5000;
unsigned char zero;
static int quiet;
int *touch(void) { return &quiet; }
_Bool really;
int runtime = 9;
struct { int locked; } lock = { 1 };
long below = -3;
const int fixed = 7;
int list[2] = { 1, 2 };
`

// TestGrant: a new default of what is inherited is refused with what to write, and what is written counts.
func TestGrant(t *testing.T) {
	was := map[string]*asm.Unit{unitName: compile(t, defaults)}
	object := func(name string, c boundary.ObjectClass, addr uint64) *boundary.Object {
		ctype := map[string]string{"slice": "unsigned int", "zero": "unsigned char", "below": "long int", "list": "int[2]",
			"really": "bool", "lock": "raw_spinlock_t"}[name]
		return &boundary.Object{Name: name, Unit: unitName, Class: c, Addr: addr, Type: cmp.Or(ctype, "int")}
	}
	objects := []*boundary.Object{object("slice", boundary.Shared, 0x30), object("zero", boundary.Shared, 0x20), object("below",
		boundary.Shared, 0x10),
		object("really", boundary.Shared, 0x12), object("runtime", boundary.Shared, 0x16), object("lock", boundary.Shared, 0x14),
		object("quiet", boundary.Shared, 0x18), object("fixed", boundary.Shared, 0x40), object("list", boundary.Shared, 0x50)}
	keys := object(featureKeys, boundary.Private, 0x60)
	for _, tt := range []struct {
		name, from, to string
		constant       bool // features are
		features       map[string]bool
		values         map[string]uint64
		refused        []string // of values the refusals that were there before
		granted        []WantedValue
		warned         string
	}{
		{name: "nothing"},
		{name: "a default", from: "features = 1", to: "features = 3", refused: []string{
			"kernel/sched/features.h:2: SECOND is a feature that this kernel has: what is set there is carried over, " +
				"so that its new default (true) would not show; " +
				"say in plugsched.yaml what it is to be with this scheduler (`features: {SECOND: true}`)"}},
		{name: "the same, said", from: "features = 1", to: "features = 3", features: map[string]bool{"SECOND": true}},
		{name: "the contrary, said", from: "features = 1", to: "features = 3", features: map[string]bool{"SECOND": false},
			refused: []string{"kernel/sched/features.h:2: SECOND is to be false by `features:` in plugsched.yaml, " +
				"and true by its new default; make"}},
		{name: "said only", features: map[string]bool{"FIRST": false}},
		{name: "none of them", features: map[string]bool{"THIRD": false}, refused: []string{"plugsched.yaml:4: THIRD is no feature"}},
		{name: "another order", from: `"FIRST", "SECOND" };` + "\nunsigned int sysctl_sched_features = 1", to: `"SECOND", "FIRST" };` +
			"\nunsigned int sysctl_sched_features = 2"},
		{name: "a new one", from: `"SECOND" };` + "\nunsigned int sysctl_sched_features = 1", to: `"SECOND", "NEW" };` +
			"\nunsigned int sysctl_sched_features = 5"},
		{name: "constants", constant: true, from: "features = 1", to: "features = 3"},
		{name: "constants, said", constant: true, features: map[string]bool{"SECOND": true}, refused: []string{
			"plugsched.yaml:4: SECOND is a constant"}},
		{name: "a value", from: "slice = 5000", to: "slice = 3000", refused: []string{
			"slice ; say in plugsched.yaml what it is to be with this scheduler (`values: {slice: 3000}`), or set it in plugsched_init()"}},
		{name: "a value, said", from: "slice = 5000", to: "slice = 3000", values: map[string]uint64{"slice": 3000},
			granted: []WantedValue{{"slice", 0x30, 4, 3000}}},
		{name: "another, said", from: "slice = 5000", to: "slice = 3000", values: map[string]uint64{"slice": 1},
			refused: []string{"slice ;", "plugsched.yaml:4: slice is to be 1, and 3000 by its new initial value"}},
		{name: "values, said only", values: map[string]uint64{"slice": 1, "zero": 200, "below": ^uint64(0), "really": 1},
			granted: []WantedValue{{"below", 0x10, 8, ^uint64(0)}, {"really", 0x12, 1, 1}, {"zero", 0x20, 1, 200}, {"slice", 0x30, 4, 1}}},
		{name: "a zero without a label, said", values: map[string]uint64{"quiet": 2}, granted: []WantedValue{{"quiet", 0x18, 4, 2}}},
		{name: "a zero without a label, and another", from: "static int quiet;", to: "static int quiet = 3;",
			values: map[string]uint64{"quiet": 2}, refused: []string{"plugsched.yaml:4: quiet is to be 2, and 3 by its new initial value"}},
		{name: "below zero", values: map[string]uint64{"zero": ^uint64(127), "slice": ^uint64(0)},
			granted: []WantedValue{{"zero", 0x20, 1, 128}, {"slice", 0x30, 4, 1<<32 - 1}}},
		{name: "too large", values: map[string]uint64{"zero": 256, "slice": 1 << 32, "really": 2}, refused: []string{
			"plugsched.yaml:4: really is to be 2, and is bool (0 or 1), which cannot hold that",
			"plugsched.yaml:4: slice is to be 4294967296, and is unsigned int (32 bits)",
			"plugsched.yaml:4: zero is to be 256, and is unsigned char (8 bits)"}},
		{name: "too small", values: map[string]uint64{"zero": ^uint64(128), "really": ^uint64(0)}, refused: []string{
			"plugsched.yaml:4: really is to be -1, and is bool (0 or 1)", "plugsched.yaml:4: zero is to be -129, and is unsigned char (8 bits)"}},
		{name: "a lock", from: "lock = { 1 }", to: "lock = { 0 }", values: map[string]uint64{"lock": 0}, refused: []string{
			"lock ; undo the change, and set it in plugsched_init()", "plugsched.yaml:4: lock is no single number"}},
		{name: "a constant, a list, nobody", values: map[string]uint64{"fixed": 1, "list": 1, "nobody": 1}, refused: []string{
			"plugsched.yaml:4: fixed is no single number", "plugsched.yaml:4: list is no single number", "plugsched.yaml:4: nobody is no variable"}},
		{name: "one from which others are computed", from: "runtime = 9", to: "runtime = 8", values: map[string]uint64{"runtime": 8},
			refused: []string{"runtime ; set it by its sysctl or file in debugfs (its handler computes)",
				"plugsched.yaml:4: runtime does nothing if only the variable is set: its handler computes; set it by its sysctl"}},
		{name: "one that is computed anew", values: map[string]uint64{"below": 5}, granted: []WantedValue{{"below", 0x10, 8, 5}},
			warned: "below: does not keep the number of `values:` for good: now and then"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := NewKernel(arch.X86, &boundary.Boundary{Objects: objects}, nil)
			if !tt.constant {
				k.Boundary.Objects = append(slices.Clone(objects), keys)
			}
			edited := strings.Replace(defaults, tt.from, tt.to, 1)
			is := map[string]*asm.Unit{unitName: compile(t, edited)}
			b := &Bound{}
			if _, text := definition(is, "slice"); !strings.Contains(text, "5000") {
				b.Refusals = []Refusal{{Class: Value, Name: "slice", Do: doValue}}
			}
			for _, name := range []string{"lock", "runtime"} {
				if strings.HasPrefix(tt.from, name) {
					b.Refusals = []Refusal{{Class: Value, Name: name, Do: doValue}}
				}
			}
			about := func(who, text string) func(string) string {
				return func(name string) string {
					if name == who {
						return text
					}
					return ""
				}
			}
			src := &edits.Set{}
			src.Compare("kernel/sched/features.h", "SCHED_FEAT(FIRST, true)\nSCHED_FEAT(SECOND, false)\n",
				"SCHED_FEAT(FIRST, true)\nSCHED_FEAT(SECOND, true)\n")
			got := b.Grant(k, was, is, src, &Wishes{tt.features, tt.values, "plugsched.yaml", func(string, string) int { return 4 },
				about("runtime", "its handler computes"), about("below", "now and then")})
			if !slices.Equal(got, tt.granted) {
				t.Errorf("granted %v, want %v", got, tt.granted)
			}
			var refused []string
			for _, r := range b.Refusals {
				refused = append(refused, r.String())
			}
			if !slices.EqualFunc(refused, tt.refused, strings.HasPrefix) {
				t.Errorf("refused %q, want %q", refused, tt.refused)
			}
			if !slices.Contains(append(b.Warnings, ""), tt.warned) {
				t.Errorf("warnings %q, want %q", b.Warnings, tt.warned)
			}
			b.Warnings = slices.DeleteFunc(b.Warnings, func(w string) bool { return strings.Contains(w, "for good") })
			if told := len(b.Warnings); len(refused) == 0 && told != len(tt.features)+len(tt.values) {
				t.Errorf("warnings %q", b.Warnings)
			}
		})
	}
}

// TestNumberType: numbers only are for everybody to write, whatever else is as large as one.
func TestNumberType(t *testing.T) {
	for ctype, want := range map[string]bool{"int": true, "unsigned int": true, "long unsigned int": true, "long long int": true,
		"short unsigned int": true, "signed char": true, "char": true, "_Bool": true, "bool": true, "u64": true, "s8": true, "__u32": true,
		"volatile int": true, "const unsigned int": true, "enum numa_topology_type": true,
		"": false, "raw_spinlock_t": false, "spinlock_t": false, "atomic_t": false, "atomic_long_t": false, "cpumask_var_t": false,
		"seqcount_t": false, "refcount_t": false, "u32[2]": false, "int *": false, "struct mutex": false, "union {...}": false,
		"struct {...}": false, "enum hrtimer_restart (*)(struct hrtimer *)": false, "pid_t": false} {
		if numberType.MatchString(unqualified(ctype)) != want {
			t.Errorf("%q: %v", ctype, !want)
		}
	}
}

func TestWritable(t *testing.T) {
	for section, want := range map[string]bool{".data": true, ".bss": true, ".data.slice": true, ".bss.x": true, ".data..read_mostly": true,
		".data..ro_after_init": false, ".rodata": false, ".data..percpu": false, ".data.rel.ro": false, ".init.data": false} {
		if writable(section) != want {
			t.Errorf("%s: %v", section, !want)
		}
	}
}
