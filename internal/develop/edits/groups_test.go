// SPDX-License-Identifier: BSD-3-Clause

package edits

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const conditional = `#ifndef _H
#define _H
int a;
#ifdef CONFIG_A /* two
lines */
int b;
# if defined(CONFIG_B) && \
	!defined(C)
int c;
# endif
#elif IS_ENABLED(CONFIG_D)
int d;
#else
int e;
#endif
#endif
`

func TestGroups(t *testing.T) {
	_, groups := readLines("a.h", conditional)
	var got []string
	for _, g := range groups {
		parent := 0
		if g.Parent != nil {
			parent = g.Parent.Line
		}
		got = append(got, fmt.Sprintf("%d after %d in %d: %s %v", g.Line, g.after, parent, g.Condition, g.Names))
	}
	want := []string{"1 after 1 in 0: #ifndef _H [_H]", "4 after 5 in 1: #ifdef CONFIG_A [CONFIG_A]",
		"7 after 8 in 4: #if defined(CONFIG_B) && !defined(C) [CONFIG_B C]",
		"11 after 11 in 1: #elif IS_ENABLED(CONFIG_D) of #ifdef CONFIG_A [CONFIG_A CONFIG_D]",
		"13 after 13 in 1: #else of #elif IS_ENABLED(CONFIG_D) of #ifdef CONFIG_A [CONFIG_A CONFIG_D]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	marked := Mark(conditional, groups, func(g *Group) string { return fmt.Sprint("M", g.Line) })
	for _, want := range []string{"#ifndef _H\n#define M1\n", "lines */\n#define M4\nint b", "!defined(C)\n#define M7\nint c",
		"#else\n#define M13\n"} {
		if !strings.Contains(marked, want) {
			t.Errorf("no %q in\n%s", want, marked)
		}
	}
}

func TestConditionNames(t *testing.T) {
	for text, want := range map[string]string{
		"#ifdef SCHED_BORE": "[SCHED_BORE]", "#if 0": "[]", "#if 0x10UL || 'A'": "[]", "#else CONFIG_A": "[]",
		"#if defined(CONFG_X) && defined MINE": "[CONFG_X MINE]", "#if IS_ENABLED(CONFIG_X) || IS_MINE": "[CONFIG_X IS_MINE]",
		"#if GCC >= VERSION(A, (B), C) && D > 1": "[GCC D]", "#if __has_attribute(fallthrough)": "[]", "#if": "[]",
	} {
		if _, groups := readLines("a.h", "#if 1\n"+text+"\n"); fmt.Sprint(groups[len(groups)-1].Names) != want {
			t.Errorf("%s: %v, want %s", text, groups[len(groups)-1].Names, want)
		}
	}
}

// TestRegions: which edits the compiler does not see, when it takes all groups but those of CONFIG_A and
// CONFIG_B, and of what is not 1.
func TestRegions(t *testing.T) {
	live := func(g *Group) bool {
		for ; g != nil; g = g.Parent {
			if strings.HasPrefix(g.Condition, "#ifdef") || strings.HasPrefix(g.Condition, "#if 0") {
				return false
			}
		}
		return true
	}
	const was = "int a;\n#ifdef CONFIG_A\nint b;\nint b2;\n#else\nint c;\n#endif\nint d;\n"
	for _, tt := range []struct {
		name, is string
		want     []string
	}{
		{"nothing", was, nil},
		{"a comment where nothing is compiled", strings.Replace(was, "int b;", "int b; /* more */\n\n// than that\n", 1), nil},
		{"lines broken elsewhere", strings.Replace(was, "int b;", "int\n\tb;", 1), nil},
		{"compiled", strings.Replace(was, "int c;", "int cc;", 1), nil},
		{"both sides", strings.NewReplacer("int b;", "int bb;", "int c;", "int cc;").Replace(was), []string{"3-3 1 CONFIG_A",
			"3-3 1 CONFIG_A gone"}},
		{"left out", strings.Replace(was, "int b;\n", "int b;\nint n;\nint m;\n", 1), []string{"4-5 2 CONFIG_A"}},
		{"left out and removed", strings.Replace(was, "int b;\n", "", 1), []string{"3-3 1 CONFIG_A gone"}},
		{"a condition of its own", was + "#ifdef CONFIG_B\nint n;\n#else\nint m;\n#endif\n", []string{"9-10 2 CONFIG_B"}},
		{"code that is taken out", strings.Replace(was, "int d;", "#if 0\nint d;\n#endif", 1), nil},
		{"code that is taken in", strings.NewReplacer("#ifdef CONFIG_A\n", "", "#else\nint c;\n#endif\n", "").Replace(was), nil},
		{"another condition that does not hold", strings.Replace(was, "CONFIG_A", "CONFIG_B", 1), []string{"2-2 1 CONFIG_B",
			"2-2 1 CONFIG_A gone"}},
	} {
		var got []string
		for _, r := range NewDiff("a.c", was, tt.is).Regions(live) {
			s := fmt.Sprintf("%d-%d %d %s", r.From, r.To, r.Lines, strings.Join(r.Names, " "))
			if r.Gone {
				s += " gone"
			}
			got = append(got, s)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// TestChangedLines: what is gone is where something else stands now.
func TestChangedLines(t *testing.T) {
	for _, tt := range []struct {
		was, is     string
		added, gone []int
	}{
		{"a b c", "a b c", nil, nil},
		{"a b c", "a x b y c", []int{1, 3}, nil},
		{"a b c", "a c", nil, []int{1}},
		{"a b c", "a b", nil, []int{2}},
		{"a b c", "a x c", []int{1}, []int{1}},
		{"a b a", "a a b", []int{2}, []int{1}},
		{"", "a", []int{0}, nil},
		{"a b", "", nil, []int{0, 0}},
	} {
		added, gone := ChangedLines(strings.Fields(tt.was), strings.Fields(tt.is))
		if diff := cmp.Diff([][]int{tt.added, tt.gone}, [][]int{added, gone}); diff != "" {
			t.Errorf("%q to %q: %s", tt.was, tt.is, diff)
		}
	}
}

// TestDiff: the lines that both have are found, through moves and repetition.
func TestDiff(t *testing.T) {
	for _, tt := range []struct{ was, is, want string }{
		{"a b c d", "a b c d", ""},
		{"a b c d", "a x c d", "-b +x"},
		{"a b c d", "d c b a", "-a -b -c +c +b +a"},
		{"} } } }", "} x } } }", "+x"},
		{"} a } b }", "} a } } c } b }", "+} +c +}"},
		{"", "a b", "+a +b"},
		{"a b", "", "-a -b"},
	} {
		lines := func(s string) string { return strings.ReplaceAll(s, " ", "\n") + "\n" }
		d := NewDiff("a.c", lines(tt.was), lines(tt.is))
		var got []string
		for _, l := range d.old {
			if l.same < 0 {
				got = append(got, "-"+l.text)
			} else if d.now[l.same].text != l.text {
				t.Errorf("%q, %q: %s is %s", tt.was, tt.is, l.text, d.now[l.same].text)
			}
		}
		for _, l := range d.now {
			if l.same < 0 {
				got = append(got, "+"+l.text)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%q, %q: %s, want %s", tt.was, tt.is, s, tt.want)
		}
		if d.Same() != (tt.want == "") {
			t.Errorf("%q, %q: Same()", tt.was, tt.is)
		}
	}
}

func TestInclude(t *testing.T) {
	const text = "#include \"a.c\"\n#ifdef CONFIG_B\n# include \"b.c\"\n#endif\n"
	for name, want := range map[string]string{"a.c": "", "b.c": "#ifdef CONFIG_B", "c.c": ""} {
		g := Include("x.c", text, name)
		if (g == nil) != (want == "") || g != nil && g.Condition != want {
			t.Errorf("%s: %+v", name, g)
		}
	}
}
