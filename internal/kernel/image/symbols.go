// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"cmp"
	"debug/elf"
	"regexp"
	"slices"
	"strings"
)

// codeSymbol is a symbol that names code.
type codeSymbol struct {
	name    string
	addr    uint64
	size    uint64
	sec     *Section
	global  bool
	weak    bool
	typed   bool // STT_FUNC
	implied bool // size is not the symbol's own
}

// functions makes the functions of the symbol table. Each has its final extent;
// Name is chosen later, among the names in the result's second part.
func (v *vmlinux) functions() ([]*Function, [][]codeSymbol) {
	syms := v.codeSymbols()
	var funcs []*Function
	var names [][]codeSymbol
	for i := 0; i < len(syms); {
		j := i + 1
		for j < len(syms) && syms[j].addr == syms[i].addr && syms[j].sec == syms[i].sec {
			j++
		}
		group := syms[i:j]
		i = j
		f := &Function{Addr: group[0].addr, Section: group[0].sec.Name, FtraceSite: -1}
		for _, s := range group {
			if !s.implied || f.Size == 0 {
				f.Size = max(f.Size, s.size)
			}
		}
		if f.Size > 0 {
			funcs = append(funcs, f)
			names = append(names, group)
		}
	}
	v.setPadding(funcs)
	return funcs, names
}

// codeSymbols returns the symbols that begin a function, by address. Those that
// carry their own size sort first within an address.
func (v *vmlinux) codeSymbols() []codeSymbol {
	var syms []codeSymbol
	for _, s := range v.symbols {
		sec := v.section(s.Section)
		kind := elf.ST_TYPE(s.Info)
		if sec == nil || !sec.Exec || !sec.contains(s.Value) || kind != elf.STT_FUNC && kind != elf.STT_NOTYPE {
			continue
		}
		if s.Name == "" || mapping.MatchString(s.Name) || isBound(s) {
			continue
		}
		if _, ok := padded(s.Name); ok {
			continue
		}
		bind := elf.ST_BIND(s.Info)
		syms = append(syms, codeSymbol{
			name: s.Name, addr: s.Value, sec: sec,
			size:   min(s.Size, sec.Size-(s.Value-sec.Addr)),
			global: bind != elf.STB_LOCAL, weak: bind == elf.STB_WEAK,
			typed: kind == elf.STT_FUNC,
		})
	}
	slices.SortFunc(syms, func(a, b codeSymbol) int {
		return cmp.Or(cmp.Compare(a.addr, b.addr), strings.Compare(a.sec.Name, b.sec.Name),
			cmp.Compare(b.size, a.size), strings.Compare(a.name, b.name))
	})
	return extend(dropLabels(syms))
}

func isBound(s elf.Symbol) bool {
	return elf.ST_TYPE(s.Info) == elf.STT_NOTYPE && s.Size == 0 && bound.MatchString(s.Name)
}

// bounds are the addresses of the symbols that delimit ranges.
func (v *vmlinux) bounds() map[uint64]bool {
	out := map[uint64]bool{}
	for _, s := range v.symbols {
		if isBound(s) {
			out[s.Value] = true
		}
	}
	return out
}

// dropLabels removes symbols without type and size inside a function: they are
// places in it, not functions.
func dropLabels(syms []codeSymbol) []codeSymbol {
	var end uint64
	var sec *Section
	out := syms[:0]
	for _, s := range syms {
		if s.sec != sec {
			sec, end = s.sec, 0
		}
		start := len(out) == 0 || out[len(out)-1].addr != s.addr
		if s.size == 0 && !s.typed && s.addr < end && start {
			continue
		}
		end = max(end, s.addr+s.size)
		out = append(out, s)
	}
	return out
}

// extend gives symbols without a size the room up to the next one.
func extend(syms []codeSymbol) []codeSymbol {
	for i := range syms {
		s := &syms[i]
		if s.size != 0 {
			continue
		}
		s.implied = true
		s.size = s.sec.Size - (s.addr - s.sec.Addr)
		for _, next := range syms[i+1:] {
			if next.addr != s.addr {
				if next.sec == s.sec {
					s.size = next.addr - s.addr
				}
				break
			}
		}
	}
	return syms
}

