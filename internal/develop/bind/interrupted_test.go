// SPDX-License-Identifier: BSD-3-Clause

package bind

import (
	"context"
	"errors"
	"testing"

	"plugsched/internal/develop/asm"
	"plugsched/internal/develop/edits"
)

// asked is a context that is interrupted once it has been asked so many times.
type asked struct {
	context.Context
	left int
}

func (a *asked) Err() error {
	if a.left--; a.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestInterrupted: whoever works through units and files asks in between whether to go on.
func TestInterrupted(t *testing.T) {
	k, s, src := changedTree(t)
	s.Config = s.Kernel + "/.config"
	put(t, "", s.Config)
	u := map[string]*asm.Unit{"a.c": {Name: "a.c"}, "b.c": {Name: "b.c"}}
	for name, f := range map[string]func(context.Context) error{
		"units": func(ctx context.Context) error { _, err := k.Bind(ctx, u, u, &edits.Set{}); return err },
		"files": func(ctx context.Context) error { _, err := k.CompareSources(ctx, src, s); return err },
		"options": func(ctx context.Context) error {
			return (&preprocessor{sources: s}).forgetKnown(ctx, map[string]bool{"CONFIG_MINE": true})
		},
		"mentions": func(ctx context.Context) error { _, err := k.heldInSource(ctx, "struct mine", "core.c", s); return err },
	} {
		if err := f(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, left := range []int{0, 1} {
			if err := f(&asked{t.Context(), left}); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: interrupted when asked for the %d. time: %v", name, left+1, err)
			}
		}
	}
}
