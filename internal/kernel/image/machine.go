// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"debug/elf"
	"fmt"

	"plugsched/internal/kernel/arch/x86"
)

type refKind uint8

const (
	refCall refKind = iota
	refJump
	refAddress
	refOperand
)

// ref is one address of the text that an instruction names.
type ref struct {
	site, target uint64
	kind         refKind
}

func (r ref) branch() bool { return r.kind == refCall || r.kind == refJump }

// machine is what the model needs to know about an architecture.
type machine struct {
	// refs yields what the code linked at addr refers to; see x86.Refs.
	refs func(code []byte, addr uint64, yield func(ref)) (undecoded int)
	// replacements maps code in .altinstr_replacement to the instruction it
	// may replace.
	replacements func(table []byte, addr uint64, isText, isReplacement func(uint64) bool) ([]replacement, error)
	tail         func(t *x86.Text, start uint64) (*x86.TailCode, error)
	memory       func(code []byte, addr uint64, yield func(x86.Memory))
	keySize      func(code []byte) int // of a static key's site
	callSize     int                   // of a static call's site
	lockSize     int                   // of an SMP lock's site
	abs64        uint32                // relocation: symbol + addend, 8 bytes
	relative     uint32                // relocation: addend, 8 bytes
}

// replacement says that the code at addr is an alternative for the one at site.
type replacement struct{ addr, site uint64 }

var machines = map[elf.Machine]*machine{
	elf.EM_X86_64: {
		refs:         x86Refs,
		replacements: x86Replacements,
		tail:         x86.Tail,
		memory:       x86.MemoryOperands,
		keySize:      x86.JumpLabelSize,
		callSize:     x86.StaticCallSize,
		lockSize:     x86.LockSize,
		abs64:        uint32(elf.R_X86_64_64),
		relative:     uint32(elf.R_X86_64_RELATIVE),
	},
}

func machineOf(m elf.Machine) (*machine, error) {
	if a := machines[m]; a != nil {
		return a, nil
	}
	return nil, fmt.Errorf("machine %v is not supported; supported: x86-64", m)
}

func x86Refs(code []byte, addr uint64, yield func(ref)) int {
	kinds := [...]refKind{x86.RefCall: refCall, x86.RefJump: refJump, x86.RefAddress: refAddress, x86.RefOperand: refOperand}
	return x86.Refs(code, addr, func(r x86.Ref) {
		yield(ref{site: r.Site, target: r.Target, kind: kinds[r.Kind]})
	})
}

func x86Replacements(table []byte, addr uint64, isText, isReplacement func(uint64) bool) ([]replacement, error) {
	alts, err := x86.Alternatives(table, addr, isText, isReplacement)
	var out []replacement
	for _, a := range alts {
		if a.ReplacementLen > 0 {
			out = append(out, replacement{addr: a.Replacement, site: a.Site})
		}
	}
	return out, err
}
