// SPDX-License-Identifier: BSD-3-Clause

package scx

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// resolveKfuncs finds the kernel's functions that programs call by their exact names.
//
// The library (cilium/ebpf 0.22) does that by itself, but where a kernel also has NAME___v2, and
// NAME___v2_impl, as since 7.1 for scx_bpf_dsq_insert, it says that several types match:
// btf.Spec.AnyTypesByName deletes from the slice that it goes through, and so passes over every other one.
// What is not found is left to it; functions that are declared weak may be absent.
func resolveKfuncs(spec *ebpf.CollectionSpec, kernel *btf.Spec) error {
	ids := map[string]btf.TypeID{} // 0 if the kernel has no such function
	id := func(name string) (btf.TypeID, error) {
		if id, known := ids[name]; known {
			return id, nil
		}
		types, err := kernel.AnyTypesByName(name)
		if err != nil && !errors.Is(err, btf.ErrNotFound) {
			return 0, fmt.Errorf("kernel function %s: %w", name, err)
		}
		ids[name] = 0
		for _, t := range types {
			if f, ok := t.(*btf.Func); ok && f.Name == name {
				if ids[name], err = kernel.TypeID(f); err != nil {
					return 0, fmt.Errorf("kernel function %s: %w", name, err)
				}
			}
		}
		return ids[name], nil
	}
	for _, p := range spec.Programs {
		for i := range p.Instructions {
			ins := &p.Instructions[i]
			// A load of a function's address asks only whether there is one.
			asks := ins.OpCode.IsDWordLoad() && ins.Src == asm.R0
			if name := ins.Reference(); name != "" && (asks || ins.IsKfuncCall()) {
				id, err := id(name)
				if err != nil {
					return err
				}
				if id != 0 {
					*ins = resolved(ins, id)
				}
			}
		}
	}
	return nil
}

// resolved is an instruction with which the library has nothing to do any more: what it knows of the name is
// in the metadata. The line of C stays, for what the verifier says.
func resolved(ins *asm.Instruction, id btf.TypeID) asm.Instruction {
	out := asm.Instruction{OpCode: ins.OpCode, Dst: ins.Dst, Src: ins.Src, Constant: int64(id)}
	if f := btf.FuncMetadata(ins); f != nil {
		out = btf.WithFuncMetadata(out, f)
	}
	if line := ins.Source(); line != nil {
		out = out.WithSource(line)
	}
	return out.WithSymbol(ins.Symbol())
}
