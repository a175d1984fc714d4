// SPDX-License-Identifier: BSD-3-Clause

package newest

import (
	"testing"

	"plugsched/ghost"
	"plugsched/ghost/ghosttest"
)

func TestNewest(t *testing.T) {
	k := ghosttest.New([]int{0}, 8, 64)
	a := ghost.NewAgent(k, 0, &Policy{})
	k.Join("first", 0, true)
	k.Join("second", 0, true)
	if err := a.Step(); err != nil || k.Running(0).Name != "second" {
		t.Errorf("%v runs: %v", k.Running(0), err)
	}
}
