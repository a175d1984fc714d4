// SPDX-License-Identifier: BSD-3-Clause

package x86_test

import (
	"os"
	"testing"

	"plugsched/internal/kernel/arch/mutant"
	"plugsched/internal/kernel/arch/x86"
)

// TestMutants: one bit or two of each byte of the code behind the switch, with FULL each other
// value. (The code of kernels is in test/kernels.)
func TestMutants(t *testing.T) {
	ways := mutant.Bits
	if os.Getenv("FULL") != "" {
		ways = mutant.Every
	}
	for name, s := range x86.Shapes {
		t.Run(name, func(t *testing.T) {
			r, err := mutant.X86.Try(x86.Routine(s, t), ways)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d instructions: %d mutants are refused, %d of %d of them run differently, %d accepted",
				r.Instructions, r.Refused, r.Caught, r.Sampled, r.Accepted)
			if r.Caught < r.Sampled/50 {
				t.Error("the machine sees next to nothing")
			}
			for _, w := range r.Wrong {
				t.Errorf("is accepted, and is another: %s", w)
			}
			for _, u := range r.Unmoved {
				t.Errorf("no change of %s is refused", u)
			}
		})
	}
}
