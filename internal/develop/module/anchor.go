// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/develop/bind"
	"plugsched/internal/kernel/symbols"
)

// Binding says how a module finds what it does not define.
type Binding struct {
	Places map[string]bind.Place // of every undefined symbol
	// Anchor is the symbol that the module loader looks up. KASLR moves the kernel
	// as a whole: all other addresses are at a fixed distance from it.
	Anchor string
}

// Bind chooses the anchor: the alphabetically first of the undefined symbols that is
// an ordinary function in the kernel's .text, exported to every module, and whose
// version the module carries.
func Bind(ko string, t *Tree, syms *symbols.Table, places map[string]bind.Place) (*Binding, error) {
	exported, err := readExports(filepath.Join(t.KernelBuild, "Module.symvers"))
	if err != nil {
		return nil, err
	}
	versioned, err := readVersions(ko)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(places)) {
		if exported[name] && versioned(name) && ordinary(syms, name, places[name]) {
			return &Binding{places, name}, nil
		}
	}
	return nil, errors.New("the module uses no function that the kernel exports to all modules: nothing to bind it by")
}

// ordinary reports whether a place is that of a function in .text, made by the compiler,
// whose name means nothing else: its exported address is the one in the symbol table.
func ordinary(syms *symbols.Table, name string, p bind.Place) bool {
	s, start, end := syms.Global(name), syms.Global("_stext"), syms.Global("_etext")
	return s != nil && start != nil && end != nil && syms.Unique(name) &&
		s.Kind == symbols.Func && s.Unit != "" && !s.Fixed && s.Addr == p.Addr && start.Addr <= s.Addr && s.Addr < end.Addr
}

// readExports returns what the vmlinux exports without a namespace. A line of
// Module.symvers is CRC, name, object, kind and namespace (scripts/mod/modpost.c,
// write_dump).
func readExports(path string) (map[string]bool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) >= 4 && f[2] == "vmlinux" && (len(f) == 4 || f[4] == "") {
			out[f[1]] = true
		}
	}
	return out, nil
}

// readVersions tells which symbols a module has the versions of. The loader asks
// for them when the module has the section __versions, an array of struct
// modversion_info (include/linux/module.h).
func readVersions(ko string) (func(name string) bool, error) {
	f, err := elf.Open(ko)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section("__versions")
	if s == nil {
		return func(string) bool { return true }, nil
	}
	data, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ko, err)
	}
	const crc, entry = 8, 8 + nameSize
	have := map[string]bool{}
	for e := range slices.Chunk(data, entry) {
		if len(e) == entry {
			name, _, _ := bytes.Cut(e[crc:], []byte{0})
			have[string(name)] = true
		}
	}
	return func(name string) bool { return have[name] }, nil
}
