// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"strings"
	"testing"

	"plugsched/internal/kernel/arch/isa"
	"plugsched/internal/kernel/image"
)

// TestCheckRecords: only a function that is replaced has to have its frame record.
func TestCheckRecords(t *testing.T) {
	b := &Boundary{Functions: []*Function{{Name: "moves", Addr: 0x100, Class: Internal}, {Name: "stays", Addr: 0x200, Class: External},
		{Name: "border", Addr: 0x300, Class: Callback}}}
	for _, tt := range []struct {
		addr uint64
		want string
	}{{0x100, "moves goes on to another function at +0x1c"}, {0x200, ""}, {0x300, "border goes on"}, {0x400, ""}} {
		err := CheckRecords(b, &image.FrameRecords{Unframed: []isa.Unframed{{Name: "f", Addr: tt.addr, Size: 32, Place: 0x1c}}})
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%#x: %v, expected %q", tt.addr, err, tt.want)
		}
	}
	if err := CheckRecords(b, nil); err != nil {
		t.Errorf("where stacks are walked in another way: %v", err)
	}
}
