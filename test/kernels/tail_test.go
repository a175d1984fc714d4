// SPDX-License-Identifier: BSD-3-Clause

//go:build kernels

package kernels

import (
	"testing"

	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/arm64"
	"plugsched/internal/kernel/arch/isa"
	"plugsched/internal/kernel/arch/mutant"
	"plugsched/internal/kernel/arch/x86"
	"plugsched/internal/kernel/image"
)

// checkTail: the code behind __schedule's context switch needs what the rule allows and no
// more, and of all changes of a bit or two of it those are refused that make it need more.
func (a *analysed) checkTail(t *testing.T) {
	p, err := image.Load(t.Context(), a.vmlinux, image.Options{SourceDirs: a.boundary.Sources})
	if err != nil {
		t.Fatal(err)
	}
	a.checkRecords(t, p)
	list := p.Func("__schedule")
	if len(list) != 1 {
		t.Fatalf("%d functions __schedule", len(list))
	}
	r, err := p.Routine(list[0])
	if err != nil {
		t.Fatal(err)
	}
	switch of := arch.OfRelease(a.release); of {
	case arch.ARM64:
		s, err := arm64.ProveSpringboard(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("the tail: a frame of %d bytes, reads %q, calls %q", s.Depth, s.Reads, s.Callees)
		if s.Canary == 0 || len(s.Saved) != 12 || !s.Signed {
			t.Errorf("all kernels have a stack protector here, save twelve registers, and sign one: %+v", s)
		}
		checkMutants(t, mutant.ARM64, r)
	case arch.X86:
		s, err := x86.ProveSpringboard(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("the tail: a frame of %d bytes, reads %q (%s), calls %q", s.Depth, s.Reads, s.Guard, s.Callees)
		if s.Canary == 0 || len(s.Saved) != 6 {
			t.Errorf("all kernels have a stack protector here, and save six registers: %+v", s)
		}
		checkMutants(t, mutant.X86, r)
	default:
		t.Fatalf("%s is of no architecture whose proof is tested", a.release)
	}
}

// checkMutants changes the code behind the switch, a bit or two at a time.
func checkMutants[S any](t *testing.T, of *mutant.Arch[S], r *isa.Routine) {
	m, err := of.Try(r, mutant.Bits)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("of %d instructions' mutants %d are refused, %d of %d of them run differently, %d accepted", m.Instructions, m.Refused, m.Caught,
		m.Sampled, m.Accepted)
	if m.Instructions < 10 {
		t.Error("a tail has more instructions")
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
