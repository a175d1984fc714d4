// SPDX-License-Identifier: BSD-3-Clause

package plugsched_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"plugsched/ghost"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/operate/history"
	"plugsched/internal/operate/live"
	"plugsched/internal/operate/metrics"
	"plugsched/internal/outcome"
	"plugsched/scx"
)

// These tests hold the pages against the code where that can be done. Commands and their
// flags are held against the pages in cmd/plugsched.

// page is a Markdown file of ours.
type page struct{ path, text string }

// pages are all that git knows, or would add.
func pages(t *testing.T) []page {
	t.Helper()
	out, err := exec.Command("git", "ls-files", "-co", "--exclude-standard", "*.md").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []page
	for _, path := range strings.Fields(string(out)) {
		if text, err := os.ReadFile(path); err == nil { // else removed, not yet committed
			list = append(list, page{path, string(text)})
		}
	}
	if len(list) < 15 {
		t.Fatalf("only %d pages", len(list))
	}
	return list
}

// named is the page below docs/ with that name, wherever it is.
func named(t *testing.T, name string) page {
	t.Helper()
	for _, p := range pages(t) {
		if strings.HasPrefix(p.path, "docs/") && filepath.Base(p.path) == name {
			return p
		}
	}
	t.Fatalf("docs: no %s", name)
	return page{}
}

// line is where something is.
func (p page) line(offset int) string {
	return fmt.Sprintf("%s:%d", p.path, 1+strings.Count(p.text[:offset], "\n"))
}

// each calls f with the submatches of a pattern, and where they are.
func (p page) each(re *regexp.Regexp, f func(at string, m []string)) {
	for _, i := range re.FindAllStringSubmatchIndex(p.text, -1) {
		var m []string
		for j := 0; j < len(i); j += 2 {
			if i[j] < 0 {
				m = append(m, "")
			} else {
				m = append(m, p.text[i[j]:i[j+1]])
			}
		}
		f(p.line(i[0]), m)
	}
}

