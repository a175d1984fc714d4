// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const testRelease = "6.1.0-9-cloud-amd64"

func testKernel() fakeKernel { return newKernel(testRelease, "6.1.7-2") }

func mustFetch(t *testing.T, o Options) *Target {
	t.Helper()
	tg, err := Fetch(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

func TestFetchThroughApt(t *testing.T) {
	a := newArchive(t)
	a.publish(testKernel())
	// Neighbours that must not be taken.
	a.publish(newKernel("6.1.0-8-cloud-amd64", "6.1.6-1"))
	done := map[string]Progress{}
	o := a.options(testRelease)
	o.Progress = func(p Progress) { done[p.Step+" "+p.Item] = p }
	tg := mustFetch(t, o)

	if tg.Release != testRelease || tg.Version != "6.1.7-2" || tg.Arch != "amd64" || tg.KernelArch != "x86" ||
		tg.Compiler != testKernel().compiler {
		t.Errorf("target %+v", tg)
	}
	if want := fmt.Sprintf("%x", testKernel().buildID); tg.BuildID != want {
		t.Errorf("build-id %s, want %s", tg.BuildID, want)
	}
	for _, p := range []string{tg.Vmlinux, tg.Vmlinuz, tg.Config, tg.SystemMap, tg.KernelBuild + "/scripts/Kbuild.include",
		tg.KernelBuild + "/Module.symvers", tg.KernelBuild + "/.kernelvariables", tg.HeadersCommon + "/include/linux/only.h",
		tg.Source + "/kernel/sched/core.c", tg.Source + "/io_uring/io-wq.h", tg.Source + "/fs/exec.c", tg.Source + "/drivers/base/core.c"} {
		if !filepath.IsAbs(p) || existing(p) == "" {
			t.Errorf("%s is not there", p)
		}
	}
	for _, p := range []string{tg.Source + "/sound", tg.Source + "/drivers/gpu", tg.Source + "/arch/mips", tg.Source + "/tools",
		filepath.Dir(tg.Source) + "/deb",
		filepath.Dir(tg.Source) + "/headers/usr/share"} {
		if existing(p) != "" {
			t.Errorf("%s should not be there", p)
		}
	}
	mk, err := os.ReadFile(tg.KernelBuild + "/Makefile")
	if want := "include " + tg.HeadersCommon + "/Makefile\n"; err != nil || string(mk) != want {
		t.Errorf("build directory's Makefile %q, %v; want %q", mk, err, want)
	}
	for _, k := range []string{"download 6 packages", "unpack vmlinux", "unpack source", "unpack image", "unpack headers"} {
		if p, ok := done[k]; !ok || p.Done != p.Total {
			t.Errorf("last progress of %q is %+v", k, p)
		}
	}

	a.clearLog()
	if again := mustFetch(t, o); *again != *tg {
		t.Errorf("from the cache: %+v, want %+v", again, tg)
	}
	if log := a.log(); log != "" {
		t.Errorf("a complete cache ran programs:\n%s", log)
	}
}

func TestVersionChoice(t *testing.T) {
	a := newArchive(t)
	old, cur := newKernel(testRelease, "6.1.7-1"), newKernel(testRelease, "6.1.7-2")
	a.publish(old)
	a.publish(cur)
	o := a.options(testRelease)
	if tg := mustFetch(t, o); tg.Version != "6.1.7-2" {
		t.Errorf("newest: %s", tg.Version)
	}
	o.Version = "6.1.7-1"
	if tg := mustFetch(t, o); tg.Version != "6.1.7-1" {
		t.Errorf("explicit: %s", tg.Version)
	}
	o.Version = ""
	if tg := mustFetch(t, o); tg.Version != "6.1.7-2" {
		t.Errorf("newest in cache: %s", tg.Version)
	}
	o.host.uname = func() (string, string) { return testRelease, old.uts() }
	if tg := mustFetch(t, o); tg.Version != "6.1.7-1" {
		t.Errorf("running kernel: %s", tg.Version)
	}
}

// TestIncompleteNewest takes the older version if of the newer one the debug
// package has not arrived on the mirror yet.
func TestIncompleteNewest(t *testing.T) {
	a := newArchive(t)
	a.publish(newKernel(testRelease, "6.1.7-1"))
	a.publish(newKernel(testRelease, "6.1.7-2"), "dbg")
	if tg := mustFetch(t, a.options(testRelease)); tg.Version != "6.1.7-1" {
		t.Errorf("version %s", tg.Version)
	}
}

// cancelAt runs Fetch, cancels it once the fake program hangs, and checks that
// it left no process.
func cancelAt(t *testing.T, a *archive, o Options) {
	t.Helper()
	pids := filepath.Join(a.dir, "pids")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for existing(pids) == "" || fileSize(pids) == 0 {
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond)
		cancel()
	}()
	start := time.Now()
	if _, err := Fetch(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled Fetch: %v", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("cancelled Fetch took %v", d)
	}
	b, err := os.ReadFile(pids)
	must(t, err)
	for _, f := range strings.Fields(string(b)) {
		var pid int
		fmt.Sscan(f, &pid)
		if !gone(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
	os.Remove(pids)
}

// gone waits a little for init to reap a killed grandchild.
func gone(pid int) bool {
	for range 100 {
		if syscall.Kill(pid, 0) == syscall.ESRCH {
			return true
		}
		if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); strings.Contains(string(b), ") Z ") {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

func TestInterruptedDownload(t *testing.T) {
	a := newArchive(t)
	a.publish(testKernel())
	o := a.options(testRelease)
	t.Setenv("FAKE_APT", "hang")
	cancelAt(t, a, o)
	dir := filepath.Join(o.CacheDir, testRelease+"_6.1.7-2")
	for _, k := range allKinds {
		if existing(filepath.Join(dir, string(k)+".json")) != "" {
			t.Errorf("%s is marked complete", k)
		}
	}
	t.Setenv("FAKE_APT", "")
	a.clearLog()
	mustFetch(t, o)
	if !strings.Contains(a.log(), "resume linux-image-"+testRelease+"-dbg_") {
		t.Errorf("not resumed:\n%s", a.log())
	}
}

func TestInterruptedUnpacking(t *testing.T) {
	a := newArchive(t)
	a.publish(testKernel())
	o := a.options(testRelease)
	t.Setenv("FAKE_DPKG", "hang")
	cancelAt(t, a, o)
	t.Setenv("FAKE_DPKG", "")
	a.clearLog()
	mustFetch(t, o)
	for line := range strings.Lines(a.log()) {
		if strings.HasPrefix(line, "apt-get") && !strings.Contains(line, "--print-uris") && strings.Contains(line, "-dbg=") {
			t.Errorf("downloaded again: %s", line)
		}
	}
}

// TestPartialFiles starts from what an interruption may leave.
func TestPartialFiles(t *testing.T) {
	dbg := "linux-image-" + testRelease + "-dbg_6.1.7-2_all.deb"
	for name, leave := range map[string]func(t *testing.T, a *archive, dir string){
		"half-unpacked directory": func(t *testing.T, a *archive, dir string) {
			tree{"vmlinux.tmp/junk": "x", "vmlinux.json.tmp": "{"}.write(t, dir)
		},
		"renamed but not marked": func(t *testing.T, a *archive, dir string) {
			tree{"vmlinux/vmlinux-" + testRelease: "half"}.write(t, dir)
		},
		"wrong partial package": func(t *testing.T, a *archive, dir string) {
			tree{"deb/" + dbg: "from another mirror"}.write(t, dir)
			t.Setenv("FAKE_APT", "hash")
		},
		"marker cut off": func(t *testing.T, a *archive, dir string) {
			tree{"vmlinux.json": `{"format":1,"version":"6.1.7-2","files":[{"p":"vm`}.write(t, dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive(t)
			a.publish(testKernel())
			o := a.options(testRelease)
			dir := filepath.Join(o.CacheDir, testRelease+"_6.1.7-2")
			leave(t, a, dir)
			tg := mustFetch(t, o)
			if b, err := os.ReadFile(tg.Vmlinux); err != nil || string(b) != string(testKernel().vmlinux()) {
				t.Errorf("vmlinux is not the package's: %v", err)
			}
			if left, _ := filepath.Glob(dir + "/*.tmp"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestDamagedCache(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(tg *Target) error
		pkg    string // fetched again
	}{
		"truncated vmlinux": {func(tg *Target) error { return os.Truncate(tg.Vmlinux, 100) }, "-dbg="},
		"foreign vmlinux of equal size": {func(tg *Target) error {
			k := testKernel()
			k.buildID = strings.ToUpper(k.buildID)
			return os.WriteFile(tg.Vmlinux, k.vmlinux(), 0o644)
		}, "-dbg="},
		"missing source file":  {func(tg *Target) error { return os.Remove(tg.Source + "/kernel/sched/core.c") }, "linux-source-6.1="},
		"emptied header":       {func(tg *Target) error { return os.Truncate(tg.HeadersCommon+"/include/linux/sched.h", 0) }, "-common="},
		"boot image gone":      {func(tg *Target) error { return os.RemoveAll(filepath.Dir(tg.Vmlinuz)) }, "linux-image-" + testRelease + "="},
		"build directory gone": {func(tg *Target) error { return os.RemoveAll(tg.KernelBuild) }, ""},
		"build directory's Makefile of another cache": {func(tg *Target) error {
			return os.WriteFile(tg.KernelBuild+"/Makefile", []byte("include /elsewhere/Makefile\n"), 0o644)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive(t)
			a.publish(testKernel())
			o := a.options(testRelease)
			tg := mustFetch(t, o)
			must(t, c.damage(tg))
			a.clearLog()
			if again := mustFetch(t, o); *again != *tg {
				t.Errorf("%+v, want %+v", again, tg)
			}
			fetched := 0
			for line := range strings.Lines(a.log()) {
				if !strings.HasPrefix(line, "apt-get") || strings.Contains(line, "--print-uris") {
					continue
				}
				if fetched++; c.pkg == "" || !strings.Contains(line, c.pkg) {
					t.Errorf("fetched more than was damaged: %s", line)
				}
			}
			if c.pkg != "" && fetched != 1 {
				t.Errorf("%d downloads", fetched)
			}
			if mk, _ := os.ReadFile(tg.KernelBuild + "/Makefile"); !strings.Contains(string(mk), tg.HeadersCommon) {
				t.Errorf("build directory not restored: %q", mk)
			}
		})
	}
}

func TestDiskFull(t *testing.T) {
	for name, env := range map[string][2]string{
		"while downloading":  {"FAKE_APT", "enospc"},
		"while unpacking":    {"FAKE_DPKG", "enospc"},
		"before downloading": {"FAKE_SIZE", "900000000000000"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive(t)
			a.publish(testKernel())
			o := a.options(testRelease)
			t.Setenv(env[0], env[1])
			_, err := Fetch(t.Context(), o)
			var se *SpaceError
			if !errors.As(err, &se) || !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("error %v", err)
			}
			wantLine(t, err, o.CacheDir, "MB needed", "--cache-dir")
			if env[0] == "FAKE_SIZE" {
				for line := range strings.Lines(a.log()) {
					if strings.HasPrefix(line, "apt-get") && !strings.Contains(line, "--print-uris") {
						t.Errorf("downloaded all the same: %s", line)
					}
				}
				return
			}
			t.Setenv(env[0], "")
			mustFetch(t, o)
		})
	}
}

func TestFailingTools(t *testing.T) {
	for name, c := range map[string]struct{ env, val, want string }{
		"network":         {"FAKE_APT", "network", "Temporary failure resolving"},
		"corrupt package": {"FAKE_DPKG", "corrupt", "subprocess returned error"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive(t)
			a.publish(testKernel())
			t.Setenv(c.env, c.val)
			_, err := Fetch(t.Context(), a.options(testRelease))
			wantLine(t, err, c.want)
			t.Setenv(c.env, "")
			mustFetch(t, a.options(testRelease))
		})
	}
}

func TestMissingTools(t *testing.T) {
	for _, tool := range []string{"apt-cache", "apt-get", "dpkg-deb", "xz"} {
		t.Run(tool, func(t *testing.T) {
			a := newArchive(t)
			a.publish(testKernel())
			// A PATH with everything but the tool.
			bin := t.TempDir()
			ents, err := os.ReadDir("testdata/bin")
			must(t, err)
			for _, e := range ents {
				if e.Name() != tool {
					p, _ := filepath.Abs("testdata/bin/" + e.Name())
					must(t, os.Symlink(p, filepath.Join(bin, e.Name())))
				}
			}
			for _, u := range []string{"sh", "awk", "sort", "cat", "rm", "wc", "tail", "head", "sleep", "grep"} {
				for _, d := range []string{"/usr/bin/", "/bin/"} {
					if existing(d+u) != "" && existing(filepath.Join(bin, u)) == "" {
						must(t, os.Symlink(d+u, filepath.Join(bin, u)))
					}
				}
			}
			t.Setenv("PATH", bin)
			_, err = Fetch(t.Context(), a.options(testRelease))
			if tool == "apt-cache" { // not Debian: no tool is what is missing
				var ue *UnavailableError
				if !errors.As(err, &ue) {
					t.Errorf("error %v", err)
				}
				wantLine(t, err, "this machine does not have", "of "+testRelease+" this machine lacks", "another release", "--vmlinux FILE", "--tree")
				return
			}
			var te *ToolError
			if !errors.As(err, &te) || te.Tool != tool {
				t.Fatalf("error %v", err)
			}
			wantLine(t, err, tool, "apt-get install "+toolPackage[tool])
		})
	}
}

// wantLine checks for one line that says all of the wants.
func wantLine(t *testing.T, err error, wants ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
	for _, w := range wants {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestLock(t *testing.T) {
	s := &store{dir: t.TempDir()}
	unlock, err := s.lock(t.Context())
	must(t, err)
	told := make(chan Progress, 1)
	second := &store{dir: s.dir, rep: &reporter{fn: func(p Progress) { told <- p }}}
	got := make(chan error)
	go func() {
		u, err := second.lock(t.Context())
		if err == nil {
			u()
		}
		got <- err
	}()
	if p := <-told; p.Step != "wait" {
		t.Errorf("progress %+v", p)
	}
	select {
	case <-got:
		t.Fatal("locked twice")
	case <-time.After(150 * time.Millisecond):
	}
	unlock()
	must(t, <-got)

	unlock, err = s.lock(t.Context())
	must(t, err)
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := second.lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting with a deadline: %v", err)
	}
}

// TestConcurrentFetch has two fetch the same into one cache.
func TestConcurrentFetch(t *testing.T) {
	a := newArchive(t)
	a.publish(testKernel())
	errs := make(chan error)
	for range 2 {
		go func() { _, err := Fetch(t.Context(), a.options(testRelease)); errs <- err }()
	}
	for range 2 {
		must(t, <-errs)
	}
	n := 0
	for line := range strings.Lines(a.log()) {
		if strings.HasPrefix(line, "apt-get") && !strings.Contains(line, "--print-uris") && strings.Contains(line, "-dbg=") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("downloaded %d times", n)
	}
}

func TestInstalledOnHost(t *testing.T) {
	a := newArchive(t)
	k := testKernel()
	o := a.options(testRelease)
	root := o.host.root
	merge(k.headers(), k.commonTree(), k.kbuildTree(), tree{
		"usr/lib/debug/boot/vmlinux-" + k.release: string(k.vmlinux()),
		"boot/vmlinuz-" + k.release:               string(k.vmlinuz()),
		"boot/config-" + k.release:                k.config,
		"usr/src/linux-source-6.1.tar.xz":         string(merge(k.source(), k.extraSource()).tar("linux-source-6.1/")),
	}).write(t, root)
	installed := ""
	for _, p := range []string{"linux-image-" + k.release, "linux-image-" + k.release + "-dbg", "linux-headers-" + k.release} {
		installed += p + " 6.1.7-2 installed\n"
	}
	writeInstalled := func(s string) { must(t, os.WriteFile(filepath.Join(a.dir, "installed"), []byte(s), 0o644)) }
	writeInstalled(installed + "linux-source-6.1 6.1.7-2 installed\n")
	tg := mustFetch(t, o)
	if !strings.HasPrefix(tg.Vmlinux, root) || !strings.HasPrefix(tg.Vmlinuz, root) || !strings.HasPrefix(tg.HeadersCommon, root) {
		t.Errorf("not the installed files: %+v", tg)
	}
	if existing(tg.Source+"/kernel/sched/core.c") == "" || existing(tg.Source+"/sound") != "" {
		t.Errorf("source %s not unpacked", tg.Source)
	}
	if strings.Contains(a.log(), "apt-") {
		t.Errorf("asked apt:\n%s", a.log())
	}

	// The source of another version is no use: that is downloaded.
	writeInstalled(installed + "linux-source-6.1 6.1.7-1 installed\n")
	a.publish(k)
	a.clearLog()
	must(t, os.RemoveAll(o.CacheDir))
	tg = mustFetch(t, o)
	if strings.HasPrefix(tg.Source, root) || !strings.Contains(a.log(), "download linux-source-6.1=6.1.7-2") {
		t.Errorf("source %s, log:\n%s", tg.Source, a.log())
	}
	if strings.Contains(a.log(), "-dbg=") {
		t.Errorf("downloaded what is installed:\n%s", a.log())
	}
}

// TestNarrowSource: a cache that holds less of the source than is wanted, as an
// earlier version left it, is filled anew.
func TestNarrowSource(t *testing.T) {
	a := newArchive(t)
	a.publish(testKernel())
	o := a.options(testRelease)
	tg := mustFetch(t, o)
	marked := filepath.Dir(tg.Source) + "/source.json"
	text, err := os.ReadFile(marked)
	must(t, err)
	var m marker
	must(t, json.Unmarshal(text, &m))
	m.Files = slices.DeleteFunc(m.Files, func(f fileEntry) bool { return strings.HasPrefix(f.Path, "fs/") })
	text, err = json.Marshal(m)
	must(t, err)
	must(t, os.WriteFile(marked, text, 0o644))
	must(t, os.RemoveAll(tg.Source+"/fs"))
	a.clearLog()
	for _, dirs := range [][]string{nil, {"kernel", "drivers"}, {"frobs"}} {
		o.SourceDirs = dirs
		if tg := mustFetch(t, o); existing(tg.Source+"/fs") != "" || strings.Contains(a.log(), "download") {
			t.Errorf("%v: fetched again:\n%s", dirs, a.log())
		}
	}
	o.SourceDirs = []string{"fs"}
	if tg := mustFetch(t, o); existing(tg.Source+"/fs/exec.c") == "" || !strings.Contains(a.log(), "download linux-source-6.1=6.1.7-2") {
		t.Errorf("not fetched again:\n%s", a.log())
	}
}

// TestCodeDirs: whoever looks for the users of something looks through all code that is kept.
func TestCodeDirs(t *testing.T) {
	dirs := (&Target{KernelArch: "x86"}).CodeDirs()
	for _, d := range sourceDirs {
		if d == "arch" {
			d = "arch/x86"
		}
		if !slices.Contains(dirs, d) && d != "scripts" {
			t.Errorf("%s is kept, and not looked through", d)
		}
	}
	if dirs[len(dirs)-1] != "include" {
		t.Errorf("headers are not last: %v", dirs)
	}
}
