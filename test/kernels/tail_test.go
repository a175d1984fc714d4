// SPDX-License-Identifier: BSD-3-Clause

//go:build kernels

package kernels

import (
	"testing"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/x86"
	"plugsched/internal/kernel/arch/x86/mutant"
	"plugsched/internal/kernel/image"
)

// checkTail: the code behind __schedule's context switch needs what the rule allows and no
// more, and of all changes of a bit or two of it those are refused that make it need more.
func (a *analysed) checkTail(t *testing.T) {
	p, err := image.Load(t.Context(), a.vmlinux, image.Options{SourceDirs: a.boundary.Sources})
	if err != nil {
		t.Fatal(err)
	}
	list := p.Func("__schedule")
	if len(list) != 1 {
		t.Fatalf("%d functions __schedule", len(list))
	}
	r, err := p.Routine(list[0])
	if err != nil {
		t.Fatal(err)
	}
	if of := arch.OfRelease(a.release); of != arch.X86 { // whose code the mutants are of
		s, err := of.Springboard(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("the tail: reads %q, calls %q; it was not changed", s.Reads, s.Callees)
		return
	}
	s, err := x86.ProveSpringboard(r)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mutant.Try(r, mutant.Bits)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the tail: %d instructions, a frame of %d bytes, reads %q (%s), calls %q",
		m.Instructions, s.Depth, s.Reads, s.Guard, s.Callees)
	t.Logf("of its mutants %d are refused, %d of %d of them run differently, %d accepted", m.Refused, m.Caught, m.Sampled, m.Accepted)
	if s.Canary == 0 || len(s.Saved) != 6 || m.Instructions < 10 {
		t.Errorf("all kernels have a stack protector here, and save six registers: %+v", s)
	}
	for _, w := range m.Wrong {
		t.Errorf("is accepted, and is another: %s", w)
	}
	for _, u := range m.Unmoved {
		t.Errorf("no change of %s is refused", u)
	}
	if m.Caught < m.Sampled/50 {
		t.Errorf("of %d refused mutants only %d are seen to run differently", m.Sampled, m.Caught)
	}
}
