// SPDX-License-Identifier: BSD-3-Clause

// Package bpf finds the BPF programs under which a task's stack cannot be inspected.
//
// A program that runs when a function returns (fexit, fmod_ret) is called by a trampoline
// that calls the function. It has no unwind information: while the function sleeps, the
// kernel's unwinder does not vouch for the stack (arch/x86/kernel/unwind_orc.c,
// orc_fp_entry), and an update cannot tell what the task would come back to.
package bpf

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// Program is a program that is attached to the return of a function.
type Program struct {
	ID       uint32
	Name     string
	Kind     string // "fexit" or "fmod_ret"
	Function string // "" when the kernel does not say it

	key uint64
}

func (p *Program) String() string {
	function := p.Function
	if function == "" {
		function = "a function that this kernel does not name"
	}
	return fmt.Sprintf("BPF program %d (%s, %s of %s)", p.ID, p.Name, p.Kind, function)
}

// kinds are those whose trampoline calls the function.
var kinds = map[ebpf.AttachType]string{ebpf.AttachTraceFExit: "fexit", ebpf.AttachModifyReturn: "fmod_ret"}

// AtReturns lists the programs of this machine, in order of their numbers. It takes root.
func AtReturns() ([]Program, error) {
	var out []Program
	functions := functionNames{specs: map[uint32]*btf.Spec{}}
	it := &link.Iterator{}
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil {
			return nil, err
		}
		tracing := info.Tracing()
		if tracing == nil || kinds[ebpf.AttachType(tracing.AttachType)] == "" {
			continue
		}
		p := Program{ID: uint32(info.Program), Kind: kinds[ebpf.AttachType(tracing.AttachType)],
			Function: functions.name(tracing.TargetObjectId, uint32(tracing.TargetBtfId)),
			key:      key(tracing.TargetObjectId, uint32(tracing.TargetBtfId))}
		if p.Name, err = programName(info.Program); err != nil {
			continue // it has just been detached
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Program) int { return int(a.ID) - int(b.ID) })
	return out, it.Err()
}

// inObject is set in a trampoline's name when its function belongs to the kernel or a
// module, and not to another BPF program. What a link tells lacks it
// (include/linux/bpf_verifier.h, bpf_trampoline_compute_key and unpack_key).
const inObject = 1 << 31

// key is what the trampoline of a function is named by, but for inObject.
func key(object, function uint32) uint64 { return uint64(object)<<32 | uint64(function) }

func programName(id ebpf.ProgramID) (string, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "", err
	}
	return info.Name, nil
}

// functionNames keeps the type information that names functions.
type functionNames struct{ specs map[uint32]*btf.Spec }

// name returns a function's name, "" when it cannot be told.
func (f *functionNames) name(object, function uint32) string {
	spec, known := f.specs[object]
	if !known {
		spec = load(object)
		f.specs[object] = spec
	}
	if spec == nil {
		return ""
	}
	t, err := spec.TypeByID(btf.TypeID(function))
	if err != nil {
		return ""
	}
	return t.TypeName()
}

// load returns the type information of the kernel or of a module, nil when there is none.
func load(object uint32) *btf.Spec {
	h, err := btf.NewHandleFromID(btf.ID(object))
	if err != nil {
		return nil
	}
	defer h.Close()
	info, err := h.Info()
	if err != nil || !info.IsKernel {
		return nil
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil || info.IsVmlinux() {
		return kernel
	}
	spec, err := h.Spec(kernel)
	if err != nil {
		return nil
	}
	return spec
}

var trampoline = regexp.MustCompile(`\bbpf_trampoline_(\d+)`)

// On returns those of the programs whose trampolines a stack shows. Others are the rest of
// its trampolines.
func On(stack string, list []Program) (found []Program, others []string) {
	seen := map[uint64]bool{}
	for _, m := range trampoline.FindAllStringSubmatch(stack, -1) {
		k, err := strconv.ParseUint(m[1], 10, 64)
		k &^= inObject
		if err != nil || seen[k] {
			continue
		}
		seen[k] = true
		n := len(found)
		for _, p := range list {
			if p.key == k {
				found = append(found, p)
			}
		}
		if len(found) == n {
			others = append(others, m[0])
		}
	}
	return found, others
}

// Names lists programs in words.
func Names(list []Program) string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}
