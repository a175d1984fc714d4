// SPDX-License-Identifier: BSD-3-Clause

package oldcode

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/kernel/image"
)

func TestSitesAreLeftOut(t *testing.T) {
	c := &collector{sites: []Range{{Addr: 0x0f0, Len: 0x14}, {Addr: 0x120, Len: 5}, {Addr: 0x122, Len: 1}, {Addr: 0x13e, Len: 4},
		{Addr: 0x200, Len: 2}}}
	c.add("f", 0x100, 0x140)
	want := []Range{{"f", 0x104, 0x1c}, {"f", 0x125, 0x19}}
	if d := cmp.Diff(want, c.out); d != "" {
		t.Error(d)
	}
}

// A site may contain others: what the longer one covers stays out.
func TestSitesMayNest(t *testing.T) {
	c := &collector{sites: []Range{{Addr: 0x110, Len: 0x10}, {Addr: 0x114, Len: 2}}}
	c.add("f", 0x100, 0x130)
	want := []Range{{"f", 0x100, 0x10}, {"f", 0x120, 0x10}}
	if d := cmp.Diff(want, c.out); d != "" {
		t.Error(d)
	}
}

func TestCodeOfAFunctionThatStays(t *testing.T) {
	p := &image.Program{Functions: []*image.Function{{Name: "moves", Addr: 0x100, Size: 0x40}, {Name: "stays", Addr: 0x130, Size: 0x20}}}
	for end, good := range map[uint64]bool{0x130: true, 0x131: false} {
		c := &collector{prog: p, moved: map[uint64]bool{0x100: true}, out: []Range{{"moves", 0x100, end - 0x100}}}
		if err := c.check(); (err == nil) != good {
			t.Errorf("up to %#x: %v", end, err)
		}
	}
}

func TestRender(t *testing.T) {
	got := string(Render([]Range{{"f", 0xffffffff81000010, 0x1c}, {"f.cold", 0xffffffff81200000, 1}}, 0x2000000))
	if want := "f ffffffff83000010 1c\nf.cold ffffffff83200000 1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
