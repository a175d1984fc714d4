// SPDX-License-Identifier: BSD-3-Clause

package boundary

import (
	"context"
	"errors"
	"testing"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/image"
)

// asked is a context that is interrupted once it has been asked so many times.
type asked struct {
	context.Context
	times, left int
}

func (a *asked) Err() error {
	if a.times++; a.times > a.left {
		return context.Canceled
	}
	return nil
}

// TestInterrupted: wherever Derive is when it is interrupted, it ends; it asks for each function,
// more than once.
func TestInterrupted(t *testing.T) {
	p := &image.Program{}
	for i := range 20 {
		const file = "kernel/sched/core.c"
		p.Functions = append(p.Functions, &image.Function{Name: string(rune('a' + i)), Unit: file, DeclFile: file})
	}
	whole := &asked{t.Context(), 0, 1 << 20}
	if _, err := Derive(whole, p, arch.X86, config(), nil); err != nil {
		t.Fatal(err)
	}
	if whole.times < 2*len(p.Functions) {
		t.Errorf("asked %d times for %d functions", whole.times, len(p.Functions))
	}
	for left := range whole.times {
		if b, err := Derive(&asked{t.Context(), 0, left}, p, arch.X86, config(), nil); !errors.Is(err, context.Canceled) || b != nil {
			t.Errorf("interrupted when asked for the %d. time: %v", left+1, err)
		}
	}
}
