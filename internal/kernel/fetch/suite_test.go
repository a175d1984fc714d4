// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAnalyseOnly fetches nothing but the debug package, although no other one is
// to be had and no compiler is there.
func TestAnalyseOnly(t *testing.T) {
	a := newArchive(t)
	k := testKernel()
	k.compiler = "gcc-none (Test 9) 9"
	a.publish(k, "linux-headers", "linux-kbuild", "linux-source")
	o := a.options(testRelease)
	o.AnalyseOnly = true
	tgt := mustFetch(t, o)
	if tgt.Vmlinux == "" || tgt.BuildID == "" || tgt.KernelArch != "x86" || tgt.KernelBuild != "" || tgt.Source != "" || tgt.Vmlinuz != "" {
		t.Errorf("%+v", tgt)
	}
	for line := range strings.Lines(a.log()) {
		if strings.HasPrefix(line, "apt-get") && strings.Contains(line, "=") && !strings.Contains(line, "-dbg=") {
			t.Errorf("fetches more than the vmlinux: %s", line)
		}
	}
}

// TestBesideModules: the vmlinux is where Debian 7.2 has it, and a link where it
// used to be.
func TestBesideModules(t *testing.T) {
	a := newArchive(t)
	k := testKernel()
	a.publish(k, "dbg")
	d := "./usr/lib/debug/"
	a.add("linux-image-"+k.release+"-dbg", k.version, "", tree{
		d + "boot/vmlinux-" + k.release:                "-> ../lib/modules/" + k.release + "/vmlinux",
		d + "lib/modules/" + k.release + "/System.map": "map",
		d + "lib/modules/" + k.release + "/vmlinux":    string(k.vmlinux()),
		d + "lib/modules/other/vmlinux":                "not this",
	}.tar(""))
	tgt := mustFetch(t, a.options(testRelease))
	if st, err := os.Lstat(tgt.Vmlinux); err != nil || !st.Mode().IsRegular() || tgt.SystemMap == "" {
		t.Errorf("%+v: %v", tgt, err)
	}
}

// TestSplitImage: the image package is made up of others, and its files are beside the modules, as
// in Debian's 7.3, where the headers' Makefile says where it is itself.
func TestSplitImage(t *testing.T) {
	a := newArchive(t)
	k := testKernel()
	a.publish(k, "linux-image", "linux-headers-"+k.release)
	modules := "./usr/lib/modules/" + k.release + "/"
	a.add("linux-image-"+k.release+"-dbg", k.version, "", tree{"./usr/lib/debug/boot/vmlinux-" + k.release: string(k.vmlinux())}.tar(""))
	a.add("linux-image-"+k.release, k.version, "dracut | linux-initramfs-tool, linux-base (>= 4), linux-base-"+k.release+" (= "+k.version+
		"), linux-binary-"+k.release+" (= "+k.version+")", tree{"./usr/share/doc/x": ""}.tar(""))
	a.add("linux-base-"+k.release, k.version, "", tree{modules + "config": k.config, modules + "modules.builtin": ""}.tar(""))
	a.add("linux-binary-"+k.release, k.version, "", tree{modules + "vmlinuz": string(k.vmlinuz())}.tar(""))
	h := k.headers()
	own := "/usr/src/linux-headers-" + k.release
	h[own[1:]+"/Makefile"] = "KBUILD_OUTPUT=" + own + "\n" + h[own[1:]+"/Makefile"]
	a.add("linux-headers-"+k.release, k.version, k.common()+" (= "+k.version+"), linux-kbuild-6.1 (>= "+k.version+")", h.tar("./"))
	tgt := mustFetch(t, a.options(testRelease))
	if existing(tgt.Vmlinuz) == "" || filepath.Base(tgt.Config) != "config-"+k.release {
		t.Errorf("%+v", tgt)
	}
	mk, err := os.ReadFile(filepath.Join(tgt.KernelBuild, "Makefile"))
	if want := "KBUILD_OUTPUT=" + tgt.KernelBuild + "\ninclude " + tgt.HeadersCommon + "/Makefile\n"; err != nil || string(mk) != want {
		t.Errorf("build directory's Makefile %q, %v; want %q", mk, err, want)
	}
	dir, err := Modules(t.Context(), a.options(testRelease))
	if err != nil || existing(filepath.Join(dir, "modules.builtin")) == "" {
		t.Errorf("modules in %s: %v", dir, err)
	}
}

