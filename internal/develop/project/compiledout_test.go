// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/module"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/fetch"
)

// TestCompiledOut asks the compiler what it sees of edits: once with the file as it was, once as it is.
func TestCompiledOut(t *testing.T) {
	const (
		core   = "kernel/sched/core.c"
		header = "include/linux/sched.h"
		off    = "#if defined(CONFIG_OFF) && \\\n\t1\nint off;\n#else\nint on;\n#endif\n"
		pre    = "#include \"../x.h\"\n#include <linux/sched.h>\n#ifdef CONFIG_OFF\n#include \"lost.c\"\n#endif\n" + off
	)
	p := at(t, t.TempDir())
	tg := &fetch.Target{Source: t.TempDir(), HeadersCommon: t.TempDir(), KernelBuild: t.TempDir(), KernelArch: "x86"}
	tg.Config = filepath.Join(tg.KernelBuild, ".config")
	write(t, "CONFIG_ON=y\n# CONFIG_OFF is not set\n", tg.Config)
	write(t, "config KNOWN\n\tbool\n", tg.Source, "kernel/Kconfig.x")
	write(t, "#ifdef CONFIG_FAR\n#define arch_far 1\n#endif\n", tg.Source, "lib/far.c")
	if err := writeJSONAt(t, p.state(targetFile), tg); err != nil {
		t.Fatal(err)
	}
	write(t, "#ifndef _S\n#define _S\n#endif\n", tg.HeadersCommon, header)
	for _, dir := range []string{p.Dir, p.state("source")} {
		write(t, "obj-y += core.o\n", dir, "kernel/sched/Makefile")
		write(t, "#define IS_ENABLED(x) x\n", dir, "kernel/x.h")
		write(t, pre, dir, core)
		write(t, "int lost;\n", dir, "kernel/sched/lost.c")
	}
	unit := func(dir string) module.Unit {
		return module.Unit{Name: core, Deps: []string{dir + "/" + core, dir + "/kernel/x.h", dir + "/" + header, tg.HeadersCommon + "/" + header},
			Command: []string{"gcc", "-Wp,-MMD,/none", "-I" + dir + "/include", "-I" + tg.HeadersCommon + "/include", "-DCONFIG_ON=1", "-Werror",
				"-c", "-o", "core.o", dir + "/" + core}}
	}
	tree, err := p.tree(tg, p.Dir)
	if err != nil {
		t.Fatal(err)
	}
	in := &inputs{target: tg, config: &boundary.Config{}, tree: tree,
		pristine: map[string]module.Unit{core: unit(p.state("source"))}}
	k := bind.NewKernel(arch.X86, &boundary.Boundary{Sources: []string{SchedDir}}, nil)
	// settled is what becomes of the tree as it is, with something else that takes effect or not.
	settled := func(t *testing.T, changed bool) *bind.Changes {
		t.Helper()
		src, err := p.changes(t.Context(), tg)
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.sources(t.Context(), in, []module.Unit{unit(p.Dir)})
		if err != nil {
			t.Fatal(err)
		}
		c, err := k.CompareSources(t.Context(), src, s)
		if err != nil {
			t.Fatal(err)
		}
		if changed {
			c.Changed = []string{"f"}
		}
		if err := c.Settle(src, s); err != nil {
			t.Fatal(err)
		}
		return c
	}

	for _, tt := range []struct {
		name, core, header string
		changed            bool // something else takes effect
		refused, warned    []string
	}{
		{name: "nothing", core: pre},
		{name: "a comment", core: strings.Replace(pre, "int off;", "int /* it */ off;", 1)},
		{name: "no difference in code", core: pre + "extern int on;\n", refused: []string{core +
			":12: on is edited, but the compiler makes the same code"}},
		{name: "a known option that is off", core: strings.Replace(pre, "int off;", "int off2;", 1), refused: []string{
			core + ":8: what was edited in 8 (1 line) is compiled out by #if defined(CONFIG_OFF) && 1 in line 6 (CONFIG_OFF is off)",
			core + ":8: what was removed of the old 8 (1 line) was compiled out by #if defined(CONFIG_OFF)"}},
		{name: "the same beside an edit that counts", core: strings.NewReplacer("int off;", "int off2;", "int on;", "int on2;").Replace(pre),
			changed: true, warned: []string{
				core + ":8: what was edited in 8 (1 line) is compiled out", core + ":8: what was removed of the old 8"}},
		{name: "an option of Kconfig", core: pre + "#ifdef CONFIG_KNOWN\nint n;\n#endif\n", changed: true, warned: []string{core +
			":12: what was edited in 12-13 (2 lines)"}},
		{name: "an option of another architecture", core: pre + "#ifdef CONFIG_FAR\nint n;\n#endif\n", changed: true,
			warned: []string{core + ":12: what was edited in 12-13 (2 lines)"}},
		{name: "an option of the change's own", core: pre + "#ifdef CONFIG_MINE\nint n;\n#else\nint m;\n#endif\n", changed: true,
			refused: []string{
				core + ":12: CONFIG_MINE is an option that nothing defines, and leaves out what was edited (2 lines: " + core +
					":12-13); define it in the tree"}},
		{name: "the same, asked for in an expression", core: pre + "int n = IS_ENABLED(CONFIG_MINE);\n", changed: true, refused: []string{
			core + ":12: CONFIG_MINE is an option that nothing defines, and leaves out what was edited (1 line: "}},
		{name: "asked for in a condition", core: pre + "#if IS_ENABLED(CONFIG_MINE)\nint n;\n#endif\n", changed: true, refused: []string{
			core + ":12: CONFIG_MINE is an option that nothing defines, and leaves out what was edited (2 lines: " + core + ":12-13)"}},
		{name: "what runs without it", core: pre + "int n = !IS_ENABLED(CONFIG_MINE);\n", changed: true},
		{name: "a file that is not there", core: pre + "#ifdef CONFIG_MINE\n#include \"mine.h\"\nint n;\n#endif\n" +
			"#ifdef CONFIG_ON\nint m = IS_ENABLED(CONFIG_MINE);\n#endif\n", changed: true, refused: []string{core +
			":12: CONFIG_MINE is an option that nothing defines, and leaves out what was edited (4 lines: " + core + ":12-14, " + core + ":17)"}},
		{name: "a macro of the change's own", core: pre + "#ifdef SCHED_MINE\nint n;\n#endif\n", changed: true, refused: []string{core +
			":12: SCHED_MINE is a macro that nothing defines, and leaves out what was edited (2 lines: " + core + ":12-13); define it in"}},
		{name: "an option that is none", core: pre + "#if defined(CONFG_ON)\nint n;\n#endif\n", changed: true, refused: []string{core +
			":12: CONFG_ON is a macro that nothing defines"}},
		{name: "a macro that the kernel's source knows", core: pre + "#ifdef arch_far\nint n;\n#endif\n", changed: true,
			warned: []string{core +
				":12: what was edited in 12-13 (2 lines) is compiled out by #ifdef arch_far in line 12 (arch_far is not defined)"}},
		{name: "a macro with arguments", core: pre + "#define mine(x) x\n#ifdef mine\nint n;\n#endif\n#ifndef mine\nint m;\n#endif\n",
			changed: true, warned: []string{core +
				":16: what was edited in 16-17 (2 lines) is compiled out by #ifndef mine in line 16 (mine is defined)"}},
		{name: "a compiler's", core: pre + "#ifdef __aarch64__\nint n;\n#endif\n", changed: true, warned: []string{core +
			":12: what was edited in 12-13 (2 lines) is compiled out by #ifdef __aarch64__"}},
		{name: "nothing that can be said", core: pre + "#if 0\nint n;\n#endif\n", changed: true, warned: []string{core +
			":12: what was edited in 12-13 (2 lines) is compiled out by #if 0"}},
		{name: "one that is on, asked for", core: pre + "int n = IS_ENABLED(CONFIG_ON);\n", changed: true},
		{name: "one that is missed for another reason", core: pre + "#if defined(CONFIG_OFF) && !defined(CONFIG_MINE)\nint n;\n#endif\n",
			changed: true,
			warned: []string{core +
				":12: what was edited in 12-13 (2 lines) is compiled out by " +
				"#if defined(CONFIG_OFF) && !defined(CONFIG_MINE) in line 12 (CONFIG_OFF is off, CONFIG_MINE is off)"}},
		{name: "without which there is something", core: pre + "#ifndef CONFIG_MINE\nint n;\n#endif\n", changed: true},
		{name: "defined in the tree", header: "#ifndef _S\n#define _S\n#define CONFIG_MINE 1\n#endif\n", core: pre +
			"#ifdef CONFIG_MINE\nint n;\n#endif\n", changed: true},
		{name: "in a header", header: "#ifndef _S\n#define _S\n#ifdef CONFIG_MINE\nint n;\n#endif\n#endif\n", core: pre, changed: true,
			refused: []string{
				header + ":3: CONFIG_MINE is an option that nothing defines"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write(t, tt.core, p.Dir, core)
			if tt.header == "" {
				tt.header = "#ifndef _S\n#define _S\n#endif\n"
			}
			write(t, tt.header, p.Dir, header)
			c := settled(t, tt.changed)
			var refused []string
			for _, r := range c.Refusals {
				refused = append(refused, r.String())
			}
			begins := func(got, want string) bool { return strings.HasPrefix(got, want) }
			if !slices.EqualFunc(refused, tt.refused, begins) || !slices.EqualFunc(c.Warnings, tt.warned, begins) {
				t.Errorf("refused %q, warned %q", refused, c.Warnings)
			}
			if folder.Exists(p.state("macros")) {
				t.Error("the scratch directory is left")
			}
		})
	}

	// A file that no unit includes on this configuration.
	write(t, pre, p.Dir, core)
	write(t, "#ifndef _S\n#define _S\n#endif\n", p.Dir, header)
	write(t, "int lost = 1;\n", p.Dir, "kernel/sched/lost.c")
	c := settled(t, false)
	const want = "kernel/sched/lost.c:1: lost.c is changed, but no unit of this kernel's scheduler includes it " +
		"(kernel/sched/core.c does only on #ifdef CONFIG_OFF, line 3)"
	if len(c.Refusals) != 1 || !strings.HasPrefix(c.Refusals[0].String(), want) {
		t.Errorf("%q", c.Refusals)
	}
}
