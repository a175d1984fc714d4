// SPDX-License-Identifier: BSD-3-Clause

package environment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plugsched/internal/kernel/fetch"
	"plugsched/internal/outcome"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == EnterCommand {
		os.Exit(Enter(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func write(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// tree is an environment whose only program is busybox.
func tree(t *testing.T) *Environment {
	t.Helper()
	text, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("%v (make setup installs busybox-static)", err)
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "programs")
	write(t, filepath.Join(root, "usr/bin/busybox"), string(text), 0o755)
	for _, name := range []string{"sh", "cat", "ls", "sleep", "true", "id"} {
		if err := os.Symlink("busybox", filepath.Join(root, "usr/bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("usr/bin", filepath.Join(root, "bin")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "etc/motto"), "the tree's\n", 0o644)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &Environment{Suite: "test", Root: root, Self: self}
}

// TestTree: a program sees the tree's programs, and everything else as it is on the machine.
func TestTree(t *testing.T) {
	e := tree(t)
	work := t.TempDir()
	write(t, filepath.Join(work, "input"), "from the machine\n", 0o644)
	t.Setenv("LD_PRELOAD", "/none.so")
	// Of a directory that the tree has as well: what is named, and nothing else.
	e.Visible = []string{"/usr/share"}
	out, err := e.output(t.Context(), "sh", "-c", "cat "+work+"/input /etc/motto && ls /usr && ls -d /usr/share/doc &&"+
		" echo $PATH $LD_PRELOAD. && echo made >"+work+"/output && test -d /proc/self && test -c /dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if want := "from the machine\nthe tree's\nbin\nshare\n/usr/share/doc\n" + searchPath + " .\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	if text, err := os.ReadFile(filepath.Join(work, "output")); err != nil || string(text) != "made\n" {
		t.Errorf("left %q, %v", text, err)
	}
	// The machine does not see what was mounted.
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), e.Root) {
		t.Errorf("mounted here: %s, %v", mounts, err)
	}
	if _, err := e.output(t.Context(), "gcc", "--version"); err == nil {
		t.Error("runs the machine's gcc")
	}
	cmd := e.Command(t.Context(), "sh", "-c", "exit 7")
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("exit 7 is %v", err)
	}
}

// TestWorkingDirectory: where somebody stands does not put the machine's programs over the tree's.
func TestWorkingDirectory(t *testing.T) {
	e := tree(t)
	for _, dir := range []string{"/usr", "/usr/bin", "/usr/lib"} {
		t.Chdir(dir)
		if out, err := e.output(t.Context(), "gcc", "--version"); err == nil {
			t.Errorf("in %s, the machine's gcc runs: %s", dir, out)
		}
		if out, err := e.output(t.Context(), "sh", "-c", "cat /etc/motto"); err != nil || out != "the tree's\n" {
			t.Errorf("in %s: %q, %v", dir, out, err)
		}
	}
}

// TestShowing: a path below a directory of the tree's is seen by who is shown it.
func TestShowing(t *testing.T) {
	e := tree(t)
	const file = "/usr/include/stdio.h"
	const look = "test -s " + file + " && echo seen || echo not seen"
	for want, e := range map[string]*Environment{"not seen\n": e, "seen\n": e.Showing(file)} {
		if out, err := e.output(t.Context(), "sh", "-c", look); err != nil || out != want {
			t.Errorf("%q, %v, want %q", out, err, want)
		}
	}
}

// TestUser: the tree can be entered without any right over the machine.
func TestUser(t *testing.T) {
	if os.Getenv("PLUGSCHED_TEST_ROOT") != "" {
		e := &Environment{Suite: "test", Root: os.Getenv("PLUGSCHED_TEST_ROOT"), Self: os.Args[0]}
		if mayMount() {
			t.Fatal("this has every right")
		}
		out, err := e.output(t.Context(), "cat", "/etc/motto")
		if err != nil || out != "the tree's\n" {
			t.Errorf("printed %q: %v", out, err)
		}
		return
	}
	e := tree(t)
	for dir := e.Root; dir != filepath.Clean(os.TempDir()); dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		if err == nil {
			err = os.Chmod(dir, st.Mode()|0o711)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(e.Self, "-test.run=^TestUser$")
	cmd.Env = append(os.Environ(), "PLUGSCHED_TEST_ROOT="+e.Root)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		const nobody = 65534
		self := filepath.Join(filepath.Dir(e.Root), "self")
		if err := copyFile(e.Self, self); err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Args[0] = self, self
		if err := os.Chown(filepath.Dir(e.Root), nobody, nobody); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}

// TestNotEntered: what a machine forbids is said, with what to do about it.
func TestNotEntered(t *testing.T) {
	e := tree(t)
	if err := e.enterable(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.Root = filepath.Join(e.Root, "none") // of which nothing can be shown
	err := e.enterable(t.Context())
	if outcome.Of(err) != outcome.Precondition || !strings.Contains(err.Error(), "run plugsched as root") {
		t.Errorf("%v", err)
	}
}

// TestEnds: what runs in the tree ends with its context, children and all.
func TestEnds(t *testing.T) {
	e := tree(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := e.Command(ctx, "sh", "-c", "sleep 1000 & echo $!; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil || unix.Kill(pid, 0) != nil {
		t.Fatalf("no child %d: %v", pid, err)
	}
	cancel()
	if err := cmd.Wait(); err == nil {
		t.Error("ended well")
	}
	for unix.Kill(pid, 0) == nil { // until it has been reaped; the test's own time runs out
		time.Sleep(10 * time.Millisecond)
	}
}

// kernel lays out what the checks look at: headers with tools, and a compiler on the machine.
func kernel(t *testing.T, objtool string) *fetch.Target {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "bin/gcc-test"), "#!/bin/sh\n"+
		"echo \"gcc-test ${FAKE_GCC:-(Test 1.0-1) 1.0}\"\necho not a compiler\n", 0o755)
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	if objtool != "" {
		write(t, filepath.Join(dir, "build/tools/objtool/objtool"), "#!/bin/sh\n"+objtool+"\n", 0o755)
	}
	return &fetch.Target{Vmlinux: "/none/vmlinux", KernelArch: "x86", KernelBuild: filepath.Join(dir, "build"),
		Compiler: "gcc-test (Test 1.0-1) 1.0"}
}

// TestHere: this machine is taken if its compiler built the kernel and the kernel's tools run.
func TestHere(t *testing.T) {
	for name, tt := range map[string]struct {
		compiler, fake, objtool string
		want                    []string // in the error
	}{
		"fits":       {},
		"cross name": {compiler: "x86_64-linux-gnu-gcc-test (Test 1.0-1) 1.0"},
		"usage":      {objtool: "exit 129"},
		"needs to be told the architecture": {
			objtool: "[ \"$SRCARCH\" = x86 ] && exit 129\n" +
				"echo \"$0: error while loading shared libraries: objtool.real-$SRCARCH: no such file\" >&2; exit 127"},
		"other compiler": {fake: "(Test 1.0-2) 1.0",
			want: []string{"bin/gcc-test", "(Test 1.0-2)", "(Test 1.0-1)", "package gcc-test", "--environment"}},
		"no compiler": {compiler: "x86_64-linux-gnu-gcc-none (Test 9) 9", want: []string{"gcc-none", "(Test 9) 9", "apt-get install gcc-none"}},
		"no library": {objtool: "echo 'objtool: error while loading shared libraries: libelf.so.1: cannot open' >&2; exit 127",
			want: []string{"libelf.so.1", "apt-get install libelf1"}},
		"older library": {
			objtool: "echo \"$0: /lib/libc.so.6: version \\`GLIBC_2.38' not found (required by $0)\" >&2; exit 1",
			want:    []string{"tools/objtool/objtool", "libc.so.6", "GLIBC_2.38", "--environment"}},
	} {
		t.Run(name, func(t *testing.T) {
			k := kernel(t, tt.objtool)
			if tt.compiler != "" {
				k.Compiler = tt.compiler
			}
			if tt.fake != "" {
				t.Setenv("FAKE_GCC", tt.fake)
			}
			e, err := For(t.Context(), k, Options{})
			if len(tt.want) == 0 {
				if err != nil || e.CC != "gcc-test" || e.Root != "" {
					t.Errorf("%+v, %v", e, err)
				}
				return
			}
			if err == nil || !unfit(err) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%+v, %v", e, err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

// TestNeither: what is wrong with this machine and what with the suite are both said.
func TestNeither(t *testing.T) {
	k := kernel(t, "")
	k.Compiler, k.Suite = "gcc-none (Test 9-1) 9", "no suite"
	_, err := For(t.Context(), k, Options{CacheDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "gcc-none is needed") ||
		!strings.Contains(err.Error(), `"no suite" is not the name of a suite`) ||
		outcome.Of(err) != outcome.Usage {
		t.Errorf("%v", err)
	}
}

// TestCgo: a plugsched that would not run among other libraries is refused before anything is fetched.
func TestCgo(t *testing.T) {
	k := kernel(t, "")
	self := filepath.Join(t.TempDir(), "plugsched")
	write(t, self+".c", "int main(void) { return 0; }\n", 0o644)
	if out, err := exec.Command("gcc", "-o", self, self+".c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, err := For(t.Context(), k, Options{Suite: "bullseye", Self: self, CacheDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "libc.so.6") || !strings.Contains(err.Error(), "CGO_ENABLED=0") ||
		outcome.Of(err) != outcome.Precondition {
		t.Errorf("%v", err)
	}
}

// TestPackages: the compiler is that of the kernel, and libraries are those that its tools are
// linked with.
func TestPackages(t *testing.T) {
	k := kernel(t, "exit 1")
	k.Compiler = "x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0"
	tool := filepath.Join(k.KernelBuild, "scripts/tool")
	write(t, tool+".c", "void *elf_begin(void); int main(void) { return !elf_begin(); }\n", 0o644)
	write(t, filepath.Join(k.KernelBuild, "scripts/elf.c"), "void *elf_begin(void) { return 0; }\n", 0o644)
	for _, args := range [][]string{
		{"-shared", "-Wl,-soname,libelf.so.1", "-o", tool + ".so", filepath.Join(k.KernelBuild, "scripts/elf.c")},
		{"-o", tool, tool + ".c", tool + ".so"},
	} {
		if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	trees, err := packages(k, nil, Options{})
	if err != nil || len(trees) != 1 {
		t.Fatalf("%v, %v", trees, err)
	}
	got := trees[0].Names
	if err != nil || got[0] != "gcc-14=14.2.0-19" || !slices.Contains(got, "make") ||
		!slices.Contains(got, "libelf1") || slices.Contains(got, libc) {
		t.Errorf("%q, %v", got, err)
	}
	for lib, want := range map[string]string{"libelf.so.1": "libelf1", "libcrypto.so.3": "libssl3",
		"libcrypto.so.1.1": "libssl1.1", "libz.so.1": "zlib1g"} {
		if got := libraryPackage(lib); got != want {
			t.Errorf("%s is in %s, want %s", lib, got, want)
		}
	}
}

// TestVersioned: who builds a kernel calls the compiler by its plain name, of which the package is only a pointer.
func TestVersioned(t *testing.T) {
	for compiler, want := range map[string]string{
		"gcc (Debian 12.2.0-14+deb12u1) 12.2.0":                     "gcc-12",
		"gcc-14 (Debian 14.2.0-19) 14.2.0":                          "gcc-14",
		"x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0": "gcc-12",
		"gcc (GCC) 14.2.1 20240912 (Red Hat 14.2.1-3)":              "gcc",
		"x86_64-linux-gnu-gcc (Debian 12.2.0-14+deb12u1) 12.2.0":    "gcc-12",
	} {
		if got := versioned(compiler); got != want {
			t.Errorf("%s: %s, want %s", compiler, got, want)
		}
	}
}
