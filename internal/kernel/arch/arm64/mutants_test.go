// SPDX-License-Identifier: BSD-3-Clause

package arm64_test

import (
	"testing"

	"plugsched/internal/kernel/arch/arm64"
	"plugsched/internal/kernel/arch/mutant"
)

// TestMutants: each other value of each byte of the code behind the switch. (The code of kernels is in test/kernels.)
func TestMutants(t *testing.T) {
	r, err := mutant.ARM64.Try(arm64.Routine(arm64.Shape(), arm64.RowOf()), mutant.Every)
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
}
