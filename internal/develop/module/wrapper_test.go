// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/environment"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	for _, tt := range []struct{ args, source, output string }{
		{"-Wall -c -o /d/core.o /d/core.c", "/d/core.c", "/d/core.o"},
		{"-c /d/core.c -o /d/core.o", "/d/core.c", "/d/core.o"},
		{"-c /d/entry.S -o /d/entry.o", "", "/d/entry.o"},
		{"-E -x c /dev/null", "", ""},
		{"-c /d/core.c -o", "/d/core.c", ""},
		{"-include /k/a.h -Wp,-MMD,/d/.core.o.d -c -o core.o core.c", "core.c", "core.o"},
	} {
		w := &wrapper{args: strings.Fields(tt.args)}
		if source, output := w.find(); source != tt.source || output != tt.output {
			t.Errorf("%s: %q, %q", tt.args, source, output)
		}
	}
}

// TestHeaders: the developer's headers come first, however kbuild writes where the kernel's are.
func TestHeaders(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	work, common, out, linked := filepath.Join(top, "work"), filepath.Join(top, "k/common"), filepath.Join(top, "k/out"),
		filepath.Join(top, "linked")
	within := filepath.Join(common, "work") // a working directory in the kernel's own tree
	for _, dir := range []string{work, within} {
		write(t, filepath.Join(dir, "include/linux/kconfig.h"), "")
	}
	for _, dir := range []string{"include/linux", "include/uapi", "arch/x86/include/generated"} {
		write(t, filepath.Join(common, dir, "other.h"), "")
	}
	write(t, filepath.Join(out, "include/other.h"), "")
	if err := os.Symlink(common, linked); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, cwd, work, args, want string }{
		{"packages", "/", work,
			"-nostdinc -IC/arch/x86/include -I./arch/x86/include/generated -IC2/include -include C/include/linux/kconfig.h -include " +
				"C/include/linux/other.h C/include/linux/kconfig.h -IC -c a.c",
			"-nostdinc -IW/arch/x86/include -IC/arch/x86/include -I./arch/x86/include/generated -IC2/include " +
				"-include W/include/linux/kconfig.h -include " +
				"C/include/linux/other.h C/include/linux/kconfig.h -IW -IC -c a.c"},
		{"in the tree", common, work,
			"-I./arch/x86/include -I./arch/x86/include/generated -I./include " +
				"-include ./include/linux/kconfig.h -include ./include/linux/other.h a.c",
			"-IW/arch/x86/include -I./arch/x86/include -I./arch/x86/include/generated -IW/include -I./include " +
				"-include W/include/linux/kconfig.h -include ./include/linux/other.h a.c"},
		{"beside the tree", out, work, "-I../common/include -I./include -I../common/include/uapi -include ../common/include/linux/kconfig.h",
			"-IW/include -I../common/include -I./include -IW/include/uapi -I../common/include/uapi -include W/include/linux/kconfig.h"},
		{"through a link", linked, work, "-I./include -Iinclude/uapi", "-IW/include -I./include -IW/include/uapi -Iinclude/uapi"},
		{"in two words", common, work, "-I include -isystem ./include -include",
			"-IW/include -I include -isystemW/include -isystem ./include -include"},
		{"in one", common, work, "-iquoteinclude -include./include/linux/kconfig.h",
			"-iquoteW/include -iquoteinclude -includeW/include/linux/kconfig.h"},
		{"the directory in the tree", common, within, "-I./include -IW/include -include W/include/linux/kconfig.h",
			"-IW/include -I./include -IW/include -include W/include/linux/kconfig.h"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(tt.cwd)
			fill := func(s string) []string {
				return strings.Fields(strings.NewReplacer("W/", tt.work+"/", "-IW", "-I"+tt.work, "C", common).Replace(s))
			}
			w := &wrapper{work: tt.work, common: common}
			got, want := w.headers(fill(tt.args)), fill(tt.want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestHeadersRead: of a kernel in whose tree the compiler runs, the developer's header is what is read, by
// inclusion and before the first line, and what was generated is still found.
func TestHeadersRead(t *testing.T) {
	tree, work, dir := t.TempDir(), t.TempDir(), t.TempDir()
	t.Chdir(tree)
	for path, text := range map[string]string{
		filepath.Join(tree, "include/linux/both.h"):     "#error the original\n",
		filepath.Join(tree, "include/linux/first.h"):    "#error the original\n",
		filepath.Join(tree, "include/generated/conf.h"): "#define CONF 4\n",
		filepath.Join(work, "include/linux/both.h"):     "#define BOTH 1\n",
		filepath.Join(work, "include/linux/first.h"):    "#define FIRST 2\n",
		filepath.Join(work,
			"kernel/sched/core.c"): "#include <linux/both.h>\n#include <generated/conf.h>\nint value = BOTH + FIRST + CONF;\n",
		filepath.Join(dir, includeDir, "plugsched/none"): "",
	} {
		write(t, path, text)
	}
	source := filepath.Join(dir, "core.c")
	if err := os.Symlink(filepath.Join(work, "kernel/sched/core.c"), source); err != nil {
		t.Fatal(err)
	}
	w := &wrapper{mode: modeCompile, work: work, sched: "kernel/sched", common: tree, cc: "gcc", dir: dir,
		args: []string{"-Wp,-MMD," + dir + "/.core.o.d", "-I./include", "-include", "./include/linux/first.h", "-c", "-o",
			filepath.Join(dir, "core.o"), source}}
	if err := w.run(); err != nil {
		t.Fatal(err)
	}
	asm, err := os.ReadFile(filepath.Join(dir, "core.s"))
	if err != nil || !strings.Contains(string(asm), ".long\t7") {
		t.Errorf("assembly (%v):\n%s", err, asm)
	}
}

func TestDepFile(t *testing.T) {
	for args, want := range map[string]string{"-Wp,-MMD,/d/.a.o.d -c": "/d/.a.o.d", "-Wp,-MD,x.d": "x.d", "-c -MMD": ""} {
		if got := depFile(strings.Fields(args)); got != want {
			t.Errorf("%s: %q", args, got)
		}
	}
}

func TestReadDeps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	for text, want := range map[string][]string{
		"a.o: a.c /k/b.h \\\n  /k/c.h\n": {"a.c", "/k/b.h", "/k/c.h"},
		"a.o: \\\n a.c\n":                {"a.c"},
		"a.o:\n":                         {},
	} {
		write(t, path, text)
		got, err := readDeps(path)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	write(t, path, "nothing")
	if _, err := readDeps(path); err == nil || !strings.Contains(err.Error(), path+": not a dependency file") {
		t.Errorf("error %v", err)
	}
	if _, err := readDeps(path + "x"); !os.IsNotExist(err) {
		t.Errorf("error %v", err)
	}
}

// recorder is a compiler that records its calls, and then is gcc.
func recorder(t *testing.T) (cc string, calls func() [][]string) {
	dir := t.TempDir()
	cc, log := filepath.Join(dir, "recorder"), filepath.Join(dir, "log")
	write(t, cc, "#!/bin/sh\nprintf '%s\\037' \"$@\" >>"+log+"\necho >>"+log+"\nexec gcc \"$@\"\n")
	return cc, func() [][]string {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		var out [][]string
		for _, l := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			out = append(out, strings.Split(strings.TrimSuffix(l, "\037"), "\037"))
		}
		return out
	}
}

// writeHeaders makes the kernel's own headers that every unit includes, of which one
// defines THIS_MODULE for built-in code.
func writeHeaders(t *testing.T, kernel string) {
	t.Helper()
	write(t, filepath.Join(kernel, "include/linux/init.h"), "")
	write(t, filepath.Join(kernel, "include/linux/export.h"), "#define THIS_MODULE ((struct module *)0)\n")
}

// TestCompile runs the wrapper as kbuild does, with a compiler that records.
func TestCompile(t *testing.T) {
	work, common, dir := t.TempDir(), t.TempDir(), t.TempDir()
	t.Chdir(t.TempDir())
	write(t, filepath.Join(work, "kernel/sched/core.c"), "#include <linux/both.h>\n#include <linux/only.h>\n#include \"sched.h\"\n"+
		"#ifdef MODULE\n#error as a module\n#endif\n#ifdef __DISABLE_EXPORTS\n#error without exports\n#endif\nint value = BOTH + ONLY + SCHED;\nconst char *file = __FILE__;\n"+
		"struct module *owner = THIS_MODULE;\nconst char **headers = &header;\nint more(int n) { return n << value; }\n")
	write(t, filepath.Join(work, "kernel/sched/sched.h"), "#define SCHED 4\n")
	write(t, filepath.Join(work, "include/linux/both.h"), "#define BOTH 1\n")
	write(t, filepath.Join(common, "include/linux/both.h"), "#error the original\n")
	write(t, filepath.Join(common, "include/linux/only.h"), "#define ONLY 2\nstatic const char *header = __FILE__;\n"+
		"int shift(int n, int by) { return n << by; }\n")
	writeHeaders(t, common)
	if err := copyAPI(filepath.Join(dir, includeDir)); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(dir, "core.c")
	if err := os.Symlink(filepath.Join(work, "kernel/sched/core.c"), source); err != nil {
		t.Fatal(err)
	}
	cc, calls := recorder(t)
	deps := filepath.Join(dir, ".core.o.d")
	w := &wrapper{mode: modeCompile, work: work, sched: "kernel/sched", common: common, cc: cc, dir: dir, module: true,
		args: []string{"-Wp,-MMD," + deps, "-O2", "-fsanitize=shift", "-DMODULE", "-I" + common + "/include", "-DKBUILD_MODNAME=\"core\"",
			"-c", "-o", filepath.Join(dir, "core.o"), source}}
	if err := w.run(); err != nil {
		t.Fatal(err)
	}
	asm, err := os.ReadFile(filepath.Join(dir, "core.s"))
	if err != nil || !strings.Contains(string(asm), ".long\t7") || !strings.Contains(string(asm), `"kernel/sched/core.c"`) ||
		!strings.Contains(string(asm), ".quad\t__this_module\n") {
		t.Errorf("assembly (%v):\n%s", err, asm)
	}
	for _, name := range []string{"kernel/sched/core.c", "include/linux/only.h"} {
		if !strings.Contains(string(asm), "\t.string\t\""+name+"\"") {
			t.Errorf("no %s in\n%s", name, asm)
		}
	}
	if strings.Contains(string(asm), "\t.string\t\"/") {
		t.Errorf("a directory is in\n%s", asm)
	}
	if _, err := os.Stat(filepath.Join(dir, "core.o")); err != nil {
		t.Error(err)
	}
	list := calls()
	if len(list) != 2 {
		t.Fatalf("compiler calls %q", list)
	}
	want := []string{"-Wp,-MMD," + deps, "-O2", "-fsanitize=shift", "-I" + work + "/include", "-I" + common + "/include",
		"-DKBUILD_MODNAME=\"core\"",
		"-ffile-prefix-map=" + common + "/=", "-ffile-prefix-map=" + work + "/=",
		"-fdebug-prefix-map=" + common + "=/usr/src/linux", "-fdebug-prefix-map=" + here(t) + "=/usr/src/linux", "-I" + filepath.Join(dir, includeDir), "-include",
		filepath.Join(dir, includeDir, moduleHeader), "-S", "-o", filepath.Join(dir, "core.s"), filepath.Join(work, "kernel/sched/core.c")}
	if diff := cmp.Diff(want, list[0]); diff != "" {
		t.Errorf("compiler call: %s", diff)
	}
	var u Unit
	if err := readRecord(filepath.Join(dir, "core"+recordSuffix), &u); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{filepath.Join(work, "kernel/sched/sched.h"), filepath.Join(work, "include/linux/both.h"),
		filepath.Join(common, "include/linux/only.h")} {
		if !slices.Contains(u.Deps, d) {
			t.Errorf("dependencies %q lack %s", u.Deps, d)
		}
	}
	if len(u.Command) == 0 || u.Command[0] != cc || slices.Contains(u.Command, "-S") || slices.Contains(u.Command, "-DMODULE") ||
		u.Command[len(u.Command)-1] != filepath.Join(work, "kernel/sched/core.c") {
		t.Errorf("command %q", u.Command)
	}
}

// TestCompileError: the compiler's status comes through, and no object is left.
func TestCompileError(t *testing.T) {
	work, dir := t.TempDir(), t.TempDir()
	write(t, filepath.Join(work, "kernel/sched/core.c"), "int f(void) { return undeclared; }\n")
	source := filepath.Join(dir, "core.c")
	if err := os.Symlink(filepath.Join(work, "kernel/sched/core.c"), source); err != nil {
		t.Fatal(err)
	}
	w := &wrapper{mode: modeCompile, work: work, sched: "kernel/sched", common: "/none", cc: "gcc", dir: dir,
		args: []string{"-c", "-o", filepath.Join(dir, "core.o"), source}}
	stderr := os.Stderr
	r, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stderr = pipe
	err = w.run()
	os.Stderr = stderr
	pipe.Close()
	var text [4096]byte
	n, _ := r.Read(text[:])
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("error %v", err)
	}
	want := "kernel/sched/core.c:1:22: error: 'undeclared' undeclared"
	d := diagnostics(strings.NewReplacer("‘", "'", "’", "'").Replace(string(text[:n])), &Tree{WorkDir: work})
	if !strings.Contains("\n"+d, "\n"+want) {
		t.Errorf("the developer is told %q, want %q", d, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "core.o")); err == nil {
		t.Error("an object was left")
	}
}

func TestAssemble(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, boundDir, "core.s"), "\t.globl bound\nbound:\tret\n")
	deps := filepath.Join(dir, ".core.o.d")
	w := &wrapper{mode: modeAssemble, cc: "gcc", dir: dir, args: []string{"-Wp,-MMD," + deps, "-DMODULE", "-c", "-o",
		filepath.Join(dir, "core.o"), filepath.Join(dir, "core.c")}}
	if err := w.run(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("nm", filepath.Join(dir, "core.o")).Output()
	if err != nil || !strings.Contains(string(out), "T bound") {
		t.Errorf("%s, %v", out, err)
	}
	// fixdep leaves the first one out: the bound assembly has to come second.
	want := []string{filepath.Join(dir, "core.c"), filepath.Join(dir, boundDir, "core.s")}
	if got, err := readDeps(deps); err != nil || !slices.Equal(got, want) {
		t.Errorf("dependencies %q, %v", got, err)
	}
}

