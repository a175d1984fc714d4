// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plugsched/test/fedora"
)

// rpmKernel builds the packages of a kernel.
func rpmKernel(t *testing.T, k fakeKernel, flags string, patches map[string]string) (*fedora.Packages, Options) {
	t.Helper()
	if _, err := exec.LookPath("rpmbuild"); err != nil && os.Getenv("PLUGSCHED_NEED_TOOLS") == "" {
		t.Skip("no rpmbuild (make setup)")
	}
	dir := t.TempDir()
	merge(k.built(), tree{"Makefile": k.makefileText(), "include/linux/sched.h": "/* changed */\n", "include/linux/only.h": "only\n",
		"scripts/mod/modpost": "x"}).write(t, filepath.Join(dir, "headers"))
	must(t, os.Link(filepath.Join(dir, "headers/scripts/mod/modpost"), filepath.Join(dir, "headers/scripts/mod/modpost2")))
	must(t, os.Link(filepath.Join(dir, "headers/scripts/basic/fixdep"), filepath.Join(dir, "headers/scripts/basic/fixdep2")))
	must(t, os.WriteFile(filepath.Join(dir, "linux.tar"), merge(k.source(), k.extraSource()).tar("linux-6.1.7/"), 0o644))
	if out, err := exec.Command("xz", filepath.Join(dir, "linux.tar")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, text := range map[string][]byte{"vmlinux": k.vmlinux(), "vmlinuz": k.vmlinuz(), "config": []byte(k.config)} {
		must(t, os.WriteFile(filepath.Join(dir, name), text, 0o644))
	}
	p, err := fedora.Build(t.Context(), filepath.Join(dir, "rpm"), &fedora.Kernel{Release: k.release, Version: "6.1.7",
		Vmlinuz: filepath.Join(dir, "vmlinuz"), Config: filepath.Join(dir, "config"), Vmlinux: filepath.Join(dir, "vmlinux"),
		Headers: filepath.Join(dir, "headers"), Source: filepath.Join(dir, "linux.tar.xz"), Patches: patches,
		BinaryFlags: flags, SourceFlag: flags})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{CacheDir: filepath.Join(dir, "cache"), RPMs: p.List(),
		host: &host{root: filepath.Join(dir, "host"), uname: func() (string, string) { return "other", "#1" }, arch: "amd64"}}
	return p, o
}

func fedoraKernel() fakeKernel {
	k := newKernel("6.1.7-1.fc99.x86_64", "6.1.7")
	k.mine = true
	return k
}

// fedoraPatches change one file twice, which only goes in one order, and files that are not kept.
var fedoraPatches = map[string]string{
	"patch-6.1.7-redhat.patch": "diff --git a/sound/a.c b/sound/a.c\n--- a/sound/a.c\n+++ b/sound/a.c\n@@ -1 +1 @@\n-none\n+such\n" +
		"diff --git a/include/linux/sched.h b/include/linux/sched.h\n--- a/include/linux/sched.h\n+++ b/include/linux/sched.h\n" +
		"@@ -1 +1,2 @@\n-/* sched.h 6.1.7 */\n\\ No newline at end of file\n+--- a/sound/a.c\n+/* first */\n",
	"linux-kernel-test.patch": "From 0123 Mon Sep 17 00:00:00 2001\nSubject: x\n\n--- a/include/linux/sched.h\n+++ b/include/linux/sched.h\n" +
		"@@ -1,2 +1 @@\n---- a/sound/a.c\n-/* first */\n+/* changed */\n--- a/sound/b.c\n+++ b/sound/b.c\n@@ -1 +1 @@\n-none\n+such\n-- \n2.40\n",
	"empty.patch": "",
}

// TestRPM: all four artefacts come from packages, however these are compressed, the patched source included. The
// cache has them the second time.
func TestRPM(t *testing.T) {
	for _, flags := range []string{"w1.zstdio", "w1.xzdio", "w1.gzdio", "w1.bzdio", "w.ufdio"} {
		t.Run(flags, func(t *testing.T) {
			_, o := rpmKernel(t, fedoraKernel(), flags, fedoraPatches)
			tg := mustFetch(t, o)
			if tg.Release != "6.1.7-1.fc99.x86_64" || tg.Origin != "rpm" ||
				tg.Suite != "" || tg.Version != "" || tg.KernelBuild != tg.HeadersCommon {
				t.Errorf("target %+v", tg)
			}
			for _, p := range []string{tg.Vmlinux, tg.Vmlinuz, tg.Config, tg.KernelBuild + "/Module.symvers",
				tg.KernelBuild + "/include/linux/only.h",
				tg.KernelBuild + "/scripts/basic/fixdep2", tg.Source + "/kernel/sched/core.c"} {
				if !filepath.IsAbs(p) || existing(p) == "" {
					t.Errorf("%s is not there", p)
				}
			}
			for _, name := range []string{"modpost", "modpost2"} {
				if text, err := os.ReadFile(tg.KernelBuild + "/scripts/mod/" + name); err != nil || string(text) != "x" {
					t.Errorf("%s: %q, %v", name, text, err)
				}
			}
			if text, err := os.ReadFile(tg.Source + "/include/linux/sched.h"); err != nil || string(text) != "/* changed */\n" {
				t.Errorf("patched header %q, %v", text, err)
			}
			if existing(tg.Source+"/sound") != "" {
				t.Error("what is not kept is there")
			}
			st, err := os.Stat(tg.Vmlinux)
			must(t, err)
			if again := mustFetch(t, o); *again != *tg {
				t.Errorf("again %+v, want %+v", again, tg)
			}
			if now, err := os.Stat(tg.Vmlinux); err != nil || !os.SameFile(st, now) {
				t.Errorf("unpacked again (%v)", err)
			}
		})
	}
}

// TestRPMFaults: what does not go together, or is damaged, is named.
func TestRPMFaults(t *testing.T) {
	p, o := rpmKernel(t, fedoraKernel(), "w1.gzdio", fedoraPatches)
	q, _ := rpmKernel(t, newKernel("6.1.7-2.fc99.x86_64", "6.1.7"), "w1.gzdio", nil)
	fails := func(name string, list []string, change func(*Options), want ...string) {
		t.Run(name, func(t *testing.T) {
			o := o
			o.RPMs, o.CacheDir = list, filepath.Join(t.TempDir(), "cache")
			if change != nil {
				change(&o)
			}
			_, err := Fetch(t.Context(), o)
			for _, w := range want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("error %v, want %q in it", err, w)
				}
			}
		})
	}
	all := p.List()
	fails("two kernels", []string{p.Core, q.Devel}, nil, "kernel release", "6.1.7-2.fc99.x86_64", "one kernel")
	fails("twice", append(all, filepath.Join(t.TempDir(), "none.rpm")), nil, "--rpm: ", "none.rpm")
	fails("another release", all, func(o *Options) { o.Release = "6.1.8" }, "kernel release", "6.1.8")
	fails("no headers", []string{p.Core, p.Debuginfo, p.Source}, nil, "nothing that was named has the headers", "kernel-devel")
	fails("no source", []string{p.Core, p.Debuginfo, p.Devel}, nil, "nothing that was named has the source", ".src.rpm")
	other := filepath.Join(t.TempDir(), "a.rpm")
	must(t, os.WriteFile(other, []byte("no package"), 0o644))
	fails("no package", []string{other}, nil, other, "an RPM package")

	text, err := os.ReadFile(p.Debuginfo)
	must(t, err)
	damaged := filepath.Join(t.TempDir(), "damaged.rpm")
	must(t, os.WriteFile(damaged, text[:len(text)-20], 0o644))
	fails("cut off", []string{p.Core, p.Devel, p.Source, damaged}, nil, "unpack "+damaged)
	plain, po := rpmKernel(t, fedoraKernel(), "w.ufdio", nil)
	text, err = os.ReadFile(plain.Debuginfo)
	must(t, err)
	at := bytes.LastIndex(text, []byte("not read here"))
	if at < 0 {
		t.Fatal("the package does not have its file")
	}
	text[at]++
	must(t, os.WriteFile(damaged, text, 0o644))
	po.RPMs = []string{plain.Core, plain.Devel, plain.Source, damaged}
	if _, err := Fetch(t.Context(), po); err == nil || !strings.Contains(err.Error(), "SHA-256 sum of its payload") {
		t.Errorf("damaged: %v", err)
	}
	bad := map[string]string{"a.patch": strings.ReplaceAll(fedoraPatches["patch-6.1.7-redhat.patch"], "sched.h 6.1.7", "sched.h 6.1.8")}
	_, bo := rpmKernel(t, fedoraKernel(), "w1.gzdio", bad)
	if _, err := Fetch(t.Context(), bo); err == nil || !strings.Contains(err.Error(), "a.patch: does not apply") {
		t.Errorf("patch: %v", err)
	}
}

// TestPatchOrder: the spec's numbers order the patches, and its macros stand for whatever they are.
func TestPatchOrder(t *testing.T) {
	s := &sourceRPM{patches: map[string]string{"a.patch": "", "b.patch": "", "patch-6.1-redhat.patch": "", "not-named.patch": ""},
		spec: "Name: x\nPatch999: a.patch\nPatch1: patch-%{version}-redhat.patch\n Patch3: no\nPatch20: https://x/b.patch\n"}
	if got, want := s.order(), []string{"patch-6.1-redhat.patch", "b.patch", "a.patch"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	s.spec = ""
	if got := s.order(); len(got) != 4 || got[0] != "a.patch" {
		t.Errorf("without a spec file: %v", got)
	}
}
