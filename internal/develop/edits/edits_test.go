// SPDX-License-Identifier: BSD-3-Clause

package edits

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const source = `/* SPDX */
#ifndef _H
#define _H
#include <linux/list.h>
#define ONE 1 // one
#define LONG(x) \
	do { (x)++; } while (0)
struct rq;
extern void decl(int, struct rq *) __attribute__((noreturn));
typedef unsigned long word_t;
typedef struct { int a; } pair_t;
struct rq {
	int nr; /* a { brace */
#ifdef CONFIG_X
	int x;
#endif
	struct { int in; } sub;
};
enum state { A, B = 4, };
enum { ANON };
static int counter = 3, *pointer;
const char *names[] = { "}", '"', };
DEFINE_PER_CPU(int, percpu);
static __always_inline struct rq *
get(struct rq *rq) __releases(rq->lock)
{
#ifdef CONFIG_X
	if (rq->nr) {
#else
	{
#endif
		LONG(rq->nr);
	}
	return rq;
}
__printf(1, 2) int format(const char *f, ...)
{
	return ONE + helper();
}
SYSCALL_DEFINE1(mine, int, x)
{
	return x;
}
EXPORT_SYMBOL_GPL(get);
static const struct ops ops = { .get = get };
#if 0
int never;
#endif
#endif
`

