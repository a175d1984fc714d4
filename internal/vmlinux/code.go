// SPDX-License-Identifier: BSD-3-Clause

package vmlinux

import (
	"debug/elf"
	"fmt"
	"sort"
	"sync"

	"golang.org/x/arch/x86/x86asm"
)

// scanner decodes code of one architecture.
type scanner func(code []byte, base uint64, found func(site, target uint64, kind Kind))

func scannerOf(m elf.Machine) (scanner, error) {
	if m == elf.EM_X86_64 {
		return Scan, nil
	}
	return nil, fmt.Errorf("architecture %v is not supported; supported: x86-64", m)
}

// code decodes every function: whom it branches to and whose address it takes.
// Each function writes only to itself, so that halves of the text are done at once.
func (l *loader) code() error {
	scan, err := scannerOf(l.prog.Machine)
	if err != nil {
		return err
	}
	starts := make(map[uint64]*Function, len(l.prog.Functions))
	for _, f := range l.prog.Functions {
		starts[f.Addr] = f
	}
	const workers = 2
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			fs := l.prog.Functions
			for i := w * len(fs) / workers; i < (w+1)*len(fs)/workers; i++ {
				l.decode(fs[i], scan, starts)
			}
		}()
	}
	wg.Wait()
	l.replacements(scan)
	return nil
}

func (l *loader) decode(f *Function, scan scanner, starts map[uint64]*Function) {
	size := f.Size
	// A function may not decode into its neighbour: overlapping symbols exist in
	// assembly, and would count calls twice.
	if next := l.prog.NextFunction(f); next != 0 && next-f.Addr < size {
		size = next - f.Addr
	}
	scan(l.prog.Bytes(f.Addr, int(size)), f.Addr, func(site, target uint64, kind Kind) {
		if kind == Address {
			if to := starts[target]; to != nil {
				f.Takes = append(f.Takes, Take{site, to})
			}
			return
		}
		to := l.prog.FuncAt(target)
		if to == nil || to == f && target != f.Addr {
			return
		}
		f.Calls = append(f.Calls, Call{Site: site, To: to, Offset: target - to.Addr, Jump: kind == Jump})
	})
}

// replacements attributes calls in alternative instructions to the function
// whose code they may replace at boot (arch/x86/include/asm/alternative.h,
// struct alt_instr: instr, repl relative to their own place, then lengths).
func (l *loader) replacements(scan scanner) {
	var sec *section
	for i := range l.prog.sections {
		if l.prog.sections[i].name == ".altinstr_replacement" {
			sec = &l.prog.sections[i]
		}
	}
	if sec == nil || sec.data == nil {
		return
	}
	alts := l.alternatives()
	scan(sec.data, sec.addr, func(site, target uint64, kind Kind) {
		to := l.prog.FuncAt(target)
		i := sort.Search(len(alts), func(i int) bool { return alts[i].repl > site }) - 1
		if to == nil || kind == Address || i < 0 {
			return
		}
		if f := l.prog.FuncAt(alts[i].instr); f != nil && f != to {
			f.Calls = append(f.Calls, Call{Site: site, To: to, Offset: target - to.Addr, Jump: kind == Jump})
		}
	})
}

type alternative struct{ instr, repl uint64 }

// alternatives reads __alt_instructions. The entry's size grew over time: it is
// whichever divides the table so that all entries point into text.
func (l *loader) alternatives() []alternative {
	table, at := l.prog.rangeOf("__alt_instructions", "__alt_instructions_end")
	for _, size := range []int{12, 14, 16, 13} {
		if len(table)%size != 0 {
			continue
		}
		var out []alternative
		for off := 0; off < len(table); off += size {
			a := at + uint64(off)
			instr := a + uint64(int64(int32(l.file.ByteOrder.Uint32(table[off:]))))
			repl := a + 4 + uint64(int64(int32(l.file.ByteOrder.Uint32(table[off+4:]))))
			if s := l.prog.sectionAt(instr); s == nil || !s.exec {
				out = nil
				break
			}
			out = append(out, alternative{instr, repl})
		}
		if out != nil {
			sort.Slice(out, func(i, j int) bool { return out[i].repl < out[j].repl })
			return out
		}
	}
	return nil
}

// Kind says how an instruction refers to an address.
type Kind uint8

// The ways to refer to an address.
const (
	CallRef Kind = iota
	Jump
	Address
)

// Scan decodes code.
func Scan(code []byte, base uint64, found func(site, target uint64, kind Kind)) {
	for off := 0; off < len(code); {
		in, err := x86asm.Decode(code[off:], 64)
		if err != nil || in.Len == 0 {
			off++
			continue
		}
		site := base + uint64(off)
		next := site + uint64(in.Len)
		for i, a := range in.Args {
			if a == nil {
				break
			}
			switch a := a.(type) {
			case x86asm.Rel:
				kind := Jump
				if in.Op == x86asm.CALL {
					kind = CallRef
				}
				found(site, next+uint64(int64(a)), kind)
			case x86asm.Imm:
				found(site, uint64(a), Address)
			case x86asm.Mem:
				if in.Op == x86asm.LEA && i == 1 && a.Base == x86asm.RIP {
					found(site, next+uint64(a.Disp), Address)
				}
			}
		}
		off += in.Len
	}
}
