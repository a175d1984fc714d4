// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/outcome"
)

// hardLink is an archive with a file that has two names.
func hardLink() []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "./usr/bin/perl", Mode: 0o755, Size: 4, Typeflag: tar.TypeReg},
		{Name: "./usr/bin/perl5", Mode: 0o755, Linkname: "./usr/bin/perl", Typeflag: tar.TypeLink},
	} {
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if h.Size > 0 {
			w.Write([]byte("perl"))
		}
	}
	w.Close()
	return b.Bytes()
}

// TestPackages unpacks a compiler and what it depends on, once.
func TestPackages(t *testing.T) {
	a := newArchive(t)
	a.add("gcc-14", "14.2.0-19", "", tree{"./usr/bin/gcc-14": "cc", "./usr/share/doc/gcc-14/x": "", "./var/lib/x": ""}.tar(""))
	a.add("gcc-14", "14.2.0-8", "", tree{"./usr/bin/gcc-14": "older"}.tar(""))
	a.add("perl-base", "5", "", hardLink())
	a.add("dash", "1", "", tree{"./bin/dash": "sh"}.tar(""))
	a.add("base-files", "13", "", tree{"./bin": "-> usr/bin", "./etc/debian_version": "13"}.tar(""))
	t.Setenv("FAKE_DEPENDS", "base-files=13 perl-base=5")
	ended := map[string]bool{}
	p := Packages{Suite: "trixie", Names: []string{"gcc-14=14.2.0-19", "dash=1"}, CacheDir: filepath.Join(a.dir, "cache"),
		Progress: func(p Progress) { ended[p.Step+" "+p.Item] = p.Ended }}
	root, err := p.Unpack(t.Context())
	must(t, err)
	for name, want := range map[string]string{"usr/bin/gcc-14": "cc", "usr/bin/perl": "perl", "usr/bin/perl5": "perl", "bin/sh": "sh",
		"etc/debian_version": "13", "usr/share/doc": "", "var": ""} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if string(text) != want || (err != nil) != (want == "") {
			t.Errorf("%s is %q, %v, want %q", name, text, err, want)
		}
	}
	for _, step := range []string{"download 4 packages", "unpack programs"} {
		if !ended[step] {
			t.Errorf("%q has not ended: %v", step, ended)
		}
	}
	a.clearLog()
	if again, err := p.Unpack(t.Context()); err != nil || again != root || a.log() != "" {
		t.Errorf("again: %s, %v, ran %s", again, err, a.log())
	}
	// What is damaged is made anew.
	must(t, os.Remove(filepath.Join(root, "usr/bin/gcc-14")))
	_, err = p.Unpack(t.Context())
	must(t, err)
	if existing(filepath.Join(root, "usr/bin/gcc-14")) == "" {
		t.Error("a tree without its compiler is taken")
	}

	// Another version is another tree; one that is not there is named with those that are.
	p.Names[0] = "gcc-14=14.2.0-8"
	if other, err := p.Unpack(t.Context()); err != nil || other == root {
		t.Errorf("another version: %s, %v", other, err)
	}
	p.Names[0] = "gcc-14=15"
	_, err = p.Unpack(t.Context())
	wantLine(t, err, "gcc-14 15 is not in trixie", "14.2.0-19", "14.2.0-8")
	if outcome.Of(err) != outcome.Precondition {
		t.Errorf("outcome %v", outcome.Of(err))
	}
}

// TestPackagesInterrupted: a tree that is not whole is never used.
func TestPackagesInterrupted(t *testing.T) {
	a := newArchive(t)
	a.add("dash", "1", "", tree{"./bin/dash": "sh"}.tar(""))
	a.add("broken", "1", "", tree{"./usr/bin/x": strings.Repeat("x", 4096)}.tar("")[:1024])
	p := Packages{Suite: "trixie", Names: []string{"dash=1", "broken=1"}, CacheDir: filepath.Join(a.dir, "cache")}
	if _, err := p.Unpack(t.Context()); err == nil || !strings.Contains(err.Error(), "broken_1_all.deb") {
		t.Fatalf("%v", err)
	}
	left, err := filepath.Glob(filepath.Join(p.CacheDir, "environments/*/programs"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.Names = []string{"dash=1"}
	p.Progress = func(q Progress) {
		if q.Step == "download" && strings.Contains(q.Item, "packages") {
			cancel()
		}
	}
	if _, err := p.Unpack(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	p.Progress = nil
	root, err := p.Unpack(t.Context())
	if err != nil || existing(filepath.Join(root, "bin/sh")) == "" {
		t.Errorf("resumed: %v", err)
	}
}

// TestExpired: an archive that is not signed anew any more is named, with what helps.
func TestExpired(t *testing.T) {
	a := newArchive(t)
	a.publish(testKernel())
	t.Setenv("FAKE_APT", "expired")
	o := a.options(testRelease)
	o.Suite = "bullseye"
	_, err := Fetch(t.Context(), o)
	wantLine(t, err, "package lists of bullseye", "is expired", "--expired")
	if outcome.Of(err) != outcome.Precondition {
		t.Errorf("outcome %v", outcome.Of(err))
	}
	t.Setenv("FAKE_APT", "")
	conf := filepath.Join(o.CacheDir, "apt/bullseye/apt.conf")
	for _, o.Expired = range []bool{false, true} {
		o.CacheDir = filepath.Dir(filepath.Dir(filepath.Dir(conf)))
		must(t, os.RemoveAll(filepath.Join(o.CacheDir, testRelease+"_6.1.7-2")))
		mustFetch(t, o)
		text, err := os.ReadFile(conf)
		must(t, err)
		if want := fmt.Sprintf(`Check-Valid-Until "%t"`, !o.Expired); !strings.Contains(string(text), want) {
			t.Errorf("apt's configuration lacks %q: %s", want, text)
		}
	}
}

// TestSuiteIsKept: a kernel in the cache is known to be of the suite that it was fetched from.
func TestSuiteIsKept(t *testing.T) {
	a := newArchive(t)
	a.publish(testKernel())
	o := a.options(testRelease)
	if tgt := mustFetch(t, o); tgt.Suite != "" {
		t.Errorf("of %q, on a machine that is no Debian", tgt.Suite)
	}
	tree{"etc/os-release": "ID=debian\nVERSION_CODENAME=bookworm\n"}.write(t, filepath.Join(a.dir, "host"))
	if tgt := mustFetch(t, o); tgt.Suite != "bookworm" {
		t.Errorf("of %q, want the machine's own", tgt.Suite)
	}
	for _, o.Suite = range []string{"trixie-backports", ""} {
		if tgt := mustFetch(t, o); tgt.Suite != "trixie-backports" || tgt.BaseSuite() != "trixie" {
			t.Errorf("of %q with --suite %q", tgt.Suite, o.Suite)
		}
	}
}
