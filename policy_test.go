// SPDX-License-Identifier: BSD-3-Clause

package plugsched

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tracked lists the files that git knows or would add.
func tracked(t *testing.T) []string {
	out, err := exec.Command("git", "ls-files", "-co", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// TestLicences: every file of ours says its licence in its first lines.
func TestLicences(t *testing.T) {
	// Formats without comments, generated files, and data that tests compare.
	exempt := func(path string) bool {
		switch filepath.Ext(path) {
		case ".patch", ".sum", ".mod", ".txt", ".log", ".o":
			return true
		}
		return strings.Contains(path, "testdata/") || filepath.Base(path) == ".gitignore"
	}
	for _, path := range tracked(t) {
		if exempt(path) {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			continue // removed, not yet committed
		}
		want := "SPDX-License-Identifier: BSD-3-Clause"
		if strings.HasPrefix(path, "runtime/") || strings.HasPrefix(path, "scx/bpf/") || strings.HasPrefix(path, "test/kmod/") {
			want = "SPDX-License-Identifier: GPL-2.0-only"
		}
		head := strings.Join(strings.SplitN(string(text), "\n", 4)[:min(3, strings.Count(string(text), "\n")+1)], "\n")
		if !strings.Contains(head, want) {
			t.Errorf("%s: no %q in its first lines", path, want)
		}
	}
}

// TestTags: all build tags are in the Makefile's TAGS, and none is negated, so that linters which
// are run once, with all of them, see every file.
func TestTags(t *testing.T) {
	text, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?m)^TAGS = (.*)$`).FindSubmatch(text)
	if list == nil {
		t.Fatal("the Makefile has no TAGS")
	}
	known := strings.Split(string(list[1]), ",")
	for _, path := range tracked(t) {
		if filepath.Ext(path) != ".go" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			continue // removed, not yet committed
		}
		line := regexp.MustCompile(`(?m)^//go:build (.*)$`).FindSubmatch(text)
		if line == nil {
			continue
		}
		for _, tag := range strings.Split(string(line[1]), " && ") {
			if !slices.Contains(known, tag) {
				t.Errorf("%s: the linters do not look at it: %s", path, line[0])
			}
		}
	}
}

// TestPackageDocs: every package says in a sentence what it is.
func TestPackageDocs(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() || strings.HasPrefix(path, "build") || strings.HasPrefix(e.Name(), ".") && path != "." {
			return err
		}
		files, err := filepath.Glob(filepath.Join(path, "*.go"))
		if err != nil {
			return err
		}
		documented, has := false, false
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			has = true
			text, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			documented = documented || strings.Contains(string(text), "\n// Package ") || strings.Contains(string(text), "\n// Command ")
		}
		if has && !documented {
			t.Errorf("%s: no package comment", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// goFiles are the Go files of ours that are no tests, parsed.
func goFiles(t *testing.T) (*token.FileSet, map[string]*ast.File) {
	fset, out := token.NewFileSet(), map[string]*ast.File{}
	for _, name := range tracked(t) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "testdata/") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			continue // removed, not yet committed
		}
		f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = f
	}
	return fset, out
}

// imports says which wings, or packages of them, a wing may import besides itself.
var imports = map[string][]string{
	"internal/kernel":   nil,
	"internal/artefact": nil,
	"internal/develop":  {"internal/kernel", "internal/artefact"},
	"internal/operate":  {"internal/artefact", "internal/kernel/arch/native", "scx"},
	"internal/guest":    {"internal/kernel"},
	"internal/command":  {"internal/artefact", "internal/operate", "scx"},
	"internal/bench":    {"internal/guest/vm", "internal/kernel/arch/native", "internal/operate/live"},
}

// TestImports: between wings imports go one way. What stands beside them in internal/ is for
// all of them and imports none. cmd/ and test/ may import anything.
func TestImports(t *testing.T) {
	within := func(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }
	wing := func(pkg string) string {
		for w := range imports {
			if within(pkg, w) {
				return w
			}
		}
		return ""
	}
	_, files := goFiles(t)
	for name, f := range files {
		pkg := path.Dir(name)
		if !within(pkg, "internal") {
			continue
		}
		if wing(pkg) == "" && path.Dir(pkg) != "internal" {
			t.Errorf("%s: is in no wing: add its directory to imports", name)
		}
		for _, i := range f.Imports {
			imported, _ := strconv.Unquote(i.Path.Value)
			to, ours := strings.CutPrefix(imported, "plugsched/")
			switch {
			case !ours, to == "kernels": // data
			case within(to, "internal") && (wing(to) == "" || wing(to) == wing(pkg)):
			case slices.ContainsFunc(imports[wing(pkg)], func(dir string) bool { return within(to, dir) }):
			default:
				t.Errorf("%s: imports %s, which %s may not", name, to, pkg)
			}
		}
	}
}

