// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/artefact/layout"
)

// TestShownLayout: names that the kernel does not tell are those that the module showed.
func TestShownLayout(t *testing.T) {
	h := Host{Root: t.TempDir()}
	l := Loaded{Name: "plugsched_1", host: h}
	if shown, err := h.shownLayout([]Loaded{l}); err != nil || shown != nil {
		t.Errorf("a module of an older tool: %v, %v", shown, err)
	}
	path := h.path("/sys/module/plugsched_1/plugsched/layout")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	set := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("ffff000000001000 0 _sdata\nffff000000002000 0 _edata\nffff000000001800 8 mod_tree\nffff000000000000 64 " + layout.Jumps + "\n")
	shown, err := h.shownLayout([]Loaded{l})
	if err != nil || len(shown) != 4 {
		t.Fatalf("%+v, %v", shown, err)
	}
	s := &symbols{byName: map[string][]uint64{layout.Data[0][0]: {7}}}
	if s.add(shown); len(s.byName) != 1 || s.shown != nil {
		t.Errorf("a kernel that tells the names: %+v", s)
	}
	s = &symbols{byName: map[string][]uint64{}}
	s.add(shown)
	if s.one("_sdata") != 0xffff000000001000 || s.one("_edata") != 0xffff000000002000 || s.one(layout.Jumps) != 0 {
		t.Errorf("%+v", s.byName)
	}
	left := &Leftovers{}
	err = left.name(s, []pointer{{0xffff000000001800, ""}, {0xffff000000001808, " of CPU 1"}})
	if err != nil || len(left.Pointers) != 1 || left.Pointers[0] != "mod_tree+0x8 of CPU 1" {
		t.Errorf("%q, %v", left.Pointers, err)
	}
	where := &spans{names: []string{"a"}, list: []span{{1, 2}}}
	if by := where.by(shown); !by.holds(0xffff00000000003f) || by.holds(0xffff000000000040) ||
		!by.holds(1) || where.holds(0xffff000000000000) {
		t.Errorf("%+v", by)
	}
	set("nonsense\n")
	if _, err := h.shownLayout([]Loaded{l}); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("%v", err)
	}
}