func TestScan(t *testing.T) {
	var got []string
	for _, i := range Scan("a.h", source) {
		s := fmt.Sprintf("%d %s %s", i.Line, i.Kind, i.Name)
		if i.Macro != "" {
			s += " by " + i.Macro
		}
		got = append(got, s)
	}
	want := []string{"3 macro _H", "5 macro ONE", "6 macro LONG", "8 variable rq", "9 declaration decl", "10 type word_t",
		"11 type pair_t", "12 type struct rq",
		"19 enum enum state", "20 enum enum ANON", "21 variable counter", "22 variable names", "23 call int by DEFINE_PER_CPU",
		"25 function get", "36 function format",
		"40 function mine by SYSCALL_DEFINE1", "44 call get by EXPORT_SYMBOL_GPL", "45 variable ops", "47 variable never"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestScanItems: text that is easily taken for something else.
func TestScanItems(t *testing.T) {
	for text, want := range map[string]string{
		"SD_FLAG(SD_A, X | Y)\n\n/* b */\nSD_FLAG(SD_B, X)\nSD_FLAG(SD_C,\n\tX)\n": "call SD_A by SD_FLAG; call SD_B by SD_FLAG; call SD_C by SD_FLAG",
		"SCHED_FEAT(A, true)\n#ifdef X\nSCHED_FEAT(B, true)\n#else\nSCHED_FEAT(B, false)\n#endif\nint x;\n": "call A by SCHED_FEAT; call B by SCHED_FEAT; " +
			"call B by SCHED_FEAT; variable x",
		"SYSCALL_DEFINE1(f, int, x)\n{\n}\n":           "function f by SYSCALL_DEFINE1",
		"__printf(1, 2)\nint f(const char *s)\n{\n}\n": "function f",
		"LIST_HEAD(l);\nint y;\n":                      "call l by LIST_HEAD; variable y",
		"DEFINE_PER_CPU(int, n) = 3;\n":                "variable int by DEFINE_PER_CPU",
		"int x __attr;\n":                              "variable x",
		"static unsigned long x __read_mostly = 3;\n":  "variable x",
		"int __x;\n":         "variable __x",
		"struct rq *__rq;\n": "variable __rq",
		"static struct rq __percpu *q ____aligned;\n":         "variable q",
		"u64 x[3] __section(\"a\");\n":                        "variable x",
		"int x __aligned(8);\n":                               "variable x",
		"struct rq *__task_rq_lock(struct task_struct *p);\n": "declaration __task_rq_lock",
		"int __nosavedata quiet;\n":                           "variable quiet",
		"const_debug unsigned int sysctl_x = 5;\n":            "variable sysctl_x",
	} {
		var got []string
		for _, i := range Scan("a.h", text) {
			s := fmt.Sprintf("%s %s", i.Kind, i.Name)
			if i.Macro != "" {
				s += " by " + i.Macro
			}
			got = append(got, s)
		}
		if s := strings.Join(got, "; "); s != want {
			t.Errorf("%q: %s, want %s", text, s, want)
		}
	}
	s := &Set{}
	s.Compare("a.h", "SD_FLAG(A, 1)\nSD_FLAG(B, 1)\nSD_FLAG(C, 1)\n", "SD_FLAG(A, 1)\nSD_FLAG(B, 2)\nSD_FLAG(C, 1)\n")
	if len(s.Changes) != 1 || s.Changes[0].Name != "B" || s.Changes[0].At != 2 {
		t.Errorf("%+v", s.Changes)
	}
}

// TestScanPieces: text that begins or ends anywhere is no reason to fail.
func TestScanPieces(t *testing.T) {
	for i := range source {
		Scan("a.h", source[:i])
		Scan("a.h", source[i:])
	}
}

// changed returns the changes between source and an edited form of it.
func changed(t *testing.T, pairs ...string) *Set {
	t.Helper()
	is := source
	for i := 0; i+1 < len(pairs); i += 2 {
		if !strings.Contains(is, pairs[i]) {
			t.Fatalf("no %q", pairs[i])
		}
		is = strings.Replace(is, pairs[i], pairs[i+1], 1)
	}
	s := &Set{}
	s.Compare("a.h", source, is)
	return s
}

func TestCompare(t *testing.T) {
	for _, tt := range []struct {
		name, from, to string
		want           []string
	}{
		{"comment", "// one", "/* two\nlines */", nil},
		{"white space", "return rq;", "\treturn\n\n rq ;", nil},
		{"macro", "ONE 1", "ONE 2", []string{"5 macro ONE"}},
		{"macro over lines", "(x)++", "(x)--", []string{"7 macro LONG"}},
		{"function", "return ONE + helper();", "helper();\n\treturn ONE;", []string{"38 function format"}},
		{"end of a function", "\treturn rq;\n", "", []string{"34 function get"}},
		{"condition in a function", "#ifdef CONFIG_X\n\tif", "#ifdef CONFIG_Y\n\tif", []string{"27 function get"}},
		{"condition around", "#if 0", "#if 1", []string{"47 variable never"}},
		{"member", "int x;", "long x;", []string{"15 type struct rq"}},
		{"new macro", "#define ONE", "#define TWO 2\n#define ONE", []string{"5 macro TWO new"}},
		{"removed", "enum { ANON };\n", "", []string{"20 enum enum ANON gone"}},
		{"export", "EXPORT_SYMBOL_GPL(get)", "EXPORT_SYMBOL(get)", []string{"44 call get new", "44 call get gone"}},
		{"declaration", "decl(int,", "decl(long,", []string{"9 declaration decl"}},
		{"second definition", "#define ONE 1", "#define ONE 1\n#define ONE 1", []string{"6 macro ONE"}},
	} {
		var got []string
		for _, c := range changed(t, tt.from, tt.to).Changes {
			s := fmt.Sprintf("%d %s %s", c.At, c.Kind, c.Name)
			if c.New {
				s += " new"
			}
			if c.Gone {
				s += " gone"
			}
			got = append(got, s)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestAppended(t *testing.T) {
	for to, want := range map[string]bool{
		"enum state { A, B = 4, C, };":    true,
		"enum state { A, B = 4, C = 9 };": true,
		"enum state { Z, A, B = 4, };":    false,
		"enum state { A, B = 5, C };":     false,
		"enum state { A };":               false,
	} {
		s := changed(t, "enum state { A, B = 4, };", to)
		if len(s.Changes) != 1 || s.Changes[0].Appended() != want {
			t.Errorf("%s: %v", to, !want)
		}
	}
}

func TestCauses(t *testing.T) {
	s := changed(t, "ONE 1", "ONE 2", "(x)++", "(x)--", "int x;", "long x;")
	s.Add("b.c", `static int helper(void) { return ONE; }
		void user(struct rq *rq) { helper(); get(rq); }
		void quiet(void) { helper(); }
		void taker(void) { register(helper); }
		#define wrapped() (wrapped() + ONE)
		int wrapped(void) { return get(0); }`)
	for _, tt := range []struct {
		function, inlined string
		want              []string
	}{
		{"format", "", []string{"ONE: ONE"}},
		{"get", "", []string{"struct rq: rq", "LONG: LONG"}},
		{"user", "helper get", []string{"struct rq: rq", "ONE: helper ONE", "LONG: get LONG"}},
		{"user", "get", []string{"struct rq: rq", "LONG: get LONG"}},
		{"user", "", []string{"struct rq: rq"}},
		{"quiet", "", nil},
		{"taker", "", nil},
		{"wrapped", "", []string{"ONE: ONE"}},
	} {
		var got []string
		for _, c := range s.Causes(tt.function, func(name string) bool { return strings.Contains(" "+tt.inlined+" ", " "+name+" ") }) {
			got = append(got, c.Name+": "+strings.Join(c.Path, " "))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s with %q inlined: %s", tt.function, tt.inlined, diff)
		}
	}
	if own := changed(t, "return x;", "return 2;").Causes("mine", func(string) bool { return false }); len(own) != 1 || own[0].Path != nil {
		t.Errorf("own change: %+v", own)
	}
	if !s.Knows("helper") || s.Knows("decl") || s.Knows("ONE") {
		t.Error("Knows")
	}
	s = changed(t, "return rq;", "return 0;")
	s.Add("b.c", "void user(struct rq *rq) { get(rq); }")
	for inlined, want := range map[bool]int{true: 1, false: 0} {
		if got := s.Causes("user", func(string) bool { return inlined }); len(got) != want {
			t.Errorf("a changed function, inlined: %v, is the cause %d times", inlined, len(got))
		}
	}
}

func TestMention(t *testing.T) {
	const text = "/* word */\n// word\nint words; char *s = \"word\";\n#define A \\\n\tword\nint word;\n"
	if line := Mention(text, "word"); line != 5 {
		t.Errorf("line %d", line)
	}
	if line := Mention(text, "wor"); line != 0 {
		t.Errorf("part of a word: line %d", line)
	}
}

func TestLoad(t *testing.T) {
	tree, was := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		tree + "/kernel/a.c": "int a = 1;\n", was + "/kernel/a.c": "int a;\n",
		tree + "/kernel/same.c": "int b;\n", was + "/kernel/same.c": "int b;\n",
		tree + "/kernel/new.c": "int c;\n", tree + "/kernel/Makefile": "x", tree + "/mm/not.c": "int d;\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Load(t.Context(), tree, []string{"kernel", "missing"}, func(rel string) (string, error) {
		if path := filepath.Join(was, rel); rel != "kernel/new.c" && rel != "kernel/Makefile" {
			return path, nil
		}
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"kernel/Makefile", "kernel/a.c", "kernel/new.c"}, s.Files); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"kernel/Makefile", "kernel/new.c"}, s.New); diff != "" {
		t.Error(diff)
	}
	if c := s.Find("a", Variable); c == nil || c.New || c.File != "kernel/a.c" {
		t.Errorf("a: %+v", c)
	}
}

func TestHeld(t *testing.T) {
	const head = "struct env { int a; };\n"
	for text, want := range map[string]bool{
		"int x;":      false,
		"struct env;": false,
		"int f(struct env *e, int n) { return e->a == n && &e->a; }":               false,
		"int f(void) { struct env e = { 1 }, g; return use(&e); }":                 false,
		"int f(struct env e) { return e.a; }":                                      false,
		"/* (struct env *)p */ char *s = \"(struct env *)p\";":                     false,
		"int f(void *p) { return ((struct env *)p)->a; }":                          true,
		"void *f(void) { return kmalloc(sizeof(struct env)); }":                    true,
		"int f(struct list *l) { return list_entry(l, struct env, a)->a; }":        true,
		"DEFINE_PER_CPU(struct env, envs);":                                        true,
		"int f(void) { return use(&(struct env){ 1 }); }":                          true,
		"#define ENV(p) ((struct env *)p)":                                         true,
		"int f(struct env *e) { e = next(); return e->a; }":                        true,
		"int f(struct env *e) { fill(&e); return e->a; }":                          true,
		"int f(struct env *e) { list_for_each_entry(e, &l, a) use(e); return 0; }": true,
		"int f(struct env const *e) { return e->a; }":                              true,
		"int f(struct env **e) { return (*e)->a; }":                                true,
	} {
		if Held(head+text, "env") != want {
			t.Errorf("%s: held %v", text, !want)
		}
	}
}