// setPadding records the padding that symbols declare in front of functions.
func (v *vmlinux) setPadding(funcs []*Function) {
	for _, s := range v.symbols {
		if _, ok := padded(s.Name); !ok || s.Size == 0 {
			continue
		}
		at := s.Value + s.Size
		i, ok := slices.BinarySearchFunc(funcs, at, func(f *Function, a uint64) int { return cmp.Compare(f.Addr, a) })
		if ok {
			funcs[i].Padding = max(funcs[i].Padding, s.Size)
		}
	}
}

// setNames gives f its name and aliases out of the symbols at its address. known
// is what DWARF calls the function there: an alias and a function differ in
// nothing else.
func (f *Function) setNames(syms []codeSymbol, known, exported, bpf map[string]bool) {
	rank := func(s codeSymbol) int {
		switch {
		case known[s.name]:
			return 0
		case known[BaseName(s.name)]:
			return 1
		case s.global && !s.weak && s.typed:
			return 2
		case s.global && s.typed:
			return 3
		case s.typed:
			return 4
		}
		return 5
	}
	best := slices.MinFunc(syms, func(a, b codeSymbol) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.name, b.name))
	})
	f.Name, f.Base, f.Weak = best.name, BaseName(best.name), best.weak
	for _, s := range syms {
		if s.name != f.Name {
			f.Aliases = append(f.Aliases, s.name)
		}
		f.Global = f.Global || s.global
		f.Exported = f.Exported || s.global && exported[s.name]
		f.BPF = f.BPF || bpf[s.name]
	}
	slices.Sort(f.Aliases)
	f.Aliases = slices.Compact(f.Aliases)
}

// btfID matches the symbols by which the kernel's build looks up the BTF ids of
// functions (include/linux/btf_ids.h, __BTF_ID; tools/bpf/resolve_btfids).
var btfID = regexp.MustCompile(`^__BTF_ID__func__(.+)__\d+$`)

// bpfFunctions returns the names of functions that the kernel knows by BTF id.
func (v *vmlinux) bpfFunctions() map[string]bool {
	out := map[string]bool{}
	for _, s := range v.symbols {
		if m := btfID.FindStringSubmatch(s.Name); m != nil {
			out[m[1]] = true
		}
	}
	return out
}

// exports returns the names that the kernel exports to modules.
func (v *vmlinux) exports() map[string]bool {
	out := map[string]bool{}
	for _, s := range v.symbols {
		if name, ok := strings.CutPrefix(s.Name, exportPrefix); ok {
			out[name] = true
		}
	}
	return out
}

// objects makes the objects of the symbol table. The second result groups the
// local ones by object file: symbols are in the order of the files that the
// linker was given, each file's behind a symbol of type STT_FILE.
func (v *vmlinux) objects() ([]*Object, [][]*Object) {
	var out []*Object
	var files [][]*Object
	exported := v.exports()
	for _, s := range v.symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FILE {
			files = append(files, nil)
			continue
		}
		sec := v.section(s.Section)
		if sec == nil || elf.ST_TYPE(s.Info) != elf.STT_OBJECT || s.Name == "" {
			continue
		}
		o := &Object{
			Name: s.Name, Addr: s.Value, Size: s.Size, Section: sec.Name,
			Global: elf.ST_BIND(s.Info) != elf.STB_LOCAL,
		}
		o.Exported = o.Global && exported[s.Name]
		out = append(out, o)
		if n := len(files); n > 0 && !o.Global {
			files[n-1] = append(files[n-1], o)
		}
	}
	slices.SortStableFunc(out, func(a, b *Object) int {
		return cmp.Or(cmp.Compare(a.Addr, b.Addr), strings.Compare(a.Name, b.Name))
	})
	return out, files
}

// inferUnits gives local objects that debug information does not mention, such
// as __func__ and compound literals, the unit of the others in their file, if
// those agree.
func inferUnits(files [][]*Object) {
	for _, file := range files {
		unit, agree := "", true
		for _, o := range file {
			if o.Unit != "" {
				agree = agree && (unit == "" || unit == o.Unit)
				unit = o.Unit
			}
		}
		for _, o := range file {
			if agree && o.Unit == "" {
				o.Unit = unit
			}
		}
	}
}
