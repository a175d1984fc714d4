// SPDX-License-Identifier: BSD-3-Clause

package patch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/outcome"
)

func never(string) bool { return false }

// files are what patches do, in words.
func files(list []*Patch) (out []string) {
	for _, p := range list {
		for _, f := range p.Files {
			s := fmt.Sprintf("%s > %s %d", f.Old, f.New, len(f.Hunks))
			if f.Binary {
				s += " binary"
			}
			out = append(out, s)
		}
	}
	return out
}

const hunk = "@@ -1,3 +1,3 @@ static int f(void)\n a\n-b\n+c\n d\n"

// TestRead: what patches look like, and what each does.
func TestRead(t *testing.T) {
	mail := func(subject, rest string) string {
		return "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: =?utf-8?q?J=C3=BCrgen?= X <j@x.org>\n" +
			"Date: Sat, 21 Nov 2026 02:53:07 +0100\nSubject: [PATCH 1/2] " + subject + "\n\nWhy it is so.\n\n" + rest
	}
	plain := "--- a/kernel/x.c\n+++ b/kernel/x.c\n" + hunk
	for _, tt := range []struct {
		name, text string
		want       []string
		subject    string
		author     string
	}{
		{"plain", "Words.\n\nMore.\n" + plain, []string{"kernel/x.c > kernel/x.c 1"}, "Words.", ""},
		{"nameless", plain, []string{"kernel/x.c > kernel/x.c 1"}, "nameless", ""},
		{"times", strings.Replace(plain, "x.c\n", "x.c\t2026-11-21 10:00:00\n", 2), []string{"kernel/x.c > kernel/x.c 1"}, "times", ""},
		{"mail", mail("sched: A", "---\n x | 2 +-\n\n"+plain+"-- \n2.39\n"), []string{"kernel/x.c > kernel/x.c 1"},
			"sched: A", "Jürgen X <j@x.org>"},
		{"box", mail("sched: A", plain) + mail("sched: B", plain+"--- a/y\n+++ b/y\n"+hunk),
			[]string{"kernel/x.c > kernel/x.c 1", "kernel/x.c > kernel/x.c 1", "y > y 1"}, "sched: A", "Jürgen X <j@x.org>"},
		{"cover", mail("all of it", "") + mail("sched: B", plain), []string{"kernel/x.c > kernel/x.c 1"}, "sched: B", "Jürgen X <j@x.org>"},
		{"show", "commit 0123456789\nAuthor: A B <a@b>\nDate:   Sat Nov 21 02:53:07 2026 +0000\n\n    sched: C\n    \n    Body.\n\n" +
			"diff --git a/y b/y\n" + plain, []string{"kernel/x.c > kernel/x.c 1"}, "sched: C", "A B <a@b>"},
		{"renamed", "diff --git a/k/old.c b/k/new.c\nsimilarity index 90%\nrename from k/old.c\nrename to k/new.c\n" +
			"--- a/k/old.c\n+++ b/k/new.c\n" + hunk, []string{"k/old.c > k/new.c 1"}, "", ""},
		{"only renamed", "diff --git a/k/old.c b/k/new.c\nrename from k/old.c\nrename to k/new.c\n", []string{"k/old.c > k/new.c 0"}, "", ""},
		{"new", "diff --git a/n.c b/n.c\nnew file mode 100644\n--- /dev/null\n+++ b/n.c\n@@ -0,0 +1 @@\n+x\n", []string{" > n.c 1"}, "", ""},
		{"gone", "diff --git a/n.c b/n.c\ndeleted file mode 100644\n--- a/n.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n", []string{"n.c >  1"}, "", ""},
		{"empty", "diff --git a/n b/n\nnew file mode 100644\nindex 000..111\n", []string{" > n 0"}, "", ""},
		{"mode", "diff --git a/n b/n\nold mode 100644\nnew mode 100755\n" + plain, []string{"kernel/x.c > kernel/x.c 1"}, "", ""},
		{"binary", "diff --git a/p.png b/p.png\nnew file mode 100644\nindex 0..1\nGIT binary patch\nliteral 3\nKcmZ\n\n" + plain,
			[]string{" > p.png 0 binary", "kernel/x.c > kernel/x.c 1"}, "", ""},
		{"returns", strings.ReplaceAll(plain, "\n", "\r\n"), []string{"kernel/x.c > kernel/x.c 1"}, "", ""},
		{"mailed returns", strings.ReplaceAll(mail("sched: D", plain), "\n", "\r\n"), []string{"kernel/x.c > kernel/x.c 1"}, "sched: D", ""},
		{"svn", "Index: x.c\n=====\n--- linux.orig/kernel/x.c\n+++ linux/kernel/x.c\n" + hunk, []string{"kernel/x.c > kernel/x.c 1"}, "", ""},
	} {
		path := filepath.Join(t.TempDir(), tt.name+".patch")
		if err := os.WriteFile(path, []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		list, err := Read(t.Context(), path, nil, never)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := files(list); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if tt.subject != "" && list[0].Subject != tt.subject || tt.author != "" && list[0].Author != tt.author {
			t.Errorf("%s: %q by %q", tt.name, list[0].Subject, list[0].Author)
		}
		for _, p := range list {
			for _, f := range p.Files {
				for _, h := range f.Hunks {
					if strings.Contains(fmt.Sprint(h.Lines), "\r") {
						t.Errorf("%s: carriage returns are left: %q", tt.name, h.Lines)
					}
				}
			}
		}
	}
	list, err := Read(t.Context(), "-", strings.NewReader(plain), never)
	if err != nil || len(list) != 1 {
		t.Errorf("standard input: %v, %v", list, err)
	}
}

// TestReadBare: names with nothing in front are told by the files that there are.
func TestReadBare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(path, []byte("--- kernel/x.c\n+++ kernel/x.c\n"+hunk), 0o644); err != nil {
		t.Fatal(err)
	}
	list, err := Read(t.Context(), path, nil, func(path string) bool { return path == "kernel/x.c" })
	if err != nil || !slices.Equal(files(list), []string{"kernel/x.c > kernel/x.c 1"}) {
		t.Errorf("%q, %v", files(list), err)
	}
}

