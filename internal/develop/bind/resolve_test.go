// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/symbols"
)

func TestResolve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "symbols")
	if err := (&symbols.Table{Symbols: []symbols.Symbol{
		{Name: "border", Unit: "a.c", Addr: 0x30}, {Name: "dup", Unit: "x.c", Addr: 0x40}, {Name: "dup", Unit: "y.c", Addr: 0x50},
		{Name: "global", Addr: 0x10, Global: true}, {Name: "local", Unit: "x.c", Addr: 0x20},
		{Name: "percpu", Addr: 8, Global: true, Fixed: true},
	}}).Save(path); err != nil {
		t.Fatal(err)
	}
	syms, err := symbols.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	k := NewKernel(arch.X86, &boundary.Boundary{Functions: []*boundary.Function{{Name: "border", Base: "border", Unit: "a.c"}}}, syms)
	bound := map[string]*symbols.Symbol{"__orig_core_dup": {Name: "dup", Addr: 0x50}}
	places, missing, gone := k.Resolve(bound, []string{"__orig_border", "__orig_core_dup", "global", "local", "percpu"})
	if len(missing)+len(gone) != 0 {
		t.Errorf("missing symbols: %q, gone: %q", missing, gone)
	}
	want := map[string]Place{"__orig_border": {Addr: 0x30}, "__orig_core_dup": {Addr: 0x50}, "global": {Addr: 0x10},
		"local": {Addr: 0x20}, "percpu": {Addr: 8, Fixed: true}}
	if diff := cmp.Diff(want, places); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]uint64{"global": 0x10, "local": 0x20}, k.Witnesses(places)); diff != "" {
		t.Errorf("witnesses: %s", diff)
	}
	if _, missing, _ := k.Resolve(bound, []string{"global", "nothing", "dup"}); !slices.Equal(missing, []string{"nothing", "dup"}) {
		t.Errorf("missing symbols: %q", missing)
	}
	early := &symbols.Symbol{Name: "early", Addr: 0x60, Init: true}
	if places, _, gone := k.Resolve(map[string]*symbols.Symbol{"__orig_early": early}, []string{"__orig_early"}); len(places) > 0 ||
		!slices.Equal(gone, []string{"early"}) {
		t.Errorf("what is gone since boot: %v, gone %q", places, gone)
	}
}

// TestWitnesses: a kernel may tell the names of its code only, so data is no witness.
func TestWitnesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "symbols")
	if err := (&symbols.Table{Symbols: []symbols.Symbol{
		{Name: "_etext", Addr: 0x28, Global: true}, {Name: "_stext", Addr: 0x18, Global: true}, {Name: "data", Addr: 0x30},
		{Name: "head", Addr: 0x10}, {Name: "local", Addr: 0x20},
	}}).Save(path); err != nil {
		t.Fatal(err)
	}
	syms, err := symbols.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	k := NewKernel(arch.X86, &boundary.Boundary{}, syms)
	got := k.Witnesses(map[string]Place{"data": {Addr: 0x30}, "head": {Addr: 0x10}, "local": {Addr: 0x20}})
	if diff := cmp.Diff(map[string]uint64{"local": 0x20}, got); diff != "" {
		t.Error(diff)
	}
}
