// SPDX-License-Identifier: BSD-3-Clause

// Package ghost lets a process schedule tasks of the kernel: messages tell what happens to
// them, transactions say which of them runs where. The kernel's half is a scheduler that
// plugsched installs (examples/ghost); docs/develop/ghost.md goes from nothing to a policy.
//
// An [Enclave] is some CPUs and the tasks that have joined it. It has a ring of messages for
// each CPU, which an [Agent] reads; a [Policy] decides. Package ghosttest is a kernel in which policies
// are tested without one.
//
// When the process ends, however that happens, all its tasks are scheduled by the kernel
// again.
package ghost
