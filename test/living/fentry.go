// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// attachTo puts a counting program at the head or the return of each function.
func attachTo(functions []string, where ebpf.AttachType) ([]hook, error) {
	// Before 5.11, maps count against RLIMIT_MEMLOCK.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, err
	}
	var hooks []hook
	for _, f := range functions {
		counter, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
		if err != nil {
			return nil, err
		}
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "living", Type: ebpf.Tracing, AttachType: where, AttachTo: f,
			License: "Dual BSD/GPL", Instructions: count(counter),
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		attached, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		hooks = append(hooks, hook{f, func() (n uint64, err error) {
			defer runtime.KeepAlive(attached) // it ends when it is collected
			err = counter.Lookup(uint32(0), &n)
			return n, err
		}})
	}
	return hooks, nil
}

// count is a program that increments the only element of m.
func count(m *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}
}
