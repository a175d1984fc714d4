// SPDX-License-Identifier: BSD-3-Clause

package symbols

import (
	"os"
	"path/filepath"
	"testing"

	"plugsched/internal/fuzzing"

	"github.com/google/go-cmp/cmp"
)

// FuzzLoad: a stage file of any content is refused or loaded and can be used;
// what is saved comes back.
func FuzzLoad(f *testing.F) {
	path := filepath.Join(f.TempDir(), "symbols")
	saved := func(t *Table) []byte {
		if err := t.Save(path); err != nil {
			f.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	all := saved(&Table{Release: "6.1.0", BuildID: "abcd", Symbols: []Symbol{
		{Name: "a", Unit: "kernel/sched/core.c", Addr: 0xffffffff81000000, Size: 16, Kind: Func, Global: true},
		{Name: "a", Addr: 0x40, Kind: Other, Fixed: true}, {Name: "b", Kind: Object}}})
	f.Add(all)
	f.Add(all[:len(all)/2])
	f.Add(saved(&Table{}))
	f.Fuzz(func(t *testing.T, file []byte) {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		fuzzing.Bounded(t, func() {
			table, err := Load(path)
			if err != nil {
				return
			}
			table.Unique("a")
			table.Named("a")
			table.In("a", "")
			if err := table.Save(path); err != nil {
				t.Fatal(err)
			}
			again, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(table.Symbols, again.Symbols); diff != "" {
				t.Error(diff)
			}
		})
	})
}
