// SPDX-License-Identifier: BSD-3-Clause

package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"plugsched/internal/develop/bind"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/edits"
	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/git"
	"plugsched/internal/develop/patch"
	"plugsched/internal/develop/project"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/kernel/symbols"
	"plugsched/internal/outcome"
)

const forkText = `struct task *copy(int a)
{
	return make(a);
}

static int inlined(int a)
{
	return a;
}

int outer(int a)
{
	return inlined(a);
}

int __init boot(void)
{
	return 1;
}

static struct ctl_table table[] = {
	{ },
};

int limit = 5;

#include "part.c"
`

const coreText = `#include "sched.h"

/* One. */
int first(int a)
{
	a += 1;
	a += 2;
	a += 3;
	return a;
}
`

func write(t *testing.T, text string, path ...string) {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// gitIn runs git in a directory, as somebody in particular.
func gitIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	tree := git.Tree{Dir: dir, Env: []string{"GIT_AUTHOR_NAME=Jane Doe", "GIT_AUTHOR_EMAIL=jane@example.org", "GIT_COMMITTER_NAME=x",
		"GIT_COMMITTER_EMAIL=x@x", "GIT_CONFIG_GLOBAL=/dev/null"}}
	if err := tree.Run(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}

// applicable is a working directory to which patches are applied, as far as that goes without a kernel to compile for.
func applicable(t *testing.T) (p *project.Project, source string) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	dir := filepath.Join(t.TempDir(), "work")
	write(t, "obj-y += core.o\n", dir, project.SchedDir, "Makefile")
	write(t, "/.plugsched/\n", dir, ".gitignore")
	p, err := project.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	source = t.TempDir()
	target := &fetch.Target{Release: "6.1.0-1", KernelArch: "x86", KernelBuild: source, HeadersCommon: source, Source: source,
		Config: filepath.Join(source, "config")}
	text, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	write(t, string(text), dir, project.StateDir, "target.json")
	gitIn(t, dir, "init", "-q")
	write(t, "CONFIG_A=y\nCONFIG_MODULE=m\n# CONFIG_OFF is not set\n", target.Config)
	write(t, forkText, source, "kernel/fork.c")
	write(t, "int other;\n", source, "kernel/off.c")
	write(t, "int other;\n", source, "kernel/mod_part.c")
	write(t, "obj-$(CONFIG_OFF) += off.o\nobj-$(CONFIG_MODULE) += mod.o\nmod-y := \\\n  mod_part.o\n", source, "kernel/Makefile")
	write(t, "#define OTHERS 1\n", source, "include/linux/others.h")
	write(t, coreText, p.Dir, project.SchedDir, "core.c")
	write(t, "#ifndef K\n#define K\n#endif /* K */\n", p.Dir, "include/linux", "kconfig.h")
	gitIn(t, p.Dir, "add", "-A")
	gitIn(t, p.Dir, "commit", "-q", "-m", "1")
	return p, source
}

// ready is a series of patches in that directory.
func ready(t *testing.T, p *project.Project, patches ...string) *series {
	t.Helper()
	target, err := p.Target()
	if err != nil {
		t.Fatal(err)
	}
	a, err := arch.Named("x86")
	if err != nil {
		t.Fatal(err)
	}
	var syms []symbols.Symbol
	for _, name := range []string{"copy", "outer", "boot"} {
		syms = append(syms, symbols.Symbol{Name: name, Unit: "kernel/fork.c", Kind: symbols.Func, Init: name == "boot"})
	}
	syms = append(syms, symbols.Symbol{Name: "part", Unit: "kernel/fork.c", Kind: symbols.Func},
		symbols.Symbol{Name: "early", Unit: "kernel/fork.c", Kind: symbols.Func, Init: true},
		symbols.Symbol{Name: "far", Unit: "drivers/far.c", Kind: symbols.Func})
	b := &boundary.Boundary{Functions: []*boundary.Function{{Name: "first", Base: "first", DeclFile: "kernel/sched/core.c"}}}
	s := &series{p: p, target: target, kernel: bind.NewKernel(a, b, &symbols.Table{Symbols: syms})}
	for i, text := range patches {
		files, err := patch.Parse("p", text, 1)
		if err != nil {
			t.Fatal(err)
		}
		s.patches = append(s.patches, &patch.Patch{From: "p", Subject: fmt.Sprint("sched: ", i), Body: "Why.",
			Author: "Jürgen X <j@x.org>", Date: "Sat, 21 Nov 2026 02:53:07 +0100", Files: files})
	}
	return s
}