// TestWrapperOutside: the hidden command explains itself to who runs it by hand.
func TestWrapperOutside(t *testing.T) {
	t.Setenv(envCC, "")
	if got := WrapCompiler([]string{"-c", "a.c"}); got != 2 {
		t.Errorf("exit status %d", got)
	}
}

func TestWrapperScript(t *testing.T) {
	dir := t.TempDir()
	self := filepath.Join(dir, "a place", "self")
	write(t, self, "#!/bin/sh\necho self \"$@\"\n")
	script := filepath.Join(dir, "cc")
	write(t, script, wrapperScript(&Tree{Self: self, Env: &environment.Environment{CC: "echo compiler"}}))
	for args, want := range map[string]string{"-c a.c": "self cc -c a.c", "-E a.c": "compiler -E a.c", "-cc1 a.c": "compiler -cc1 a.c",
		"a.S -O2 -c": "self cc a.S -O2 -c", "-O2 -c -x c /dev/null": "compiler -O2 -c -x c /dev/null", "-c -o x.o -": "compiler -c -o x.o -"} {
		out, err := exec.Command(script, strings.Fields(args)...).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", args, got, err, want)
		}
	}
}

func TestReadRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	text, _ := json.Marshal(Unit{Deps: []string{"d"}, Command: []string{"c"}, Name: "not taken over"})
	write(t, path, string(text))
	u := Unit{Name: "kernel/sched/core.c"}
	if err := readRecord(path, &u); err != nil || u.Name != "kernel/sched/core.c" || len(u.Deps) != 1 || len(u.Command) != 1 {
		t.Errorf("%+v, %v", u, err)
	}
	write(t, path, "{")
	if err := readRecord(path, &u); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("damaged: %v", err)
	}
}

