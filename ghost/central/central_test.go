// SPDX-License-Identifier: BSD-3-Clause

package central

import (
	"testing"

	"plugsched/ghost"
	"plugsched/ghost/ghosttest"
)

// own is the policy for several CPUs.
func own(cpus []int, tasks int) ghost.Policy { return New(cpus, tasks) }

func start(t *testing.T) *ghosttest.Machine { return ghosttest.NewMachine(t, own) }

// TestGlobal: what every policy of several CPUs has to do.
func TestGlobal(t *testing.T) { ghosttest.TestGlobal(t, own) }

// TestOrder: the CPU that is free first gets who has waited longest.
func TestOrder(t *testing.T) {
	m := start(t)
	w, x, y, z := m.Join("w", 0, true), m.Join("x", 0, true), m.Join("y", 0, true), m.Join("z", 0, true)
	m.Want("w", "x")
	m.Block(x)
	m.Want("w", "y")
	m.Wake(x)
	m.Yield(w)
	m.Want("z", "y")
	m.Exit(y)
	m.Want("z", "x")
	m.Depart(w)
	m.Block(z)
	m.Block(x)
	m.Want("", "")
}
