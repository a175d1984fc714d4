// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"plugsched/internal/artefact/layout"
	"plugsched/internal/kernel/arch/native"
)

// Leftovers says what still refers to a module that was unloaded.
type Leftovers struct {
	Heads    []string `json:"heads"`    // functions that still jump into it
	Pointers []string `json:"pointers"` // places in the kernel's static data that hold an address in it
	Stacks   []string `json:"stacks"`   // tasks with a frame in it
	Timers   int      `json:"timers"`   // armed timers that would call it
	// Checked counts what was looked at, so that an empty result means something.
	Functions int `json:"functions"`
	Words     int `json:"words"`
	Tasks     int `json:"tasks"`
}

// Deadly reports references that will be followed. A pointer in data may be
// stale: nothing can tell from outside.
func (l *Leftovers) Deadly() bool { return len(l.Heads)+len(l.Stacks)+l.Timers > 0 }

// span is a range of kernel addresses.
type span struct{ start, end uint64 }

func (s span) holds(addr uint64) bool { return addr >= s.start && addr < s.end }

// moduleSpan returns where a loaded module is (/proc/modules).
func (h Host) moduleSpan(name string) (span, error) {
	text, err := os.ReadFile(h.path("/proc/modules"))
	if err != nil {
		return span{}, err
	}
	for _, l := range strings.Split(string(text), "\n") {
		f := strings.Fields(l)
		if len(f) < 6 || f[0] != name {
			continue
		}
		size, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			return span{}, fmt.Errorf("/proc/modules: unreadable size %q", f[1])
		}
		addr, err := strconv.ParseUint(strings.TrimPrefix(f[5], "0x"), 16, 64)
		if err != nil || addr == 0 {
			return span{}, errors.New("/proc/modules shows no addresses (kernel.kptr_restrict)")
		}
		return span{addr, addr + size}, nil
	}
	return span{}, fmt.Errorf("/proc/modules: no module %s", name)
}

// spans are where modules were, by name.
type spans struct {
	names []string
	list  []span
}

func (s *spans) holds(addr uint64) bool {
	for _, one := range s.list {
		if one.holds(addr) {
			return true
		}
	}
	return false
}

// around is the smallest range that has all of them: most words are not in it.
func (s *spans) around() span {
	if len(s.list) == 0 {
		return span{}
	}
	all := s.list[0]
	for _, one := range s.list[1:] {
		all = span{min(all.start, one.start), max(all.end, one.end)}
	}
	return all
}

// without returns those that are not of the modules: what stays loaded may be referred to.
func (s *spans) without(list []Loaded) *spans {
	out := &spans{}
	for i, name := range s.names {
		if !slices.ContainsFunc(list, func(m Loaded) bool { return m.Name == name }) {
			out.names, out.list = append(out.names, name), append(out.list, s.list[i])
		}
	}
	return out
}

// moduleSpans returns where modules are.
func (h Host) moduleSpans(list []Loaded) (*spans, error) {
	out := &spans{}
	for _, m := range list {
		s, err := h.moduleSpan(m.Name)
		if err != nil {
			return nil, err
		}
		out.names, out.list = append(out.names, m.Name), append(out.list, s)
	}
	return out, nil
}

// findLeftovers looks for references to modules that are gone: jumps at the heads of
// the functions that were redirected, pointers in the kernel's static and per-CPU
// data, armed timers, and frames on stacks.
// shown is what the modules showed of the kernel's layout while they were loaded.
func (h Host) findLeftovers(where *spans, functions []string, shown ...shownPlace) (*Leftovers, error) {
	l := &Leftovers{}
	mem, err := h.openKcore()
	if err != nil {
		return nil, err
	}
	defer mem.close()
	syms, err := h.readSymbols(functions)
	if err != nil {
		return nil, err
	}
	syms.add(shown)
	if err := l.heads(mem, syms, functions, where.by(shown)); err != nil {
		return nil, err
	}
	found, err := l.pointers(mem, syms, where)
	if err != nil {
		return nil, err
	}
	if err := l.name(syms, found); err != nil {
		return nil, err
	}
	if err := l.timers(h, where); err != nil {
		return nil, err
	}
	return l, l.stacks(h, where.names)
}

// symbols are the kernel's, with the addresses of the names that were asked for.
type symbols struct {
	text   []byte // of /proc/kallsyms: the kernel takes long to print it
	byName map[string][]uint64
	shown  []shownPlace // what it does not have
}

// readSymbols looks up the functions, and what pointers needs.
func (h Host) readSymbols(functions []string) (s *symbols, err error) {
	want := make(map[string]bool, len(functions)+16)
	for _, names := range [][]string{functions, layout.PerCPU} {
		for _, n := range names {
			want[n] = true
		}
	}
	for _, d := range layout.Data {
		want[d[0]], want[d[1]] = true, true
	}
	s = &symbols{}
	if s.text, err = os.ReadFile(h.path(kallsyms)); err != nil {
		return nil, err
	}
	s.byName, err = addresses(s.text, want, false)
	return s, err
}

// one returns the first address of a name, 0 when there is none.
func (s *symbols) one(name string) uint64 {
	if a := s.byName[name]; len(a) > 0 {
		return a[0]
	}
	return 0
}

// heads looks for jumps into the span at the beginning of each function, at any of the
// places that the runtime may use.
func (l *Leftovers) heads(mem *kcore, syms *symbols, functions []string, where *spans) error {
	buf := make([]byte, 24)
	for _, name := range functions {
		for _, addr := range syms.byName[name] {
			if err := mem.read(buf, addr); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			l.Functions++
			native.Jumps(buf, addr, func(target uint64) bool {
				if !where.holds(target) {
					return true
				}
				l.Heads = append(l.Heads, name)
				return false
			})
		}
	}
	return nil
}