// table returns the rows of the table with that heading, in cells.
func (p page) table(t *testing.T, heading string) [][]string {
	t.Helper()
	_, rest, ok := strings.Cut(p.text, "\n| "+heading+" |")
	if !ok {
		t.Fatalf("%s: no table %q", p.path, heading)
	}
	var rows [][]string
	for i, line := range strings.Split(rest, "\n") {
		switch {
		case i < 2: // the rest of the heading, and the line below it
		case !strings.HasPrefix(line, "|"):
			return rows
		default:
			line = strings.TrimSuffix(strings.TrimPrefix(strings.ReplaceAll(line, `\|`, "\x00"), "|"), "|")
			cells := strings.Split(line, "|")
			for j := range cells {
				cells[j] = strings.ReplaceAll(strings.TrimSpace(cells[j]), "\x00", "|")
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

var quoted = regexp.MustCompile("`([^`\n]+)`")

// words are what is quoted in a cell.
func words(cell string) (list []string) {
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		list = append(list, m[1])
	}
	return list
}

// same complains of what only one of two lists has.
func same(t *testing.T, what string, documented, code []string) {
	t.Helper()
	for _, d := range documented {
		if !slices.Contains(code, d) {
			t.Errorf("%s: %q is documented, but not in the code", what, d)
		}
	}
	for _, c := range code {
		if !slices.Contains(documented, c) {
			t.Errorf("%s: %q is in the code, but not documented", what, c)
		}
	}
}

var (
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading      = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInAnchor  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are what a page's headings can be reached by.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		out[strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return out
}

// TestDocsLinks: links lead somewhere, their anchors too.
func TestDocsLinks(t *testing.T) {
	n := 0
	for _, p := range pages(t) {
		p.each(markdownLink, func(at string, m []string) {
			if strings.Contains(m[1], "://") {
				return
			}
			n++
			to, anchor, _ := strings.Cut(m[1], "#")
			path := p.path
			if to != "" {
				path = filepath.Join(filepath.Dir(p.path), to)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: a link to nothing: %s", at, m[1])
				return
			}
			if anchor == "" {
				return
			}
			if text, err := os.ReadFile(path); err != nil || !anchors(string(text))[anchor] {
				t.Errorf("%s: %s has no heading #%s", at, path, anchor)
			}
		})
	}
	if n < 50 {
		t.Errorf("only %d links were seen", n)
	}
}

var (
	ourPath = regexp.MustCompile("`((?:\\./|bin/)?(?:ansible|cmd|docs|examples|internal|kernels|runtime|scripts|scx|test)/" +
		"[A-Za-z0-9_./*{},-]*)`")
	// The kernel's, placeholders, identifiers.
	notOurPath = regexp.MustCompile(`^(scripts/(sign-file|checkpatch\.pl|kallsyms)|kernels?/.*\.c$)|NAME|\.[A-Z]`)
)

// TestDocsPaths: files of ours that pages name are there.
func TestDocsPaths(t *testing.T) {
	n := 0
	for _, p := range pages(t) {
		p.each(ourPath, func(at string, m []string) {
			if notOurPath.MatchString(m[1]) {
				return
			}
			n++
			for _, base := range []string{"", filepath.Dir(p.path)} { // README files name what is beside them
				if found, err := filepath.Glob(filepath.Join(base, m[1])); err == nil && len(found) > 0 {
					return
				}
			}
			t.Errorf("%s: there is no %s", at, m[1])
		})
	}
	if n < 50 {
		t.Errorf("only %d paths were seen", n)
	}
}

var (
	makeTarget = regexp.MustCompile("(?:`|\n    |^)make((?: -[sC]| [a-z/]+/[a-z/]+| [A-Z]+=\\S+)*)((?: [a-z][a-z-]*)*)")
	target     = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
)

// TestDocsTargets: what pages tell to make is in the Makefile, and its targets are told of.
func TestDocsTargets(t *testing.T) {
	targets := func(makefile string) (list []string) {
		text, err := os.ReadFile(makefile)
		if err != nil {
			t.Error(err)
		}
		for _, m := range target.FindAllStringSubmatch(string(text), -1) {
			list = append(list, m[1])
		}
		return list
	}
	told := map[string]bool{}
	for _, p := range pages(t) {
		p.each(makeTarget, func(at string, m []string) {
			makefile := "Makefile"
			if _, dir, ok := strings.Cut(m[1], "-C "); ok {
				makefile = filepath.Join(strings.Fields(dir)[0], "Makefile")
			}
			for _, name := range strings.Fields(m[2]) {
				told[name] = true
				if !slices.Contains(targets(makefile), name) {
					t.Errorf("%s: %s has no target %q", at, makefile, name)
				}
			}
		})
	}
	for _, name := range targets("Makefile") {
		if !told[name] && name != "all" && name != "setup" && name != "clean" {
			t.Errorf("no page tells of `make %s`", name)
		}
	}
}

var (
	testName = regexp.MustCompile(`\b((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)\b`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)\(`)
)

// TestDocsTests: tests that pages name are there, or begin with that name.
func TestDocsTests(t *testing.T) {
	var all []string
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if e != nil && e.IsDir() && (e.Name() == "build" || e.Name() == ".git") {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			all = append(all, m[1])
		}
		return err
	})
	if err != nil || len(all) < 200 {
		t.Fatalf("%d tests, %v", len(all), err)
	}
	for _, p := range pages(t) {
		p.each(testName, func(at string, m []string) {
			if !slices.ContainsFunc(all, func(name string) bool { return strings.HasPrefix(name, m[1]) }) {
				t.Errorf("%s: there is no test %s", at, m[1])
			}
		})
	}
}

// TestDocsKeys: the keys of plugsched.yaml.
func TestDocsKeys(t *testing.T) {
	var code, documented []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[boundary.Config]()) {
		if key := f.Tag.Get("yaml"); key != "" {
			code = append(code, key)
		}
	}
	for _, row := range named(t, "commands.md").table(t, "Section") {
		documented = append(documented, words(row[0])...)
	}
	same(t, "plugsched.yaml", documented, code)
}

// TestDocsExitCodes: the table has the codes of all outcomes.
func TestDocsExitCodes(t *testing.T) {
	var code, documented []string
	for _, o := range outcome.All() {
		code = append(code, fmt.Sprint(o.ExitCode()))
	}
	for _, row := range named(t, "commands.md").table(t, "Code") {
		documented = append(documented, row[0])
	}
	same(t, "exit codes", documented, code)
}

// TestDocsHistory: the results that the history may have.
func TestDocsHistory(t *testing.T) {
	code, documented := []string{history.Begun}, []string{}
	for _, o := range outcome.All() {
		code = append(code, o.String())
	}
	for _, row := range named(t, "operating.md").table(t, "Result") {
		documented = append(documented, words(row[0])...)
	}
	same(t, "history", documented, code)
}

var metricName = regexp.MustCompile(`(?m)^# TYPE (\S+)`)

// TestDocsMetrics: the metrics that there are.
func TestDocsMetrics(t *testing.T) {
	var text bytes.Buffer
	s := metrics.State{Status: &live.Status{Timings: &live.Timings{}}, Since: time.Now(),
		BPF: &scx.Snapshot{Events: map[string]int64{"x": 1}}}
	if err := s.Write(&text, metrics.Text); err != nil {
		t.Fatal(err)
	}
	var code, documented []string
	for _, m := range metricName.FindAllStringSubmatch(text.String(), -1) {
		code = append(code, m[1])
	}
	for _, row := range named(t, "operating.md").table(t, "Metric") {
		for _, w := range append(words(row[0]), words(row[1])...) {
			if name, _, _ := strings.Cut(w, "{"); strings.HasPrefix(name, "plugsched_") {
				documented = append(documented, name)
			}
		}
	}
	same(t, "metrics", documented, code)
}

// TestDocsGhostMetrics: the metrics of enclaves, and their labels.
func TestDocsGhostMetrics(t *testing.T) {
	var text bytes.Buffer
	if err := (ghost.Metrics{0: {}}).Write(&text); err != nil {
		t.Fatal(err)
	}
	var documented, code []string
	for _, m := range regexp.MustCompile(`(?m)^(plugsched_\w+\{.*?\}) `).FindAllStringSubmatch(text.String(), -1) {
		name := regexp.MustCompile(`="[^"]*"`).ReplaceAllString(m[1], "")
		if !slices.Contains(code, name) {
			code = append(code, name)
		}
	}
	for _, row := range named(t, "ghost.md").table(t, "Metric of an enclave") {
		documented = append(documented, words(row[0])...)
	}
	same(t, "ghost.md", documented, code)
}

var (
	sysfsFile = regexp.MustCompile(`__ATTR\((\w+), (0\d+),|__ATTR_(RO)\((\w+)\)|\.name = "(\w+)", \.mode = (0\d+)`)
	mayRead   = map[string]string{"0444": "everybody", "0644": "everybody", "0400": "root", "0600": "root", "0200": ""}
)

// TestDocsSysfs: the files of a module, and who may read and write them.
func TestDocsSysfs(t *testing.T) {
	modes := map[string]string{}
	sources, _ := filepath.Glob("runtime/*.c")
	for _, path := range sources {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range sysfsFile.FindAllStringSubmatch(string(text), -1) {
			switch {
			case m[3] == "RO":
				modes[m[4]] = "0444"
			case m[1] != "":
				modes[m[1]] = m[2]
			default:
				modes[m[5]] = m[6]
			}
		}
	}
	documented := map[string]string{}
	for _, row := range named(t, "rollback.md").table(t, "File") {
		documented[words(row[0])[0]] = row[1]
	}
	if !maps.Equal(modes, documented) {
		t.Errorf("rollback.md has %v, runtime/ has %v", documented, modes)
	}
	readable, writable := map[string][]string{}, []string{}
	for name, mode := range modes {
		if who := mayRead[mode]; who != "" {
			readable[who] = append(readable[who], name)
		}
		if strings.ContainsAny(mode[1:2], "26") {
			writable = append(writable, name)
		}
	}
	for _, row := range named(t, "security.md").table(t, "Who") {
		list, writes, _ := strings.Cut(row[1], ", write ")
		if list, ok := strings.CutPrefix(list, "read `"); ok {
			same(t, "security.md: what "+row[0]+" may read", words("`"+list), readable[row[0]])
		}
		if writes, _, ok := strings.Cut(writes, " ("); ok {
			same(t, "security.md: what "+row[0]+" may write", words(writes), writable)
		}
	}
}

// TestDocsVersions: the page about what goes with what has the numbers of the code.
func TestDocsVersions(t *testing.T) {
	for name, path := range map[string]string{"PLUGSCHED_ABI": "runtime/plugsched.h", "desc.Version": "internal/artefact/desc/desc.go",
		"markerFormat": "internal/kernel/fetch/store.go"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		short := name[strings.LastIndexByte(name, '.')+1:]
		m := regexp.MustCompile(`\b` + short + `[\s=]+(\d+)`).FindStringSubmatch(string(text))
		if m == nil {
			t.Fatalf("%s: no %s", path, short)
		}
		found := false
		for _, row := range named(t, "compatibility.md").table(t, "Number") {
			if row[0] == "`"+name+"`" {
				found = true
				if row[1] != m[1] {
					t.Errorf("%s is %s, the page says %s", name, m[1], row[1])
				}
			}
		}
		if !found {
			t.Errorf("the page does not tell of %s", name)
		}
	}
}

var ourPage = regexp.MustCompile(`\bdocs/[a-z/_-]+\.md`)

// TestCodeNamesPages: pages that code, messages and comments send a reader to are there.
func TestCodeNamesPages(t *testing.T) {
	out, err := exec.Command("git", "ls-files", "-co", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range strings.Fields(string(out)) {
		text, err := os.ReadFile(path)
		if err != nil || strings.Contains(path, "testdata/") || path == "docs_test.go" {
			continue
		}
		for _, name := range ourPage.FindAllString(string(text), -1) {
			n++
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s names %s, which is not there", path, name)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d were seen", n)
	}
}

// TestDocsPackages: the page about the code has every package in its table.
func TestDocsPackages(t *testing.T) {
	out, err := exec.Command("go", "list", "./internal/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var documented, code []string
	for _, row := range named(t, "development.md").table(t, "Folder") {
		for _, w := range words(row[0]) {
			if strings.HasPrefix(w, "internal/") {
				documented = append(documented, w)
			}
		}
	}
	for _, path := range strings.Fields(string(out)) {
		code = append(code, strings.TrimPrefix(path, "plugsched/"))
	}
	same(t, "development.md", documented, code)
}

// TestDocsSamples: the policy that docs/develop/ghost.md begins with is a package, and is tested as it says.
func TestDocsSamples(t *testing.T) {
	text := named(t, "ghost.md").text
	for file, from := range map[string]string{"newest.go": "// Package newest", "newest_test.go": "func TestNewest"} {
		code, err := os.ReadFile("ghost/newest/" + file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(code), from)
		if !ok || !strings.Contains(text, "```go\n"+from+rest+"```") {
			t.Errorf("ghost/newest/%s is not what the page has", file)
		}
	}
}