// TestQuilt: the order is that of the series, and each patch has its own depth.
func TestQuilt(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"series":   "# ours\nsched/b.patch\n\na.patch -p0 # flat\n",
		"a.patch":  "--- x\n+++ x\n" + hunk,
		"b.patch":  "", // made below
		"c.patch":  "not named",
		"bb.patch": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "sched"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sched/b.patch"), []byte("--- a/y\n+++ b/y\n"+hunk), 0o644); err != nil {
		t.Fatal(err)
	}
	list, err := Read(t.Context(), dir, nil, never)
	if err != nil || !slices.Equal(files(list), []string{"y > y 1", "x > x 1"}) {
		t.Errorf("%q, %v", files(list), err)
	}
	if _, err := Read(t.Context(), t.TempDir(), nil, never); outcome.Of(err) != outcome.Precondition {
		t.Errorf("no series: %v", err)
	}
}

// TestReadRefused: what cannot be read is said, with the line.
func TestReadRefused(t *testing.T) {
	for text, want := range map[string]string{
		"hello\n": "has no patch in it",
		"--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n-b\n":               "p:3: a hunk that ends too early",
		"--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\nb\n c\n":            "p:5: is no line of a hunk",
		"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n-b\n":                   "p:3: a hunk with other lines",
		"--- a/x\n+++ b/../../x\n" + hunk:                           "is no path in a kernel's tree",
		"--- a/x\n+++ b/.git/config\n" + hunk:                       "is no path in a kernel's tree",
		"--- a/x\n+++ b/.plugsched/target.json\n" + hunk:            "is no path in a kernel's tree",
		"--- a/x\n+++ /etc/passwd\n" + hunk:                         "",
		"diff --cc x\n--- a/x\n+++ b/x\n@@@ -1,1 -1,1 +1,1 @@@\n x": "the difference of a merge",
	} {
		path := filepath.Join(t.TempDir(), "p")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Read(t.Context(), path, nil, never)
		var wrong *FormatError
		if want == "" {
			continue // the first directory is taken from it, as from any name: etc/passwd
		}
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func parseOne(t *testing.T, text string) *Hunk {
	t.Helper()
	list, err := Parse("p", "--- a/x\n+++ b/x\n"+text, 1)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	return list[0].Hunks[0]
}

// TestPut: where hunks go.
func TestPut(t *testing.T) {
	const two = "int g(void)\n a\n "
	for _, tt := range []struct{ name, text, hunk, want, wrong string }{
		{"at its line", "a\nb\nd\n", hunk, "a\nc\nd\n", ""},
		{"elsewhere", "1\n2\n3\na\nb\nd\n", hunk, "1\n2\n3\na\nc\nd\n", ""},
		{"nearest", "a\nb\nd\n1\na\nb\nd\n", "@@ -6,3 +6,3 @@\n a\n-b\n+c\n d\n", "a\nb\nd\n1\na\nc\nd\n", ""},
		{"the function's", "x\nint g(void)\n a\n b\n d\nstatic int f(void)\n a\n b\n d\n",
			"@@ -2,3 +2,3 @@ static int f(void)\n  a\n- b\n+ c\n  d\n", "x\nint g(void)\n a\n b\n d\nstatic int f(void)\n a\n c\n d\n", ""},
		{"already", "a\nc\nd\n", hunk, "already", ""},
		{"another line", "a\nx\nd\n", hunk, "", `2: the patch expects "b", and here is "x"`},
		{"nothing like it", "1\n2\n3\n", hunk, "", `0: nothing here is like what the patch expects ("a")`},
		{"at the end", "a\nb\n", hunk, "", `3: the patch expects "d" where the file ends`},
		{"into nothing", "", "@@ -0,0 +1,2 @@\n+x\n+y\n", "x\ny\n", ""},
		{"into something", "a\n", "@@ -0,0 +1,2 @@\n+x\n+y\n", "", `1: the patch expects "an empty file", and here is "a"`},
		{"into the same", "x\ny\n", "@@ -0,0 +1,2 @@\n+x\n+y\n", "already", ""},
		{"without surroundings", "a\nb\n", "@@ -1,0 +2 @@\n+x\n", "",
			"1: the patch only adds lines and has none around them, by which to know the place"},
		{"without surroundings already", "a\nx\nb\n", "@@ -1,0 +2 @@\n+x\n", "already", ""},
		{"the function's at another's line", two + "b\n d\nint f(void)\n a\n b\n d\n", "@@ -2,3 +2,3 @@ int f(void)\n  a\n- b\n+ c\n  d\n",
			two + "b\n d\nint f(void)\n a\n c\n d\n", ""},
		{"another function's already", two + "c\n d\nint f(void)\n a\n b\n d\n", "@@ -2,3 +2,3 @@ int f(void)\n  a\n- b\n+ c\n  d\n",
			two + "c\n d\nint f(void)\n a\n c\n d\n", ""},
		{"the function's already", two + "b\n d\nint f(void)\n a\n c\n d\n", "@@ -2,3 +2,3 @@ int f(void)\n  a\n- b\n+ c\n  d\n", "already", ""},
		{"two others' already", two + "c\n d\nint h(void)\n a\n c\n d\nint f(void)\n x\n",
			"@@ -9,3 +9,3 @@ int f(void)\n  a\n- b\n+ c\n  d\n", "", `7: the patch expects "b", and here is "c"`},
		{"a head cut off", two + "b\n d\nint f(void)\n a\n b\n d\n", "@@ -2,3 +2,3 @@ int f(v\n  a\n- b\n+ c\n  d\n",
			two + "b\n d\nint f(void)\n a\n c\n d\n", ""},
		{"no end of line", "a", "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n", "b\n", ""},
		{"a line that repeats", "a\na\na\n", "@@ -1,3 +1,4 @@\n a\n+a\n a\n a\n", "a\na\na\na\n", ""},
	} {
		text := NewText(tt.text)
		p, err := text.Put(parseOne(t, tt.hunk))
		var wrong *MismatchError
		switch {
		case tt.wrong != "":
			if !errors.As(err, &wrong) || fmt.Sprintf("%d: %v", wrong.Line, wrong) != tt.wrong {
				t.Errorf("%s: %v", tt.name, err)
			} else if text.String() != tt.text {
				t.Errorf("%s: the text changed: %q", tt.name, text)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want == "already":
			if !p.Already || text.String() != tt.text {
				t.Errorf("%s: %v, %q", tt.name, p, text)
			}
		case text.String() != tt.want || p.Already:
			t.Errorf("%s: %q, %v", tt.name, text, p)
		}
	}
}

// TestPlaces: what comes in before moves the places of what came earlier, and a shift that one hunk met helps the next.
func TestPlaces(t *testing.T) {
	text := NewText("0\n0\na\nb\nd\n0\n0\n0\na\nb\nd\n")
	second, err := text.Put(parseOne(t, "@@ -9,3 +9,3 @@\n a\n-b\n+c\n d\n"))
	if err != nil || second.From != 10 || second.To != 10 {
		t.Fatalf("%v, %v", second, err)
	}
	first, err := text.Put(parseOne(t, "@@ -3,3 +3,5 @@\n a\n-b\n+x\n+y\n+z\n d\n"))
	if err != nil || first.From != 4 || first.To != 6 || second.From != 12 {
		t.Errorf("%v, %v, %v", first, second, err)
	}
	if want := "0\n0\na\nx\ny\nz\nd\n0\n0\n0\na\nc\nd\n"; text.String() != want {
		t.Errorf("%q", text)
	}
	if !text.Only(parseOne(t, "@@ -90,6 +90,6 @@\n xx\n xy\n xz\n yy\n-ab\n+ac\n zz\n")) == text.Only(parseOne(t, hunk)) {
		t.Error("a few short lines tell no place")
	}
}

// TestConnect: what only makes sense together stays together.
func TestConnect(t *testing.T) {
	file := func(s string) string { return "--- a/x\n+++ b/x\n" + s }
	list, err := Parse("p", file("@@ -1,1 +1,2 @@\n a\n+int fresh;\n")+"@@ -9,1 +10,2 @@\n b\n+\tuse(fresh);\n"+
		"@@ -20,1 +22,2 @@\n c\n+\tuse(stale);\n"+
		"@@ -30,3 +33,1 @@\n-static int moves(int a)\n-{\n c\n"+"@@ -40,1 +41,3 @@\n c\n+static int moves(int a)\n+{\n", 1)
	if err != nil {
		t.Fatal(err)
	}
	is := "fresh stale"
	groups := Connect(list[0].Hunks, []Version{{"", is}}, func(*Hunk) []string { return nil }, func(w string) bool { return w != "fresh" })
	var got []string
	for _, g := range groups {
		var lines []int
		for _, h := range g {
			lines = append(lines, h.Old)
		}
		got = append(got, fmt.Sprint(lines))
	}
	if want := []string{"[1 9]", "[20]", "[30 40]"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