// A pointer is a word in the kernel's data that holds an address in the module.
type pointer struct {
	at     uint64 // where the symbols have it: not a CPU's own copy
	suffix string // whose copy it is
}

// pointers scans the read-only and writable data of the image, and every CPU's
// copy of the static per-CPU data.
func (l *Leftovers) pointers(mem *kcore, syms *symbols, where *spans) (found []pointer, err error) {
	scan := func(suffix string, start, end, shift uint64) error {
		more, err := l.scan(mem, suffix, start, end, shift, where)
		found = append(found, more...)
		return err
	}
	for _, d := range layout.Data {
		start, end := syms.one(d[0]), syms.one(d[1])
		if start == 0 || end <= start {
			return nil, fmt.Errorf("/proc/kallsyms: has no %s and %s", d[0], d[1])
		}
		if err := scan("", start, end, 0); err != nil {
			return nil, err
		}
	}
	table, size := syms.one("__per_cpu_offset"), syms.one("__per_cpu_end")-syms.one("__per_cpu_start")
	if table == 0 {
		return found, nil // a kernel for one CPU
	}
	var word [8]byte
	if err := mem.read(word[:4], syms.one("nr_cpu_ids")); err != nil {
		return nil, err
	}
	for cpu := range binary.LittleEndian.Uint32(word[:4]) {
		if err := mem.read(word[:], table+8*uint64(cpu)); err != nil {
			return nil, err
		}
		area := syms.one("__per_cpu_start") + binary.LittleEndian.Uint64(word[:])
		if err := scan(fmt.Sprintf(" of CPU %d", cpu), area, area+size, area-syms.one("__per_cpu_start")); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// scan looks at [start, end); shift is the distance from the symbols' addresses,
// suffix is added to their names.
func (l *Leftovers) scan(mem *kcore, suffix string, start, end, shift uint64, where *spans) (found []pointer, err error) {
	all := where.around()
	buf := make([]byte, 1<<18)
	for at := start &^ 7; at < end; at += uint64(len(buf)) {
		buf = buf[:min(uint64(cap(buf)), end-at)]
		if err := mem.read(buf, at); err != nil {
			return nil, fmt.Errorf("data at %s: %w", suffix, err)
		}
		for i := 0; i+8 <= len(buf); i += 8 {
			if word := binary.LittleEndian.Uint64(buf[i:]); all.holds(word) && where.holds(word) {
				found = append(found, pointer{at + uint64(i) - shift, suffix})
			}
		}
		l.Words += len(buf) / 8
	}
	return found, nil
}

// name records pointers by the symbols that they are in, but for the harmless.
func (l *Leftovers) name(syms *symbols, found []pointer) error {
	if len(syms.shown) > 0 { // it knows no names of data
		for _, p := range found {
			if name, ok := syms.showing(p.at); ok {
				l.Pointers = append(l.Pointers, name+p.suffix)
			}
		}
		return nil
	}
	at := make([]symbolAt, len(found))
	for i, p := range found {
		at[i].addr = p.at
	}
	if err := resolve(syms.text, at); err != nil {
		return err
	}
	for i, s := range at {
		if !slices.ContainsFunc(s.names, func(n string) bool { return layout.Harmless[n] != "" }) {
			l.Pointers = append(l.Pointers, fmt.Sprintf("%s+%#x%s", strings.Join(s.names, "/"), s.addr-s.start, found[i].suffix))
		}
	}
	return nil
}

// timers looks for armed high-resolution timers that would call a module that is
// gone: where the kernel finds no name, it prints the address.
func (l *Leftovers) timers(h Host, where *spans) error {
	text, err := os.ReadFile(h.path("/proc/timer_list"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel without it (CONFIG_PROC_FS_TIMER_LIST)
	}
	if err != nil {
		return err
	}
	for _, w := range strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" ,<>\n", r) }) {
		hex, ok := strings.CutPrefix(w, "0x")
		if !ok {
			continue
		}
		if addr, err := strconv.ParseUint(hex, 16, 64); err == nil && where.holds(addr) {
			l.Timers++
		}
	}
	return nil
}

// stacks looks for frames in the module, whose name the kernel adds to symbols.
func (l *Leftovers) stacks(h Host, modules []string) error {
	files, err := filepath.Glob(h.path("/proc/[0-9]*/task/[0-9]*/stack"))
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the task has ended
		}
		l.Tasks++
		for _, m := range modules {
			if bytes.Contains(text, []byte("["+m+"]")) {
				l.Stacks = append(l.Stacks, strings.TrimSuffix(strings.TrimPrefix(f, h.Root), "/stack"))
			}
		}
	}
	return nil
}

// kcore reads kernel memory (/proc/kcore, an ELF core file).
type kcore struct {
	f     *os.File
	progs []*elf.Prog
}

func (h Host) openKcore() (*kcore, error) {
	f, err := os.Open(h.path("/proc/kcore"))
	if err != nil {
		return nil, err
	}
	e, err := elf.NewFile(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("/proc/kcore: %w", err)
	}
	return &kcore{f, e.Progs}, nil
}

func (k *kcore) close() { k.f.Close() }

func (k *kcore) read(buf []byte, addr uint64) error {
	for _, p := range k.progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr+uint64(len(buf)) <= p.Vaddr+p.Memsz {
			n, err := k.f.ReadAt(buf, int64(p.Off+addr-p.Vaddr))
			if n == len(buf) {
				return nil
			}
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("/proc/kcore: %w", err)
		}
	}
	return errors.New("/proc/kcore: does not hold the kernel's memory")
}
