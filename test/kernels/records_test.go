// SPDX-License-Identifier: BSD-3-Clause

//go:build kernels

package kernels

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/arch/isa"
	"plugsched/internal/kernel/image"
)

// checkRecords: where stacks are walked by frame records, the functions of C make one before they call, but for those
// that are named; and in each function of C, without the instruction that makes x29 lead to it, or with a call before
// it, some call is bare.
func (a *analysed) checkRecords(t *testing.T, p *image.Program) {
	of := arch.OfRelease(a.release)
	if of == nil || of.Records == nil {
		return
	}
	start := time.Now()
	r, err := p.FrameRecords(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("frame records: %d calls in %d functions, %d bare in %d of these, %v", r.Calls, r.Functions, r.Bare, len(r.Unframed),
		time.Since(start))
	if r.Calls < 100_000 || len(r.Unframed) == 0 {
		t.Error("a kernel has more calls than that, and assembly")
	}
	if err := boundary.CheckRecords(a.boundary, r); err != nil {
		t.Error(err)
	}
	bare := map[uint64]bool{}
	for _, u := range r.Unframed {
		bare[u.Addr] = true
		f := p.FuncAt(u.Addr)
		t.Logf("%s+%#x (%s)", u.Name, u.Place, f.Unit)
		if strings.HasSuffix(f.Unit, ".c") && unframedC[u.Name] == "" {
			t.Errorf("%s is C, and calls without a record", u.Name)
		}
	}
	tried := 0
	for _, f := range p.Functions {
		if bare[f.Addr] || !strings.HasSuffix(f.Unit, ".c") || strings.HasPrefix(f.Section, ".init") {
			continue
		}
		mutants, whole := withoutRecord(t, p, of, f)
		if whole == 0 {
			continue
		}
		tried++
		for _, m := range mutants {
			t.Errorf("%s is accepted %s", f.Name, m)
		}
	}
	t.Logf("%d functions were changed", tried)
	if tried < 10_000 {
		t.Error("a kernel has more functions that call")
	}
}

// unframedC are functions of C that call without a record, and why.
var unframedC = map[string]string{
	"qcom_link_stack_sanitisation":     "assembly in it branches to the next instruction, to fill a buffer of the processor's",
	"__kvm_at_s1e01":                   "goes on behind a fault by the hypervisor's table (__kvm_ex_table)",
	"__kvm_at_s1e2":                    "the same",
	"__kvm_nvhe_handle_host_mem_abort": "the hypervisor's, which is on no task's stack",
}

// withoutRecord changes what makes a function's record, in two ways, and tells which changes are not noticed. Whole is
// how many of its calls have one.
func withoutRecord(t *testing.T, p *image.Program, of *arch.Arch, f *image.Function) (unnoticed []string, whole int) {
	const nop, stp, stpMask, add, addMask = 0xd503201f, 0xa9007bfd, 0xfe007fff, 0x910003fd, 0xffc003ff
	r, err := p.Routine(f)
	if err != nil {
		t.Fatal(err)
	}
	bare := func(code []byte) int { return len(of.Records(r.Text, []isa.Part{{Addr: f.Addr, Code: code}}).Bare) }
	code := p.Bytes(f.Addr, int(f.Size))
	if whole = of.Records(r.Text, []isa.Part{{Addr: f.Addr, Code: code}}).Calls; whole == 0 {
		return nil, 0
	}
	stored, call := -1, -1
	dropped := bytes.Clone(code)
	for i := 0; i+4 <= len(code); i += 4 {
		w := binary.LittleEndian.Uint32(code[i:])
		switch {
		case w&addMask == add: // add x29, sp, #
			binary.LittleEndian.PutUint32(dropped[i:], nop)
		case w&stpMask == stp && stored < 0: // stp x29, x30, [sp, #]
			stored = i
		case w>>26 == 0x25 && call < 0 && stored >= 0: // bl
			call = i
		}
	}
	if bare(dropped) == 0 {
		unnoticed = append(unnoticed, "without a frame pointer")
	}
	if call < 0 {
		return unnoticed, whole
	}
	swapped := bytes.Clone(code)
	copy(swapped[stored:], code[call:call+4])
	copy(swapped[call:], code[stored:stored+4])
	if bare(swapped) == 0 {
		unnoticed = append(unnoticed, "with its record stored where its first call was")
	}
	return unnoticed, whole
}