func TestSuite(t *testing.T) {
	a := newArchive(t)
	a.publish(testKernel())
	t.Setenv("FAKE_MIRRORS", "Debian http://mirror/debian\nDebian-Security http://mirror/security\nOther http://elsewhere")
	o := a.options(testRelease)
	o.AnalyseOnly, o.Suite = true, "trixie"
	mustFetch(t, o)
	dir := filepath.Join(o.CacheDir, "apt/trixie")
	sources, err := os.ReadFile(filepath.Join(dir, "sources.list"))
	must(t, err)
	for _, want := range []string{"http://mirror/debian trixie main\n", "http://mirror/security trixie-security main\n"} {
		if !strings.Contains(string(sources), want) {
			t.Errorf("sources %q lack %q", sources, want)
		}
	}
	with := " with " + filepath.Join(dir, "apt.conf")
	updates := func() (n int) {
		for line := range strings.Lines(a.log()) {
			if strings.Contains(line, "indextargets") {
				continue // asks for the host's mirrors
			}
			if strings.HasPrefix(line, "apt-get") && !strings.Contains(line, with) {
				t.Errorf("does not look into the suite: %s", line)
			}
			if strings.Contains(line, " update") {
				n++
			}
		}
		return n
	}
	if n := updates(); n != 1 {
		t.Errorf("%d updates", n)
	}
	// Fresh lists are good for another release; a complete cache asks for nothing.
	a.clearLog()
	mustFetch(t, o)
	if log := a.log(); strings.Contains(log, "apt-") {
		t.Errorf("what is cached is asked for: %s", log)
	}
	l, err := Analysable(t.Context(), o, "cloud-amd64", series(testRelease))
	if err != nil || len(l) != 1 || l[0] != testRelease {
		t.Errorf("%v, %v", l, err)
	}
	if n := updates(); n != 0 {
		t.Errorf("%d updates although the lists are fresh", n)
	}
	a.clearLog()
	o.Suite, o.CacheDir = "sid", filepath.Join(a.dir, "other")
	mustFetch(t, o)
	if s, err := os.ReadFile(filepath.Join(o.CacheDir, "apt/sid/sources.list")); err != nil || strings.Contains(string(s), "security") {
		t.Errorf("sid has security updates: %q, %v", s, err)
	}
	for suite, want := range map[string]string{"../up": "is not the name of a suite",
		"trixie main\ndeb http://evil": "is not the name of a suite"} {
		o.Suite = suite
		o.Release = "6.1.0-77-cloud-amd64"
		_, err := Fetch(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("suite %q: %v", suite, err)
		}
	}
	t.Setenv("FAKE_APT", "network")
	o.Suite = "bullseye"
	_, err = Fetch(t.Context(), o)
	wantLine(t, err, "package lists of bullseye", "Temporary failure")
}

// TestForeign: the packages of a kernel of another architecture are looked for in lists that have those of both, of the
// machine's own suite. Those of one of its own are looked for with the machine's apt.
func TestForeign(t *testing.T) {
	a := newArchive(t)
	a.publish(testKernel())
	o := a.options(testRelease)
	o.AnalyseOnly = true
	o.host.arch = "arm64"
	release := filepath.Join(o.host.root, "etc/os-release")
	if err := os.MkdirAll(filepath.Dir(release), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(release, []byte("ID=debian\nVERSION_CODENAME=bookworm\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	own := o
	host := *o.host
	host.arch, own.host, own.CacheDir = "amd64", &host, t.TempDir()
	mustFetch(t, own)
	if strings.Contains(a.log(), "update") {
		t.Errorf("lists were fetched for a kernel of the machine's own architecture:\n%s", a.log())
	}
	if tgt := mustFetch(t, o); tgt.Release != testRelease || tgt.Suite != "bookworm" {
		t.Errorf("%+v", tgt)
	}
	conf, err := os.ReadFile(filepath.Join(o.CacheDir, "apt/bookworm_arm64_amd64/apt.conf"))
	if want := "APT::Architectures { \"arm64\"; \"amd64\"; };\n"; err != nil || !strings.HasSuffix(string(conf), want) {
		t.Errorf("%v, %s", err, conf)
	}
	if !strings.Contains(a.log(), "update") {
		t.Error("no lists were fetched")
	}
	o.Suite, o.CacheDir = "trixie", t.TempDir()
	mustFetch(t, o)
	if _, err := os.Stat(filepath.Join(o.CacheDir, "apt/trixie_arm64_amd64/apt.conf")); err != nil {
		t.Error(err)
	}
}
