// SPDX-License-Identifier: BSD-3-Clause

package image

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestStructs: who uses which member, in a kernel of three units, with DWARF of
// both kinds of location lists.
func TestStructs(t *testing.T) {
	for _, dwarf := range []string{"-gdwarf-4", "-gdwarf-5"} {
		t.Run(dwarf, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS("testdata/tiny")); err != nil {
				t.Fatal(err)
			}
			for file, text := range map[string]string{
				"shared.h": `struct inner { long a, b; };
					struct shared { long head; struct inner in; long mine, theirs, nobodys; void *next; long maybe; };
					extern void consume(long);`,
				"kernel/sched/core.c": `#include "../../shared.h"
					struct own { long x, y; }; struct own own_var;
					void __attribute__((noinline)) sched_fn(struct shared *s, struct own *o)
					{ consume(s->mine); consume(s->in.a); o->y = 1; consume(s->theirs); consume(s->maybe); consume(o->y); }
					void sched_var(struct own *o) { consume(own_var.x); consume(o->y); }`,
				"lib/lib.c": `#include "../shared.h"
					extern char own_var[16];
					void outsider(struct shared *s) { s->theirs = 3; consume(s->theirs); consume(s->in.b); consume(*(long *)(own_var + 0)); }
					void stranger(long *p, long n) { consume(p[7]); consume(n); }
					void __attribute__((noinline)) consume(long v) { asm volatile("" :: "r"(v)); }`,
			} {
				f, err := os.OpenFile(filepath.Join(dir, file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteString("\n" + text + "\n"); err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
			link(t, dir, filepath.Join(dir, "vmlinux"), "-g", dwarf)
			list, err := ReadStructs(context.Background(), filepath.Join(dir, "vmlinux"), Options{SourceDirs: []string{"kernel/sched"}})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []struct{ structure, member, by, outside string }{
				{"struct shared", "mine", ByScheduler, ""},
				{"struct shared", "theirs", ByOthers, "outsider"},
				{"struct shared", "in", ByOthers, "outsider"},
				{"struct shared", "nobodys", ByNobody, ""},
				{"struct shared", "maybe", ByPerhaps, ""},
				{"struct inner", "a", ByScheduler, ""},
				{"struct inner", "b", ByOthers, "outsider"},
				{"struct own", "x", ByOthers, "outsider"},
				{"struct own", "y", ByScheduler, ""},
			} {
				u, s := memberUse(list, want.structure, want.member)
				if u == nil {
					t.Errorf("%s.%s is not listed", want.structure, want.member)
					continue
				}
				if u.By() != want.by || want.outside != "" && !slices.Equal(u.Outside, []string{want.outside}) {
					t.Errorf("%s.%s: used by %s: %+v, want %s %s", want.structure, want.member, u.By(), *u, want.by, want.outside)
				}
				if know := slices.Equal(s.Units, []string{"lib/lib.c"}); know == (want.structure == "struct own") {
					t.Errorf("%s is known to %q", s.Name, s.Units)
				}
			}
			if u, _ := memberUse(list, "struct shared", "theirs"); u == nil || !slices.Equal(u.Writers, []string{"outsider"}) ||
				!slices.Equal(u.Inside, []string{"sched_fn"}) {
				t.Errorf("shared.theirs: %+v", u)
			}
			if u, _ := memberUse(list, "struct shared", "maybe"); u == nil || !slices.Equal(u.Perhaps, []string{"stranger"}) {
				t.Errorf("shared.maybe: %+v", u)
			}
		})
	}
}

func memberUse(list []*Structure, structure, member string) (*MemberUse, *Structure) {
	for _, s := range list {
		for i, m := range s.Members {
			if s.Name == structure && m.Name == member {
				return &s.Uses[i], s
			}
		}
	}
	return nil, nil
}
