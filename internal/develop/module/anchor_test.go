// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/develop/bind"
	"plugsched/internal/kernel/symbols"
)

// TestBind: each candidate before the right one lacks one thing.
func TestBind(t *testing.T) {
	dir := t.TempDir()
	syms := &symbols.Table{Symbols: []symbols.Symbol{
		{Name: "_etext", Addr: 0x9000, Kind: symbols.Other, Global: true}, {Name: "_stext", Addr: 0x1000, Kind: symbols.Other, Global: true}}}
	places := map[string]bind.Place{}
	exports := ""
	add := func(s symbols.Symbol, export string) {
		places[s.Name] = bind.Place{Addr: s.Addr, Fixed: s.Fixed}
		syms.Symbols = append(syms.Symbols, s)
		if export != "" {
			exports += "0x01234567\t" + s.Name + "\t" + export + "\n"
		}
	}
	function := func(name string, addr uint64) symbols.Symbol {
		return symbols.Symbol{Name: name, Unit: "a.c", Addr: addr, Kind: symbols.Func, Global: true}
	}
	add(function("a_not_exported", 0x2000), "")
	add(function("b_of_a_module", 0x2000), "fs/ext4/ext4\tEXPORT_SYMBOL\t")
	add(function("c_namespace", 0x2000), "vmlinux\tEXPORT_SYMBOL_GPL\tCXL")
	add(symbols.Symbol{Name: "d_object", Unit: "a.c", Addr: 0x2000, Kind: symbols.Object, Global: true}, "vmlinux\tEXPORT_SYMBOL\t")
	add(function("e_init", 0x9000), "vmlinux\tEXPORT_SYMBOL\t")
	add(symbols.Symbol{Name: "f_assembly", Addr: 0x2000, Kind: symbols.Func, Global: true}, "vmlinux\tEXPORT_SYMBOL\t")
	add(function("g_not_alone", 0x2000), "vmlinux\tEXPORT_SYMBOL\t")
	syms.Symbols = append(syms.Symbols, symbols.Symbol{Name: "g_not_alone", Unit: "b.c", Addr: 0x3000, Kind: symbols.Func})
	add(function("h_elsewhere", 0x2000), "vmlinux\tEXPORT_SYMBOL\t")
	places["h_elsewhere"] = bind.Place{Addr: 0x4000}
	add(symbols.Symbol{Name: "i_fixed", Unit: "a.c", Addr: 0x2000, Kind: symbols.Func, Global: true, Fixed: true}, "vmlinux\tEXPORT_SYMBOL\t")
	add(function("j_no_version", 0x2000), "vmlinux\tEXPORT_SYMBOL\t")
	add(function("k_right", 0x1000), "vmlinux\tEXPORT_SYMBOL_GPL\t")
	add(function("l_later", 0x2000), "vmlinux\tEXPORT_SYMBOL\t")

	table := filepath.Join(dir, "symbols")
	if err := syms.Save(table); err != nil {
		t.Fatal(err)
	}
	syms, err := symbols.Load(table)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "Module.symvers"), exports)
	version := func(name string) string { return "\t.quad 1\n0:\t.asciz \"" + name + "\"\n\t.zero 56 - (. - 0b)\n" }
	text := "\t.section __versions,\"a\"\n" + version("l_later") + version("k_right")
	for name := range places {
		if name != "k_right" && name != "l_later" && name != "j_no_version" {
			text += version(name)
		}
	}
	ko, plain := filepath.Join(dir, "a.ko"), filepath.Join(dir, "plain.ko")
	for path, text := range map[string]string{ko: text, plain: "nop\n"} {
		if err := os.WriteFile(path, assemble(t, text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree := &Tree{KernelBuild: dir}
	for path, want := range map[string]string{ko: "k_right", plain: "j_no_version"} {
		b, err := Bind(path, tree, syms, places)
		if err != nil {
			t.Fatal(err)
		}
		if b.Anchor != want {
			t.Errorf("%s: anchor %s, want %s", filepath.Base(path), b.Anchor, want)
		}
	}
	delete(places, "k_right")
	delete(places, "l_later")
	if _, err := Bind(ko, tree, syms, places); err == nil || !strings.Contains(err.Error(), "nothing to bind it by") {
		t.Errorf("no candidate: %v", err)
	}
	if _, err := Bind(ko, &Tree{KernelBuild: filepath.Join(dir, "none")}, syms, places); !os.IsNotExist(err) {
		t.Errorf("no Module.symvers: %v", err)
	}
}
