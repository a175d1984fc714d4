// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

//go:embed bpf/queues.bpf.o
var queuesObject []byte

// Queue is one in which tasks wait for a CPU.
type Queue struct {
	ID    uint64 `json:"id"`  // the kernel's, a dispatch queue's (DSQ); 0 of those that the program keeps to itself
	CPU   int    `json:"cpu"` // whose queue it is; -1: of no certain one
	Name  string `json:"name"`
	Tasks int    `json:"tasks"`
}

// Queues finds out how long the queues of the scheduler that runs are, whoever has loaded it. The kernel does not say which queues there
// are: a program goes through all tasks, and says in which each one waits.
type Queues struct{ iterator *link.Iter }

const queuesProgram = "plugsched_queues"

// OpenQueues loads that program. It takes root, and a kernel with sched_ext.
func OpenQueues() (*Queues, error) {
	if _, err := state(); err != nil {
		return nil, err
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(queuesObject))
	if err != nil {
		return nil, err
	}
	// The header's maps and programs are for schedulers.
	spec.Maps, spec.Variables = nil, nil
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return name != queuesProgram })
	all, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, needsRoot(refusal(err))
	}
	defer all.Close()
	it, err := link.AttachIter(link.IterOptions{Program: all.Programs[queuesProgram]})
	if err != nil {
		return nil, needsRoot(err)
	}
	return &Queues{it}, nil
}

// Close ends it.
func (q *Queues) Close() error { return q.iterator.Close() }

// Lengths are the queues in which somebody waits, in order of their numbers. Tasks come and go while they are counted.
func (q *Queues) Lengths() (list []Queue, err error) {
	r, err := q.iterator.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return lengths(b)
}

// waiting is what the program says of a task (bpf/queues.bpf.c, struct waiting).
type waiting struct {
	Queue uint64
	CPU   int32
	Held  uint32 // the task is in no queue of the kernel's
}

const waitingSize = 16

// lengths counts tasks by queue.
func lengths(b []byte) ([]Queue, error) {
	if len(b)%waitingSize != 0 {
		return nil, fmt.Errorf("the kernel's list of tasks has %d bytes, which is no multiple of %d", len(b), waitingSize)
	}
	counts := map[waiting]int{}
	for ; len(b) > 0; b = b[waitingSize:] {
		w := waiting{binary.NativeEndian.Uint64(b), int32(binary.NativeEndian.Uint32(b[8:])), binary.NativeEndian.Uint32(b[12:])}
		if w.Held != 0 || w.Queue != localQueue && w.Queue&localOn != localOn {
			w.CPU = -1
		}
		counts[w]++
	}
	var list []Queue
	for _, w := range slices.SortedFunc(maps.Keys(counts), func(a, b waiting) int {
		return slices.Compare([]uint64{uint64(a.Held), a.Queue, uint64(a.CPU)}, []uint64{uint64(b.Held), b.Queue, uint64(b.CPU)})
	}) {
		list = append(list, Queue{w.Queue, int(w.CPU), w.name(), counts[w]})
	}
	return list, nil
}

// Queues that there always are, by their numbers (kernel/sched/ext, enum scx_dsq_id_flags and what follows it).
const (
	builtIn     = 1 << 63
	globalQueue = builtIn | 1
	localQueue  = builtIn | 2
	bypassQueue = builtIn | 3
	localOn     = builtIn | 1<<62
)

// name says which queue it is.
func (w waiting) name() string {
	switch {
	case w.Held != 0:
		return "kept by the program"
	case w.CPU >= 0:
		return fmt.Sprintf("CPU %d", w.CPU)
	case w.Queue == globalQueue:
		return "global"
	case w.Queue == bypassQueue:
		return "bypass"
	case w.Queue&builtIn != 0:
		return fmt.Sprintf("the kernel's %#x", w.Queue&^builtIn)
	}
	return fmt.Sprintf("queue %d", w.Queue)
}
