// SPDX-License-Identifier: BSD-3-Clause

package ghost

import "unsafe"

// What this package shares with the kernel: kernel/sched/ghost_abi.h, as examples/ghost adds it.
// Its types have the layouts of these, which TestLayout compares.

const (
	abiMagic = 0x54534f48474353
	abi      = 1
)

// header is struct ghost_header, at the beginning of the mapping.
type header struct {
	Magic        uint64
	ABI          uint32
	Size         uint32
	Features     uint64
	NrRings      uint32
	RingOffset   uint32
	RingStride   uint32
	RingMsgs     uint32
	NrStatus     uint32
	StatusOffset uint32
	MsgSize      uint32
	StatusSize   uint32
	TxnSize      uint32
	End          End
}

// End says why an enclave has ended.
type End uint32

// The reasons.
const (
	NotEnded    End = iota
	EndedClosed     // its file was closed
	EndedLeft       // another scheduler runs, or is about to
	EndedLate       // a task waited longer than Config.RunnableTimeout
)

var ends = [...]string{"it has not", "it was closed", "its scheduler was left", "a task waited too long"}

// String returns the reason in words.
func (e End) String() string {
	if int(e) >= len(ends) {
		return "unknown"
	}
	return ends[e]
}

// Type says what a message is about.
type Type uint16

// The types of messages.
const (
	New      Type = iota + 1 // the task has joined: Runnable, OnCPU
	Wakeup                   // it can run, and waits for a transaction
	Blocked                  // it sleeps
	Preempt                  // it lost its CPU, and can run
	Yield                    // it gave its CPU away, and can run
	Dead                     // it exits, and is not the enclave's any more
	Departed                 // it is not the enclave's any more; Boosted: until it has released a lock
	Affinity                 // the CPUs that it may use have changed
	Priority                 // its nice value has changed: Arg[0]
)

// Types are all, in order.
func Types() []Type {
	return []Type{New, Wakeup, Blocked, Preempt, Yield, Dead, Departed, Affinity, Priority}
}

var typeNames = [...]string{"", "NEW", "WAKEUP", "BLOCKED", "PREEMPT", "YIELD", "DEAD", "DEPARTED", "AFFINITY", "PRIORITY"}

// String returns the type's name.
func (t Type) String() string {
	if int(t) >= len(typeNames) {
		return "unknown"
	}
	return typeNames[t]
}

// Flags of messages.
const (
	Runnable uint16 = 1 << iota // of New: it can run
	OnCPU                       // of New: it has a CPU, and Preempt comes when it loses it
	Boosted                     // of Departed: New comes when it is over
)

// A Message tells what happened to a task: struct ghost_msg.
type Message struct {
	Type     Type
	Flags    uint16
	Slot     uint32 // of the task, below Config.MaxTasks
	Seq      uint32 // of the task's messages
	PID      int32  // in the first PID namespace
	Gen      uint64 // tells tasks apart that had one slot after the other
	Time     uint64 // CLOCK_MONOTONIC, ns
	Runtime  uint64 // that the task has had in its life, ns
	CPU      int32  // on whose run queue it is
	AgentSeq uint32 // of the ring's messages
	Arg      [2]uint64
}

// ring is struct ghost_ring; messages follow.
type ring struct {
	Head uint32 // the kernel's
	_    [15]uint32
	Tail uint32 // ours
	_    [15]uint32
	Lost uint32 // the kernel's
	CPU  int32  // that it is for, if the header has featureRingCPU
	_    [14]uint32
}

// featureRingCPU is GHOST_FEATURE_RING_CPU, of header.Features.
const featureRingCPU = 1 << 1

// Flags of status words.
const (
	StatusUsed     uint32 = 1 << iota // a task has the slot
	StatusRunnable                    // it can run
	StatusGiven                       // a CPU was given to it, and not taken
	StatusOnCPU                       // it runs
)

// A Status is what the kernel keeps up to date of a task without a message: struct ghost_status.
type Status struct {
	Seq     uint32 // of its last message
	Flags   uint32 // StatusUsed and others
	PID     int32
	CPU     int32
	Gen     uint64
	Since   uint64 // on its CPU since, CLOCK_MONOTONIC, ns; 0: it is on none
	Runtime uint64 // when it left its CPU, ns
	Nice    int32
	Ring    uint32
	_       [2]uint64
}

// Flags of transactions.
const (
	TaskBarrier  uint32 = 1 << iota // the task had no message after TaskSeq
	AgentBarrier                    // Ring had no message after AgentSeq
	Keep                            // the CPU stays its while a higher class runs there
	Idle                            // no task: take the CPU from who has it
)

// A Verdict is what became of a transaction.
type Verdict int32

// The verdicts.
const (
	OK              Verdict = iota
	Stale                   // the task's barrier: read messages first
	AgentStale              // the ring's
	Busy                    // it runs, or a CPU was given to it
	NotRunnable             // it sleeps
	NoCPU                   // none of the enclave's, or offline
	AffinityForbids         // the task may not use that CPU
	Gone                    // the task is not the enclave's any more
	Invalid                 // a flag, slot or ring that does not exist
)

var verdicts = [...]string{"OK", "stale", "agent stale", "busy", "not runnable", "no such CPU", "affinity forbids", "gone", "invalid"}

// String returns the verdict in words.
func (v Verdict) String() string {
	if v < 0 || int(v) >= len(verdicts) {
		return "unknown"
	}
	return verdicts[v]
}

// A Txn gives a CPU to a task: struct ghost_txn.
type Txn struct {
	Verdict  Verdict // out
	Slot     uint32
	Gen      uint64
	TaskSeq  uint32
	AgentSeq uint32
	Ring     uint32
	CPU      int32
	Flags    uint32
	_        uint32
	Time     uint64 // out: of the verdict, CLOCK_MONOTONIC, ns
	_        [2]uint64
}

// createArg is struct ghost_create.
type createArg struct {
	Size      uint32
	Flags     uint32
	MaxTasks  uint32
	RingMsgs  uint32
	CPUs      unsafe.Pointer
	CPUsBytes uint32
	Timeout   uint32 // runnable_timeout_ms
	MapBytes  uint64
	_         [3]uint64
}

// commitArg is struct ghost_commit.
type commitArg struct {
	Txns    unsafe.Pointer
	Nr      uint32
	TxnSize uint32
}

// joinArg is struct ghost_join.
type joinArg struct {
	PIDFD int32
	TID   int32
	Ring  uint32
	Slot  uint32
}

// discoverArg is struct ghost_discover.
type discoverArg struct {
	Ring uint32
	Slot uint32
}
