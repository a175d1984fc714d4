// SPDX-License-Identifier: BSD-3-Clause

package ghosttest

import (
	"slices"
	"testing"

	"plugsched/ghost"
)

// NewPolicy makes a policy for some CPUs of an enclave of so many tasks, to be asked by one agent.
type NewPolicy func(cpus []int, tasks int) ghost.Policy

// A Machine is a kernel of the CPUs 2 and 3 and one agent for both, which end a test where they fail.
type Machine struct {
	*Kernel
	Agent *ghost.Agent
	t     testing.TB
}

// NewMachine returns one with room for 8 tasks, and 64 messages.
func NewMachine(t testing.TB, policy NewPolicy) *Machine {
	k := New([]int{2, 3}, 8, 64)
	return &Machine{k, ghost.NewAgent(k, 0, policy(k.CPUs(), k.MaxTasks())), t}
}

// Settle lets the agent run once, and as long as it has something to do now.
func (m *Machine) Settle() {
	m.t.Helper()
	for range 1000 {
		if err := m.Agent.Step(); err != nil {
			m.t.Fatal(err)
		}
		if at, ok := m.Agent.Due(); !ok || at > m.Now() {
			return
		}
	}
	m.t.Fatal("the agent is never idle")
}

// Want lets the agent run, and ends the test unless then those tasks run on CPUs 2 and 3; "" is none.
func (m *Machine) Want(on2, on3 string) {
	m.t.Helper()
	m.Settle()
	for cpu, want := range map[int]string{2: on2, 3: on3} {
		got := ""
		if r := m.Running(cpu); r != nil {
			got = r.Name
		}
		if got != want {
			m.t.Fatalf("%q runs on CPU %d, want %q", got, cpu, want)
		}
	}
}

// WantRunning is Want where it is the policy's to say who runs on which CPU.
func (m *Machine) WantRunning(names ...string) {
	m.t.Helper()
	m.Settle()
	if got := m.Names(); !slices.Equal(got, slices.Sorted(slices.Values(names))) {
		m.t.Fatalf("%q run, want %q", got, names)
	}
}

// Names are those of the tasks that run, in order.
func (m *Machine) Names() (names []string) {
	for _, r := range m.owner {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return names
}
