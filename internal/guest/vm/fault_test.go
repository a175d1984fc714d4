// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// report is a file of testdata/reports: lines "want KIND | LINE", an empty
// line, and console output.
func report(t *testing.T, path string) (want []Fault, console string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, console, ok := strings.Cut(string(b), "\n\n")
	if !ok {
		t.Fatalf("%s: no empty line", path)
	}
	for line := range strings.Lines(head) {
		kind, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " | ")
		if !ok {
			t.Fatalf("%s: %q", path, line)
		}
		want = append(want, Fault{Kind: Kind(strings.TrimPrefix(kind, "want ")), Line: text})
	}
	return want, console
}

func reports(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/reports/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no reports: %v", err)
	}
	return files
}

func TestScan(t *testing.T) {
	for _, path := range reports(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			want, console := report(t, path)
			for _, tc := range []struct{ name, text string }{
				{"as it is", console},
				{"with CRLF", strings.ReplaceAll(console, "\n", "\r\n")},
				{"with callers", regexp.MustCompile(`(?m)^\[.*?\] `).ReplaceAllString(console, "[    1.000000][  T123] ")},
			} {
				got := Scan([]byte(tc.text))
				for i := range got {
					if !strings.Contains(got[i].Excerpt, got[i].Line) || strings.Contains(got[i].Excerpt, "\r") {
						t.Errorf("%s: excerpt of %q:\n%s", tc.name, got[i].Line, got[i].Excerpt)
					}
					got[i].Excerpt = ""
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s:\n%s", tc.name, d)
				}
			}
		})
	}
}

func TestEveryRuleHasAnExample(t *testing.T) {
	used := map[*rule]bool{}
	for _, path := range reports(t) {
		want, _ := report(t, path)
		for _, f := range want {
			r := classify(f.Line)
			if r == nil {
				t.Errorf("%s: no rule for %q", path, f.Line)
			}
			used[r] = true
		}
	}
	for i := range rules {
		if !used[&rules[i]] {
			t.Errorf("no example of %v", rules[i].re)
		}
		if rules[i].why == "" {
			t.Errorf("no reason for %v", rules[i].re)
		}
	}
}

func TestScanCleanLogs(t *testing.T) {
	files, err := filepath.Glob("testdata/clean/*.txt")
	if err != nil || len(files) < 2 {
		t.Fatalf("clean logs: %v, %v", files, err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range Scan(b) {
			t.Errorf("%s: %s: %q", path, f.Kind, f.Line)
		}
	}
}

func TestExcerpt(t *testing.T) {
	_, console := report(t, "testdata/reports/oops-x86.txt")
	f := Scan([]byte(console))
	if len(f) != 2 {
		t.Fatalf("%d faults", len(f))
	}
	for _, tc := range []struct{ excerpt, first, last string }{
		{f[0].Excerpt, "BUG: kernel NULL", "---[ end trace"},
		{f[1].Excerpt, "Kernel panic", "---[ end Kernel panic"},
	} {
		lines := strings.Split(strings.TrimSpace(tc.excerpt), "\n")
		if !strings.HasPrefix(message(lines[0]), tc.first) {
			t.Errorf("excerpt begins with %q; want %q", lines[0], tc.first)
		}
		if end := message(lines[len(lines)-1]); !strings.HasPrefix(end, tc.last) {
			t.Errorf("excerpt ends with %q; want %q", end, tc.last)
		}
	}
	_, console = report(t, "testdata/reports/warning.txt")
	if e := Scan([]byte(console))[0].Excerpt; !strings.Contains(e, cutHere) || strings.Count(e, "\n") != 9 {
		t.Errorf("excerpt of a warning:\n%s", e)
	}
}

func TestSymbolise(t *testing.T) {
	lookup := func(a uint64) string {
		if a == 0xffffffff81000010 {
			return "schedule+0x10"
		}
		return ""
	}
	for in, want := range map[string]string{
		"RIP=ffffffff81000010 x":                     "RIP=ffffffff81000010 (schedule+0x10) x",
		"at 0xffffffff81000010":                      "at 0xffffffff81000010 (schedule+0x10)",
		"[<ffffffff81000010>] schedule+0x10/0xe0":    "[<ffffffff81000010>] schedule+0x10/0xe0",
		"ffffffff81000011 R8: ffff888000000000 0010": "ffffffff81000011 R8: ffff888000000000 0010",
		"effffffff81000010":                          "effffffff81000010",
	} {
		if got := Symbolise(in, lookup); got != want {
			t.Errorf("Symbolise(%q) = %q; want %q", in, got, want)
		}
	}
}