// change makes a patch of a file by replacing a line, with one line around it.
func change(file, text, old, new string) string {
	lines := strings.Split(text, "\n")
	n := slices.Index(lines, old)
	out := fmt.Sprintf("--- a/%s\n+++ b/%[1]s\n@@ -%d,3 +%[2]d,%d @@\n %s\n", file, n, 2+strings.Count(new, "\n")+1, lines[n-1])
	return out + "-" + old + "\n+" + strings.ReplaceAll(new, "\n", "\n+") + "\n " + lines[n+1] + "\n"
}

// TestVerdicts: what becomes of parts of each kind.
func TestVerdicts(t *testing.T) {
	p, source := applicable(t)
	fork := func(old, new string) string { return change("kernel/fork.c", forkText, old, new) }
	core := func(old, new string) string { return change("kernel/sched/core.c", coreText, old, new) }
	fresh := func(file, line string) string {
		return "--- /dev/null\n+++ b/" + file + "\n@@ -0,0 +1 @@\n+" + line + "\n"
	}
	binary := func(file string) string {
		return "diff --git a/" + file + " b/" + file + "\nnew file mode 100644\nGIT binary patch\nliteral 0\n\n"
	}
	write(t, "a\nb\nc\n", source, "arch/x86/kernel/x.S")
	const partText = "\n/* Part. */\nint part(void)\n{\n\treturn 3;\n}\n\nint __init early(void)\n{\n\treturn 1;\n}\n"
	write(t, partText, source, "kernel/part.c")
	for _, tt := range []struct {
		name, text string
		want       Verdict
		says       string
	}{
		{"in the tree", core("\ta += 2;", "\ta += 9;"), Applies, "kernel/sched/core.c:7 first"},
		{"there already", "--- a/kernel/sched/core.c\n+++ b/kernel/sched/core.c\n@@ -6,3 +6,3 @@\n \ta += 1;\n" +
			"-\ta += 22;\n+\ta += 2;\n \ta += 3;\n", Already, "kernel/sched/core.c:7"},
		{"another text", strings.Replace(core("\ta += 2;", "\ta += 9;"), "-\ta += 2;", "-\ta += 4;", 1), Rejected,
			`:7: the patch expects "a += 4;"`},
		{"a file that went elsewhere", "--- a/kernel/sched/syscalls.c\n+++ b/kernel/sched/syscalls.c\n@@ -90,6 +90,6 @@\n" +
			" int first(int a)\n {\n \ta += 1;\n-\ta += 2;\n+\ta += 9;\n \ta += 3;\n \treturn a;\n", Applies,
			"kernel/sched/core.c:7 first: this kernel has no kernel/sched/syscalls.c"},
		{"a file that there is not", "--- a/kernel/sched/ext.c\n+++ b/kernel/sched/ext.c\n" +
			"@@ -1,2 +1,2 @@ int first(int a)\n x\n-y\n+z\n", Rejected, "this kernel has no such file: its first is in kernel/sched/core.c"},
		{"a new file", fresh("kernel/sched/mine.c", "int mine;"), Applies, "kernel/sched/mine.c:1"},
		{"a new header", fresh("include/linux/mine.h", "int mine(void);"), Applies, "include/linux/mine.h:1"},
		{"new code elsewhere", fresh("kernel/mine.c", "int mine;"), Cannot, "is new, and only kernel/sched is built"},
		{"documentation", fresh("Documentation/x.rst", "X"), Irrelevant, "documentation"},
		{"a list of people", fresh("MAINTAINERS", "X"), Irrelevant, ""},
		{"a picture", binary("Documentation/p.png"), Irrelevant, "documentation"},
		{"binary code", binary("kernel/sched/p.bin"), Cannot, "is no text"},
		{"another architecture", fresh("arch/other/kernel/x.c", "X"), Irrelevant, "another architecture"},
		{"assembly", "--- a/arch/x86/kernel/x.S\n+++ b/arch/x86/kernel/x.S\n@@ -1,3 +1,3 @@\n a\n-b\n+d\n c\n", Cannot, "is no C"},
		{"an option nobody asks for", fresh("init/Kconfig", "config LONELY"), Irrelevant, "configures"},
		{"an option", fresh("init/Kconfig", "config MINE") + core("\ta += 2;", "#ifdef CONFIG_MINE\n\ta += 9;\n#endif"), Setting, "CONFIG_MINE"},
		{"an option that is off", fresh("init/Kconfig", "config OFF") + core("\ta += 2;", "#ifdef CONFIG_OFF\n\ta += 9;\n#endif"),
			Irrelevant, ""},
		{"not compiled", change("kernel/off.c", "\n\nint other;\n", "int other;", "int others;"), Irrelevant, "is not compiled into this kernel"},
		{"a module's", change("kernel/mod_part.c", "\n\nint other;\n", "int other;", "int others;"), Cannot, "CONFIG_MODULE=m"},
		{"a part of a file", change("kernel/part.c", partText, "\treturn 3;", "\treturn 4;"), Cannot, "in a file that kernel/fork.c includes"},
		{"boot, in a part of a file", change("kernel/part.c", partText, "\treturn 1;", "\treturn 2;"), Hook, "early is __init code"},
		{"a comment in a part of a file", change("kernel/part.c", partText, "/* Part. */", "/* Parts. */"), Irrelevant, "comments"},
		{"no source", change("drivers/far.c", "\n\nint far;\n", "int far;", "int near;"), Cannot, "whose source is not at hand"},
		{"no source and no code", change("drivers/nowhere.c", "\n\nint far;\n", "int far;", "int near;"), Irrelevant,
			"is not in this kernel's source"},
		{"a function elsewhere", fork("\treturn make(a);", "\treturn make(a + 1);"), Sidecar, "copy is outside of the scheduler"},
		{"an inlined one", fork("\treturn a;", "\treturn a + 1;"), Sidecar, "the compiler inlined it"},
		{"comments elsewhere", fork("\treturn make(a);", "\treturn make(a); /* x */"), Irrelevant, "comments"},
		{"boot", fork("\treturn 1;", "\treturn 2;"), Hook, "boot is __init code"},
		{"a table", fork("\t{ },", "\t{ .procname = \"x\" },\n\t{ },"), Hook, "table is a table that the kernel was told of at boot"},
		{"a variable", "--- a/kernel/fork.c\n+++ b/kernel/fork.c\n@@ -23,3 +23,3 @@\n };\n \n-int limit = 5;\n+int limit = 6;\n", Hook,
			"limit is a variable"},
		{"an export", fork("int outer(int a)", "EXPORT_SYMBOL(copy);\nint outer(int a)"), Cannot, "EXPORT_SYMBOL(copy) makes an export"},
		{"an initcall", fork("int outer(int a)", "late_initcall(boot);\nint outer(int a)"), Hook, "makes an initcall"},
		{"others' header", "--- a/include/linux/others.h\n+++ b/include/linux/others.h\n@@ -1 +1 @@\n" +
			"-#define OTHERS 1\n+#define OTHERS 2\n", Cannot, "others were compiled"},
		{"more in others' header", "--- a/include/linux/others.h\n+++ b/include/linux/others.h\n@@ -1 +1,2 @@\n" +
			" #define OTHERS 1\n+#define MINE 2\n", Irrelevant, "is for others"},
	} {
		s := ready(t, p, tt.text)
		if err := s.replay(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		r := s.report(nil).Patches[0]
		first := r.Parts[0]
		if first.Verdict != tt.want || !strings.Contains(first.String(), tt.says) {
			t.Errorf("%s: %s %s, want %s and %q", tt.name, first.Verdict, &first, tt.want, tt.says)
		}
		for _, part := range r.Parts {
			if part.Verdict == "" {
				t.Errorf("%s: %s has no verdict", tt.name, &part)
			}
		}
		if needs := first.Verdict.lacks(); r.Whole == needs || needs && first.Do == "" {
			t.Errorf("%s: whole %v, do %q", tt.name, r.Whole, first.Do)
		}
	}
}

// TestSeriesElsewhere: also of files that the tree does not have, a patch goes on from where the ones before it have come.
func TestSeriesElsewhere(t *testing.T) {
	p, _ := applicable(t)
	fresh := "--- /dev/null\n+++ b/kernel/mine.c\n@@ -0,0 +1,3 @@\n+int a;\n+int b;\n+int c;\n"
	s := ready(t, p, change("kernel/fork.c", forkText, "\treturn make(a);", "\treturn make(a + 1);")+fresh,
		change("kernel/fork.c", strings.Replace(forkText, "make(a)", "make(a + 1)", 1), "\treturn make(a + 1);", "\treturn make(a + 2);")+
			change("kernel/mine.c", "int a;\nint b;\nint c;\n", "int b;", "int d;"),
		"diff --git a/kernel/fork.c b/kernel/spoon.c\nrename from kernel/fork.c\nrename to kernel/spoon.c\n",
		change("kernel/spoon.c", forkText, "\treturn a;", "\treturn a + 1;")+change("kernel/fork.c", forkText, "\treturn a;", "\treturn a + 1;"))
	if err := s.replay(); err != nil {
		t.Fatal(err)
	}
	var got []Verdict
	for _, r := range s.report(nil).Patches {
		for _, part := range r.Parts {
			got = append(got, part.Verdict)
		}
	}
	if want := []Verdict{Sidecar, Cannot, Sidecar, Cannot, Cannot, Sidecar, Rejected}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestSidecarsNamed: the way on is named so that it can be typed.
func TestSidecarsNamed(t *testing.T) {
	p, _ := applicable(t)
	s := ready(t, p, change("kernel/fork.c", forkText, "\treturn a;", "\treturn a + 1;"))
	if err := s.replay(); err != nil {
		t.Fatal(err)
	}
	a := s.report(nil)
	if got := a.Patches[0].Parts[0].Sidecars; !slices.Equal(got, []string{"kernel/fork.c:outer"}) {
		t.Errorf("%q", got)
	}
	err := &IncompleteError{Application: a}
	if text := err.Error(); !strings.Contains(text, "--sidecar kernel/fork.c:outer") || outcome.Of(err) != outcome.Refused {
		t.Errorf("%v, %v", text, outcome.Of(err))
	}
	s = ready(t, p, strings.Replace(change("kernel/sched/core.c", coreText, "\ta += 2;", "\ta += 9;"), "-\ta += 2;", "-\ta += 4;", 1))
	if err := s.replay(); err != nil {
		t.Fatal(err)
	}
	if err := (&IncompleteError{Application: s.report(nil)}); outcome.Of(err) != outcome.Precondition {
		t.Errorf("only the text is another: %v", outcome.Of(err))
	}
}

// TestCommitted: each patch is a commit of its author's, the branch moves at once, and what the user has that is not
// committed stays.
func TestCommitted(t *testing.T) {
	p, _ := applicable(t)
	s := ready(t, p, change("kernel/sched/core.c", coreText, "\ta += 1;", "\ta += 8;"),
		change("kernel/sched/core.c", strings.Replace(coreText, "+= 1", "+= 8", 1), "\ta += 3;", "\ta += 7;")+
			"--- /dev/null\n+++ b/Documentation/x\n@@ -0,0 +1 @@\n+x\n",
		"--- /dev/null\n+++ b/Documentation/y\n@@ -0,0 +1 @@\n+x\n")
	s.options = "#define CONFIG_MINE 1\n"
	if err := s.replay(); err != nil {
		t.Fatal(err)
	}
	write(t, "mine\n", p.Dir, "notes")
	a := s.report(nil)
	if err := commitAll(t.Context(), p, s, a); err != nil {
		t.Fatal(err)
	}
	out, err := p.Git().Output(t.Context(), "log", "-3", "--format=%an <%ae> %ai %s / %b")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out, "\n")
	const by = "Jürgen X <j@x.org> 2026-11-21 02:53:07 +0100 sched: "
	if lines[0] != by+"1 / Why." || !strings.Contains(out, "\n"+by+"0 / Why.") || !strings.Contains(out, " Options of patches / ") {
		t.Errorf("%q", out)
	}
	text, err := os.ReadFile(filepath.Join(p.Dir, project.SchedDir, "core.c"))
	if want := strings.NewReplacer("+= 1", "+= 8", "+= 3", "+= 7").Replace(coreText); err != nil || string(text) != want {
		t.Errorf("%q, %v", text, err)
	}
	header, err := os.ReadFile(filepath.Join(p.Dir, optionsHeader))
	if err != nil || string(header) != "#ifndef K\n#define K\n#define CONFIG_MINE 1\n#endif /* K */\n" {
		t.Errorf("%q, %v", header, err)
	}
	status, err := p.Git().Output(t.Context(), "status", "--porcelain")
	if err != nil || status != "?? notes" {
		t.Errorf("%q, %v", status, err)
	}
	if !a.Applied || a.Patches[0].Commit == "" || a.Patches[2].Commit != "" ||
		folder.Exists(filepath.Join(p.Dir, project.StateDir, "apply-index")) {
		t.Errorf("%+v", a.Patches)
	}
}

// TestCommittedMeanwhile: what the user commits while patches are tried is not undone by them.
func TestCommittedMeanwhile(t *testing.T) {
	p, _ := applicable(t)
	q, remove, err := p.Scratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	s := ready(t, q, change("kernel/sched/core.c", coreText, "\ta += 1;", "\ta += 8;"))
	if err := s.replay(); err != nil {
		t.Fatal(err)
	}
	mine := strings.Replace(coreText, "+= 3", "+= 33", 1)
	write(t, mine, p.Dir, project.SchedDir, "core.c")
	gitIn(t, p.Dir, "commit", "-q", "-a", "-m", "mine")
	a := s.report(nil)
	if err := commitAll(t.Context(), p, s, a); outcome.Of(err) != outcome.Precondition || !strings.Contains(err.Error(), "another commit") {
		t.Errorf("%v", err)
	}
	said, err := p.Git().Output(t.Context(), "log", "-1", "--format=%s")
	text, _ := os.ReadFile(filepath.Join(p.Dir, project.SchedDir, "core.c"))
	if err != nil || said != "mine" || string(text) != mine || a.Applied {
		t.Errorf("%q, %q, %v", said, text, err)
	}
	gitIn(t, p.Dir, "reset", "-q", "--hard", "HEAD^")
	if err := commitAll(t.Context(), p, s, a); err != nil || !a.Applied {
		t.Errorf("as it was: %v", err)
	}
}

// TestCopied: a copy leaves the file that it is of, and nothing overwrites a file that is there.
func TestCopied(t *testing.T) {
	p, _ := applicable(t)
	write(t, "int mine;\n", p.Dir, project.SchedDir, "mine.c")
	const core, again = "kernel/sched/core.c", "diff --git a/kernel/sched/core.c b/kernel/sched/core.c\nnew file mode 100644\n"
	from := func(how, to string) string {
		return fmt.Sprintf("diff --git a/%[1]s b/kernel/sched/%[3]s\n%[2]s from %[1]s\n%[2]s to kernel/sched/%[3]s\n", core, how, to)
	}
	edit := strings.Replace(change(core, coreText, "\ta += 1;", "\ta += 8;"), "+++ b/"+core, "+++ b/kernel/sched/%s", 1)
	edited := strings.Replace(coreText, "+= 1", "+= 8", 1)
	write(t, edited, p.Dir, project.SchedDir, "done.c")
	for _, tt := range []struct {
		name, text string
		want       Verdict
		becomes    map[string]string // "" for a file that goes
	}{
		{"copied", from("copy", "new.c"), Applies, map[string]string{"new.c": coreText}},
		{"copied and edited", from("copy", "new.c") + fmt.Sprintf(edit, "new.c"), Applies, map[string]string{"new.c": edited}},
		{"there already", from("copy", "done.c") + fmt.Sprintf(edit, "done.c"), Already, nil},
		{"onto another", from("copy", "mine.c"), Rejected, nil},
		{"renamed", from("rename", "new.c"), Applies, map[string]string{"new.c": coreText, "core.c": ""}},
		{"renamed onto another", from("rename", "mine.c") + fmt.Sprintf(edit, "mine.c"), Rejected, nil},
		{"renamed, and another comes", from("rename", "new.c") + again + "--- /dev/null\n+++ b/" + core + "\n@@ -0,0 +1 @@\n+int x;\n",
			Applies, map[string]string{"new.c": coreText, "core.c": "int x;\n"}},
	} {
		s := ready(t, p, tt.text)
		if err := s.replay(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if x := s.pieces[0]; x.Verdict != tt.want || x.Applied != (tt.want == Applies) {
			t.Errorf("%s: %s %s", tt.name, x.Verdict, &x.Part)
		}
		got := s.changed[0]
		for name, text := range tt.becomes {
			path := project.SchedDir + "/" + name
			if v, ok := got[path]; !ok || v.Is != text || s.gone[0][path] != (text == "") {
				t.Errorf("%s: %s is %q, gone %v", tt.name, path, v.Is, s.gone[0])
			}
		}
		if len(got) != len(tt.becomes) {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// TestNumbers: the lines of a patch are numbered behind those before it.
func TestNumbers(t *testing.T) {
	p, _ := applicable(t)
	same := strings.Repeat("/* a */\nint x;\n/* b */\n", 12)
	write(t, same, p.Dir, project.SchedDir, "same.c")
	const file = "--- a/kernel/sched/same.c\n+++ b/kernel/sched/same.c\n"
	s := ready(t, p, file+"@@ -1,2 +1,8 @@\n /* a */\n"+strings.Repeat("+int y;\n", 6)+" int x;\n",
		file+"@@ -19,3 +19,3 @@\n /* a */\n-int x;\n+int z;\n /* b */\n")
	if err := s.replay(); err != nil {
		t.Fatal(err)
	}
	if x := s.pieces[1]; x.Verdict != Applies || x.Line != 20 {
		t.Errorf("%s %s", x.Verdict, &x.Part)
	}
}

// TestOutside: nothing outside of a copy is changed, whatever leads out of it.
func TestOutside(t *testing.T) {
	p, _ := applicable(t)
	outside := t.TempDir()
	write(t, coreText, outside, "core.c")
	if err := errors.Join(os.Symlink(outside, filepath.Join(p.Dir, project.SchedDir, "dir")), os.Symlink(filepath.Join(outside, "core.c"),
		filepath.Join(p.Dir, project.SchedDir, "link.c")), unix.Mkfifo(filepath.Join(p.Dir, project.SchedDir, "fifo.c"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link.c", "dir/core.c", "dir/new.c", "fifo.c", "dir"} {
		path := project.SchedDir + "/" + name
		s := ready(t, p, change(path, coreText, "\ta += 1;", "\ta += 8;"))
		if name == "dir/new.c" {
			s = ready(t, p, "--- /dev/null\n+++ b/"+path+"\n@@ -0,0 +1 @@\n+int x;\n")
		}
		if err := s.replay(); outcome.Of(err) != outcome.Precondition || !strings.Contains(err.Error(), "is no regular file") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "fifo.c" {
			continue // which nobody reads
		}
		if err := folder.Write(p.Dir, path, nil); err == nil {
			t.Errorf("%s is written", name)
		}
	}
	text, err := os.ReadFile(filepath.Join(outside, "core.c"))
	if err != nil || string(text) != coreText || folder.Exists(filepath.Join(outside, "new.c")) {
		t.Errorf("outside: %q, %v", text, err)
	}
}

// TestLinkedWorktree: a copy of one would have the same index.
func TestLinkedWorktree(t *testing.T) {
	p, _ := applicable(t)
	linked := *p
	linked.Dir = filepath.Join(t.TempDir(), "linked")
	gitIn(t, p.Dir, "worktree", "add", "-q", linked.Dir)
	if err := os.CopyFS(filepath.Join(linked.Dir, project.StateDir), os.DirFS(filepath.Join(p.Dir, project.StateDir))); err != nil {
		t.Fatal(err)
	}
	patches := ready(t, p, change("kernel/sched/core.c", coreText, "\ta += 1;", "\ta += 8;")).patches
	_, err := Patches(t.Context(), &linked, patches, Options{DryRun: true})
	if outcome.Of(err) != outcome.Precondition || !strings.Contains(err.Error(), "git repository is in another place") {
		t.Errorf("%v", err)
	}
	q, remove, err := p.Scratch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	if err := apart(t.Context(), p, q); err != nil {
		t.Errorf("one of its own: %v", err)
	}
}

// TestCommitKilled: what a killed one left is in nobody's way.
func TestCommitKilled(t *testing.T) {
	p, _ := applicable(t)
	s := ready(t, p, change("kernel/sched/core.c", coreText, "\ta += 1;", "\ta += 8;"))
	if err := s.replay(); err != nil {
		t.Fatal(err)
	}
	write(t, "", p.Dir, project.StateDir, "apply-index.lock")
	write(t, "half an index", p.Dir, project.StateDir, "apply-index")
	a := s.report(nil)
	if err := commitAll(t.Context(), p, s, a); err != nil || !a.Applied {
		t.Errorf("%v", err)
	}
}

// TestSidecarsLast: nothing is made a sidecar when the commits that need it cannot be made.
func TestSidecarsLast(t *testing.T) {
	p, _ := applicable(t)
	p.Sidecars = []string{"kernel/fork.c:copy"}
	target, err := p.Target()
	if err != nil {
		t.Fatal(err)
	}
	s := ready(t, p, change("kernel/sched/core.c", coreText, "\ta += 1;", "\ta += 8;"))
	base, err := p.Git().Output(t.Context(), "rev-parse", "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(why string) {
		t.Helper()
		err := commitSidecars(t.Context(), p, target, s, s.report(nil), base)
		config := folder.Exists(filepath.Join(p.Dir, project.ConfigFile))
		if outcome.Of(err) != outcome.Precondition || !strings.Contains(err.Error(), why) || config {
			t.Errorf("%v; there is a %s: %v", err, project.ConfigFile, config)
		}
	}
	write(t, coreText+"/* mine */\n", p.Dir, project.SchedDir, "core.c")
	refused("changes that are not committed")
	gitIn(t, p.Dir, "commit", "-q", "-a", "-m", "mine")
	refused("another commit")
}

// TestUncommitted: files with changes that nobody committed are not touched.
func TestUncommitted(t *testing.T) {
	p, _ := applicable(t)
	patches := ready(t, p, change("kernel/sched/core.c", coreText, "\ta += 1;", "\ta += 8;")).patches
	write(t, coreText+"/* mine */\n", p.Dir, project.SchedDir, "core.c")
	a, err := Patches(t.Context(), p, patches, Options{})
	if outcome.Of(err) != outcome.Precondition || a != nil ||
		!strings.Contains(err.Error(), "kernel/sched/core.c has changes that are not committed") {
		t.Errorf("%v, %v", a, err)
	}
	for _, o := range []string{"MINE", "CONFIG_A B", "CONFIG_A=n", ""} {
		if _, err := Patches(t.Context(), p, patches, Options{Options: []string{o}}); outcome.Of(err) != outcome.Precondition ||
			!strings.Contains(err.Error(), "--option") {
			t.Errorf("option %q: %v", o, err)
		}
	}
}

// TestLeftOut: what depends on what is left out goes with it, and the next replay does not have it.
func TestLeftOut(t *testing.T) {
	p, _ := applicable(t)
	s := ready(t, p, change("kernel/sched/core.c", coreText, "\ta += 1;", "\ta += mine();")+
		"@@ -9,2 +9,7 @@\n \treturn a;\n }\n+\n+int mine(void)\n+{\n+\treturn 1;\n+}\n",
		change("kernel/sched/core.c", coreText, "/* One. */", "/* Two. */"))
	if err := s.replay(); err != nil {
		t.Fatal(err)
	}
	refused, rest := s.refuse([]bind.Refusal{
		{Class: bind.Stays, Name: "first", File: "kernel/sched/core.c", Line: 6, Why: "stays", Do: "undo it"},
		{Class: bind.Layout, Name: "struct s", File: "include/s.h", Line: 1, Why: "changes"}})
	if len(refused) != 1 || refused[0].Verdict != Cannot || len(rest) != 1 {
		t.Fatalf("%+v, %+v", refused, rest)
	}
	bound, err := s.bound(refused)
	if err != nil || len(bound) != 1 {
		t.Fatalf("%+v, %v", bound, err)
	}
	refused[0].dropped = true
	for x, to := range bound {
		if x.dropped = true; to != refused[0] {
			t.Errorf("belongs to %+v", to)
		}
	}
	if err := s.replay(); err != nil {
		t.Fatal(err)
	}
	if len(s.changed[0]) != 0 || len(s.changed[1]) != 1 {
		t.Errorf("%v", s.changed)
	}
}

// TestHalves: of a function, all edits are taken or none; what another patch has on top of them goes too.
func TestHalves(t *testing.T) {
	const text = `int before;

static int both(int a)
{
	a += 1;
	a += 2;

	a += 4;
	return a;
}

SYSCALL_DEFINE1(call, int, a)
{
	a += 1;
	a += 2;

	a += 5;
	return a;
}

static int other(int a)
{
	a += 6;
	return a;
}
`
	file := "--- a/kernel/sched/core.c\n+++ b/kernel/sched/core.c\n"
	const (
		second    = "@@ -7,3 +7,3 @@\n \n-\ta += 4;\n+\ta += 40;\n \treturn a;\n"
		inSyscall = "@@ -16,3 +16,3 @@\n \n-\ta += 5;\n+\ta += 50;\n \treturn a;\n"
		alone     = "@@ -22,3 +22,3 @@\n {\n-\ta += 6;\n+\ta += 60;\n \treturn a;\n"
		named     = "@@ -5,2 +5,2 @@ static int both(int a)\n \ta += 1;\n-\ta += 22;\n+\ta += 20;\n"
		within    = "@@ -3,4 +3,4 @@\n static int both(int a)\n {\n \ta += 1;\n-\ta += 22;\n+\ta += 20;\n"
		numbered  = "@@ -5,2 +5,2 @@\n \ta += 1;\n-\ta += 22;\n+\ta += 20;\n"
		syscall   = "@@ -14,2 +14,2 @@ SYSCALL_DEFINE1(call, int, a)\n \ta += 1;\n-\ta += 22;\n+\ta += 20;\n"
		there     = "@@ -3,3 +3,3 @@\n static int both(int a)\n {\n-\ta += 9;\n+\ta += 1;\n"
		outside   = "@@ -1,1 +1,1 @@\n }\n-int afore;\n+int behind;\n"
	)
	moved := strings.ReplaceAll(file, "core.c", "gone.c") + named
	later := file + "@@ -7,3 +7,3 @@\n \n-\ta += 40;\n+\ta += 41;\n \treturn a;\n" + alone
	for name, tt := range map[string]struct {
		patches []string
		want    string // applied, by their numbers
	}{
		"named in the head":   {[]string{file + named + second + alone}, "6"},
		"named in the lines":  {[]string{file + within + second + alone}, "6"},
		"told by the number":  {[]string{file + numbered + second + alone}, "6"},
		"a system call":       {[]string{file + second + syscall + inSyscall}, "4"},
		"of no function":      {[]string{file + outside + second + alone}, "4 6"},
		"in a file elsewhere": {[]string{moved + file + second + alone}, "6"},
		"with one on top":     {[]string{file + named + second, later}, "6"},
		"with one there":      {[]string{file + there + named + second}, ""},
		"with all there":      {[]string{file + second + alone}, "4 6"},
	} {
		p, _ := applicable(t)
		write(t, text, p.Dir, project.SchedDir, "core.c")
		s := ready(t, p, tt.patches...)
		if err := s.settle(); err != nil {
			t.Fatal(err)
		}
		is := text
		for _, n := range strings.Fields(tt.want) {
			is = strings.Replace(is, "+= "+n+";", "+= "+n+"0;", 1)
		}
		c, err := s.tree("kernel/sched/core.c")
		if err != nil || c.text.String() != is {
			t.Errorf("%s: %v\n%s", name, err, c.text)
		}
		for _, x := range s.pieces {
			if x.Applied != (x.Verdict == Applies) || slices.Contains(x.hunk.Edits('+'), "a += 1;") != (x.Verdict == Already) ||
				x.Verdict == Cannot && !strings.Contains(x.Why, "belongs to ") {
				t.Errorf("%s: %+v", name, x.Part)
			}
		}
	}
}

// TestJudgedAsBuilt: what a build refuses for what only shows in the code, is refused of a patch.
func TestJudgedAsBuilt(t *testing.T) {
	p, _ := applicable(t)
	s := ready(t, p, change("kernel/sched/core.c", coreText, "\ta += 2;", "\ta += nowhere(a);"))
	if err := s.replay(); err != nil {
		t.Fatal(err)
	}
	src := &edits.Set{}
	src.Compare("kernel/sched/core.c", coreText, s.files["kernel/sched/core.c"].text.String())
	refusals := bind.Unresolved([]string{"nowhere"}, nil, src)
	if len(refusals) != 1 || refusals[0].Class != bind.Undefined || refusals[0].Line != 7 {
		t.Fatalf("%+v", refusals)
	}
	if refused, rest := s.refuse(refusals); len(refused) != 1 || len(rest) != 0 || refused[0].Verdict != Cannot {
		t.Errorf("%+v, %+v", refused, rest)
	}
}

// TestUncompiledPart: what the compiler says is said of the part that it is about.
func TestUncompiledPart(t *testing.T) {
	p, _ := applicable(t)
	s := ready(t, p, change("kernel/sched/core.c", coreText, "\ta += 2;", "\ta += x;"))
	if err := s.replay(); err != nil {
		t.Fatal(err)
	}
	refusals := diagnosed([]project.Diagnostic{{File: "./kernel/sched/core.c", Line: 7, Message: "'x' undeclared"}})
	if refused, rest := s.refuse(refusals); len(refusals) != 1 || len(refused) != 1 || len(rest) != 0 || refused[0].Verdict != Cannot ||
		!strings.Contains(refused[0].Why, "does not compile here: 'x' undeclared") {
		t.Errorf("%+v, %+v", refused, rest)
	}
}

// TestRefusedAs: what a refusal says of a way on decides on the verdict.
func TestRefusedAs(t *testing.T) {
	for _, tt := range []struct {
		r    bind.Refusal
		want Verdict
		also string
	}{
		{bind.Refusal{Class: bind.Stays, Do: "name it as a sidecar: `plugsched build --sidecar kernel/sched/core.c:x .` (docs/...)"},
			Sidecar, "kernel/sched/core.c:x"},
		{bind.Refusal{Class: bind.Init, Do: "undo the change, and do the work in plugsched_init() (docs/develop/hooks.md)"}, Hook, ""},
		{bind.Refusal{Class: bind.Inherited, Do: "say so in plugsched.yaml"}, Setting, ""},
		{bind.Refusal{Class: bind.CompiledOut, Do: "define it in the tree (`#define CONFIG_X 1` at the end of include/linux/kconfig.h)"},
			Setting, "CONFIG_X=1"},
		{bind.Refusal{Class: bind.Layout, Do: "undo the change"}, Cannot, ""},
	} {
		x := &piece{}
		x.refuse(&tt.r)
		if got := strings.Join(x.Sidecars, " ") + x.Setting; x.Verdict != tt.want || got != tt.also {
			t.Errorf("%s: %s, %q", tt.r.Class, x.Verdict, got)
		}
	}
}