// seam is where architectures are known (docs/develop/new-architecture.md).
const seam = "internal/kernel/arch/"

// archNames match what belongs to one architecture. A path in the kernel's source is a
// reference, no knowledge.
var (
	archNames  = regexp.MustCompile(`(?i)x86|amd64|i386|aarch64|arm64|endbr64|rel32|__switch_to_asm|qemu-system-[a-z]`)
	kernelPath = regexp.MustCompile(`arch/\w+/[\w./*-]+`)
)

// named are the names of architectures outside of the seam, by file, and why.
var named = map[string]map[string]string{
	"cmd/plugsched/catchup.go":   {"amd64": "a release in an example"},
	"cmd/plugsched/init.go":      {"amd64": "a release in an example"},
	"internal/guest/vm/fault.go": {"x86": "of one kernel's message, and the other's", "arm64": "the same"},
	"test/drive/drive.go":        {"amd64": "the flavour that tests take unless told"},
	"test/examples/main.go":      {"amd64": "the release that an example is about"},
}

// TestArchitectureNames: what belongs to one architecture is in the seam alone. (Tests have
// their own data.)
func TestArchitectureNames(t *testing.T) {
	fset, files := goFiles(t)
	used := map[string]map[string]bool{}
	for name, f := range files {
		if strings.HasPrefix(name, seam) {
			continue
		}
		used[name] = map[string]bool{}
		if archNames.MatchString(path.Base(name)) {
			t.Errorf("%s: a file for one architecture", name)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			text := ""
			switch n := n.(type) {
			case *ast.Ident:
				text = n.Name
			case *ast.BasicLit:
				text = kernelPath.ReplaceAllString(n.Value, "")
			}
			for _, found := range archNames.FindAllString(text, -1) {
				used[name][found] = true
				if named[name][found] == "" {
					t.Errorf("%s: %s, of which only %s should know", fset.Position(n.Pos()), text, seam)
				}
			}
			return true
		})
	}
	for name, list := range named {
		for text := range list {
			if !used[name][text] {
				t.Errorf("%s: does not name %s any more: take it off the list", name, text)
			}
		}
	}
}

// TestRuntimeSeam: so is it in C: whatever of it is for one architecture is below arch/.
func TestRuntimeSeam(t *testing.T) {
	names := regexp.MustCompile(`(?i)\bCONFIG_(X86|ARM64)\w*|__x86_64__|__aarch64__|\b(text_poke|smp_text_poke)\w*|<asm/(text-patching|insn|nops|cacheflush)\.h>`)
	for _, name := range tracked(t) {
		if !strings.HasPrefix(name, "runtime/") || strings.HasPrefix(name, "runtime/arch/") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for i, line := range strings.Split(string(text), "\n") {
			if found := names.FindString(line); found != "" {
				t.Errorf("%s:%d: %s belongs below runtime/arch", name, i+1, found)
			}
		}
	}
}

// TestRuntimeNodes: what the kernel links into a queue or a tree by address is not part of the module (per-CPU data is not). The
// neighbours keep such an address when the node has left (rb_erase(), irq_work_single()): on 6.12 a removal was told of
// CPU 0's fair server, whose inactive_timer had once been above the guard's timer.
func TestRuntimeNodes(t *testing.T) {
	node := regexp.MustCompile(`(?m)^static (struct (hrtimer|irq_work|timer_list|rb_node|llist_node|rcu_head)|call_single_data_t) \w+|` +
		`^(static )?DEFINE_(IRQ_WORK|TIMER)\b.*`)
	for _, name := range tracked(t) {
		if !strings.HasPrefix(name, "runtime/") || !strings.HasSuffix(name, ".c") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for _, found := range node.FindAllString(string(text), -1) {
			t.Errorf("%s: %q is linked by the kernel, and part of the module", name, found)
		}
	}
}