// here is the directory in which the compiler runs.
func here(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestCompileHere runs the wrapper as newer kbuilds do: in the module's own directory, with
// relative paths.
func TestCompileHere(t *testing.T) {
	work, common, dir := t.TempDir(), t.TempDir(), t.TempDir()
	t.Chdir(dir)
	source := filepath.Join(work, "kernel/sched/core.c")
	write(t, source, "#include \"sched.h\"\nint value = SCHED;\n")
	write(t, filepath.Join(work, "kernel/sched/sched.h"), "#define SCHED 4\n")
	writeHeaders(t, common)
	if err := copyAPI(filepath.Join(dir, includeDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(source, filepath.Join(dir, "core.c")); err != nil {
		t.Fatal(err)
	}
	cc, calls := recorder(t)
	w := &wrapper{mode: modeCompile, work: work, sched: "kernel/sched", common: common, cc: cc, dir: dir,
		args: []string{"-Wp,-MMD,./.core.o.d", "-I" + common + "/include", "-I.", "-I" + common + "/.", "-c", "-o", "core.o", "core.c"}}
	if err := w.run(); err != nil {
		t.Fatal(err)
	}
	want := []string{"-Wp,-MMD,./.core.o.d", "-I" + work + "/include", "-I" + common + "/include", "-I" + filepath.Dir(source),
		"-I" + work, "-I" + common + "/.",
		"-ffile-prefix-map=" + common + "/=", "-ffile-prefix-map=" + work + "/=",
		"-fdebug-prefix-map=" + common + "=/usr/src/linux", "-fdebug-prefix-map=" + here(t) + "=/usr/src/linux", "-I" + filepath.Join(dir, includeDir),
		"-S", "-o", filepath.Join(dir, "core.s"), source}
	if diff := cmp.Diff(want, calls()[0]); diff != "" {
		t.Errorf("compiler call: %s", diff)
	}
	var u Unit
	if err := readRecord(filepath.Join(dir, "core"+recordSuffix), &u); err != nil || !slices.Contains(u.Deps, filepath.Join(work,
		"kernel/sched/sched.h")) {
		t.Errorf("dependencies %q, %v", u.Deps, err)
	}
}
