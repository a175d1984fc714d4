// SPDX-License-Identifier: BSD-3-Clause

package image

import "testing"

func TestTree(t *testing.T) {
	type file struct{ name, dir, want string }
	for _, c := range []struct {
		name  string
		units []unitPath
		files []file
	}{
		{
			// Debian 6.1: -ffile-prefix-map for C, nothing for the assembler.
			"mapped",
			[]unitPath{
				{"kernel/sched/core.c", "debian/build/build_amd64"},
				{"arch/x86/kernel/head64.c", "debian/build/build_amd64"},
				{"/build/linux-6.1.192/arch/x86/kernel/head_64.S", "/build/linux-6.1.192/debian/build/build_amd64"},
				{"/build/linux-6.1.192/arch/x86/entry/entry.S", "/build/linux-6.1.192/debian/build/build_amd64"},
			},
			[]file{
				{"kernel/sched/core.c", "debian/build/build_amd64", "kernel/sched/core.c"},
				{"include/linux/list.h", "debian/build/build_amd64", "include/linux/list.h"},
				{"debian/build/build_amd64/include/generated/asm-offsets.h", "debian/build/build_amd64", "include/generated/asm-offsets.h"},
				{"/build/linux-6.1.192/arch/x86/entry/entry.S", "/build/linux-6.1.192/debian/build/build_amd64", "arch/x86/entry/entry.S"},
				{"/usr/lib/gcc/include/stddef.h", "debian/build/build_amd64", "/usr/lib/gcc/include/stddef.h"},
			},
		},
		{
			// The prefix only shows in where units are, not in any directory.
			"mapped, other directory",
			[]unitPath{
				{"arch/x86/kernel/head64.c", "."},
				{"/src/linux/arch/x86/kernel/head_64.S", "/obj"},
			},
			[]file{
				{"/src/linux/arch/x86/entry/entry.S", "/obj", "arch/x86/entry/entry.S"},
				{"/obj/include/generated/bounds.h", "/obj", "include/generated/bounds.h"},
			},
		},
		{
			// Debian's rt flavour: the source is a patched copy.
			"mapped, in a subdirectory",
			[]unitPath{
				{"debian/build/source_rt/init/main.c", "debian/build/build_rt"},
				{"debian/build/source_rt/kernel/sched/core.c", "debian/build/build_rt"},
				{"/build/linux-6.1.192/debian/build/source_rt/arch/x86/kernel/head_64.S", "/build/linux-6.1.192/debian/build/build_rt"},
			},
			[]file{
				{"debian/build/source_rt/kernel/sched/core.c", "debian/build/build_rt", "kernel/sched/core.c"},
				{"./arch/x86/include/generated/asm/bug.h", "debian/build/build_rt", "arch/x86/include/generated/asm/bug.h"},
				{"debian/build/build_rt/include/generated/bounds.h", "debian/build/build_rt", "include/generated/bounds.h"},
				{"/build/linux-6.1.192/debian/build/source_rt/arch/x86/entry/entry.S", "/build/linux-6.1.192/debian/build/build_rt",
					"arch/x86/entry/entry.S"},
			},
		},
		{
			// Debian 5.10 and make O=: absolute.
			"absolute",
			[]unitPath{
				{"/build/linux-5.10/kernel/sched/core.c", "/build/linux-5.10/debian/build/build_amd64"},
				{"/build/linux-5.10/arch/x86/kernel/head_64.S", "/build/linux-5.10/debian/build/build_amd64"},
				{"drivers/tty/vt/defkeymap.c", "/build/linux-5.10/debian/build/build_amd64"},
			},
			[]file{
				{"/build/linux-5.10/include/linux/list.h", "/build/linux-5.10/debian/build/build_amd64", "include/linux/list.h"},
				{"./include/generated/bounds.h", "/build/linux-5.10/debian/build/build_amd64", "include/generated/bounds.h"},
			},
		},
		{
			"relative to the object tree",
			[]unitPath{
				{"../../../kernel/sched/core.c", "/src/linux/debian/build/amd64"},
				{"../../../mm/slub.c", "/src/linux/debian/build/amd64"},
			},
			[]file{
				{"../../../kernel/sched/core.c", "/src/linux/debian/build/amd64", "kernel/sched/core.c"},
				{"../../../include/linux/list.h", "/src/linux/debian/build/amd64", "include/linux/list.h"},
				{"include/generated/bounds.h", "/src/linux/debian/build/amd64", "include/generated/bounds.h"},
			},
		},
		{
			"in the source tree",
			[]unitPath{{"kernel/sched/core.c", "/src/linux"}, {"arch/x86/entry/entry_64.S", "/src/linux"}},
			[]file{
				{"kernel/sched/core.c", "/src/linux", "kernel/sched/core.c"},
				{"./include/linux/list.h", "/src/linux", "include/linux/list.h"},
				{"/src/linux/include/linux/list.h", "/src/linux", "include/linux/list.h"},
			},
		},
		{"nothing", nil, []file{{"", "", ""}, {"a.c", "", "a.c"}}},
	} {
		tree := newTree(c.units)
		for _, f := range c.files {
			if got := tree.rel(f.name, f.dir); got != f.want {
				t.Errorf("%s: %s in %s is %s, want %s (prefixes %q)", c.name, f.name, f.dir, got, f.want, tree.roots)
			}
		}
	}
}
