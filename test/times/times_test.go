// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var module = map[string]string{
	"go.mod":        "module m\n\ngo 1.26\n",
	"none/none.go":  "package none\n",
	"bad/x_test.go": "package bad\n\nvar x int = \"\"\n",
	"good/x_test.go": `package good
import "testing"
func TestGood(t *testing.T) { t.Log("nobody asks") }
`,
	"a/x_test.go": `package a
import ("fmt"; "os"; "testing")
func TestMain(m *testing.M) { c := m.Run(); fmt.Println("guests booted: 3 of 7"); os.Exit(c) }
func TestFine(t *testing.T) { t.Log("hello") }
func TestParts(t *testing.T) {
	t.Attr("cpu-seconds", "1.5")
	t.Run("one", func(t *testing.T) { t.Attr("cpu-seconds", "2"); t.Error("wrong") })
	t.Run("two", func(t *testing.T) {})
}
func TestLater(t *testing.T) { t.Skip("not now") }
`,
	"dies/x_test.go": `package dies
import "testing"
func TestDies(t *testing.T) { t.Log("last words"); panic("at once") }
`,
}

var (
	seconds   = regexp.MustCompile(`\d+\.\d+s`)
	addresses = regexp.MustCompile(`0x[0-9a-f]+|goroutine \d+|\+0x\S+`)
	moment    = func(text string) string {
		return addresses.ReplaceAllString(seconds.ReplaceAllString(text, "0s"), "?")
	}
)

// TestPassThrough: go test with a listener says what it says without, and ends as it does.
func TestPassThrough(t *testing.T) {
	dir := t.TempDir()
	for name, text := range module {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tool := filepath.Join(dir, "times")
	if out, err := exec.Command("go", "build", "-o", tool, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(argv ...string) (out string, code int) {
		t.Helper()
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = dir
		text, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(text), cmd.ProcessState.ExitCode()
	}
	for _, argv := range [][]string{
		{"go", "test", "-count=1", "-p=1", "-vet=off", "./..."},
		{"go", "test", "-count=1", "-p=1", "-vet=off", "-v", "./a"},
		{"go", "test", "-count=1", "./good"},
		{"go", "test", "./nowhere"},
		{"sh", "-c", "echo out; echo err >&2; exit 7"},
	} {
		plain, want := run(argv...)
		listened, code := run(append([]string{tool, "target"}, argv...)...)
		if code != want {
			t.Errorf("%q: exit code %d, expected %d", argv, code, want)
		}
		if got, want := moment(listened), moment(plain); got != want {
			t.Errorf("%q: says\n%s\nexpected\n%s", argv, got, want)
		}
		notes, err := read(filepath.Join(dir, "build/times"))
		if err != nil || len(notes) != 1 || notes[0].Code != want || notes[0].Seconds <= 0 || notes[0].CPU <= 0 {
			t.Fatalf("%q: noted %+v, %v", argv, notes, err)
		}
		results, cpu := map[string]string{}, map[string]float64{}
		for _, one := range notes[0].Tests {
			results[one.Name], cpu[one.Name] = one.Result, one.CPU
		}
		if strings.Contains(plain, "TestParts") && (results["TestFine"] != "pass" || results["TestParts"] != "fail" ||
			results["TestParts/two"] != "pass" || results["TestLater"] != "skip" || notes[0].Guests != 3 || cpu["TestParts"] != 3.5) {
			t.Errorf("%q: noted %+v", argv, notes[0])
		}
	}
}

// TestAsItComes: what a test says is printed before the test ends.
func TestAsItComes(t *testing.T) {
	events, feed := io.Pipe()
	said, out := io.Pipe()
	l := listener{note: &note{}, out: out, verbose: true}
	done := make(chan error)
	go func() { done <- l.listen(events) }()
	io.WriteString(feed, `{"Action":"output","Package":"p","Test":"TestX","Output":"boot\n"}`+"\n")
	b := make([]byte, 5)
	if _, err := io.ReadFull(said, b); err != nil || string(b) != "boot\n" {
		t.Errorf("said %q, %v", b, err)
	}
	feed.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestTable: targets in their order, tests by their time, parts of tests not.
func TestTable(t *testing.T) {
	var b bytes.Buffer
	table(&b, []*note{
		{Target: "lint", Seconds: 20, Code: 1},
		{Target: "guest", Seconds: 100, CPU: 177, Guests: 9, Tests: []test{
			{"m/guest", "TestQuick", "pass", 1, 0, ""},
			{"m/guest", "TestSlow/part", "fail", 80, 30, ""}, {"m/guest", "TestSlow", "fail", 90, 40, ""}}},
	})
	text := b.String()
	at := -1
	for _, want := range []string{"20.0", "lint (exit code 1)", "100.0  ", "177  ", " 40  ", "guest", "120.0",
		"90.0       40.0  TestSlow guest (guest)  fail", "1.0        0.0  TestQuick"} {
		i := strings.Index(text[at+1:], want)
		if i < 0 {
			t.Fatalf("no %q, or not in its place:\n%s", want, text)
		}
		at += 1 + i
	}
	if strings.Contains(text, "part") {
		t.Errorf("a part is there:\n%s", text)
	}
}

// TestRepeated: the end of what a failed test said stands behind the table, and nothing of
// one that passed.
func TestRepeated(t *testing.T) {
	l := listener{note: &note{Target: "guest"}, out: io.Discard, verbose: true}
	events := `{"Action":"output","Package":"p","Test":"TestGood","Output":"fine\n"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"=== RUN   TestBad\n"}
` + strings.Repeat(`{"Action":"output","Package":"p","Test":"TestBad","Output":"before\n"}`+"\n", 3) +
		strings.Repeat(`{"Action":"output","Package":"p","Test":"TestBad","Output":"wrong\n"}`+"\n", lastLines) + `
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"fail","Package":"p","Test":"TestBad"}
`
	if err := l.listen(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	table(&b, []*note{l.note})
	_, text, _ := strings.Cut(b.String(), "==> TestBad failed (guest)\n")
	if want := "(3 lines before are left out)\n" + strings.Repeat("wrong\n", lastLines); strings.TrimSpace(text) != strings.TrimSpace(want) {
		t.Errorf("repeated:\n%s", b.String())
	}
}
