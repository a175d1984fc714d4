// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// absent is a case of TestUnavailable.
type absent struct {
	publish func(a *archive)
	release string
	version string
	want    []string
}

// unsupported is a kernel that no archive will ever have: what is supported is said first.
func unsupported(release string) absent {
	return absent{func(a *archive) {
		a.publish(testKernel())
		a.publish(newKernel("6.1.0-10-amd64", "6.1.8-1"))
	}, release, "", []string{"apt knows kernels of these flavours alone: amd64, cloud-amd64; package linux-image-" + release,
		"; of " + release + " this machine lacks ", "or name the files with", "or name the directory in which the kernel was built"}}
}

func TestUnavailable(t *testing.T) {
	for name, c := range map[string]absent{
		"empty lists": {
			func(a *archive) {}, testRelease, "",
			[]string{"apt-get update"},
		},
		"unknown release": {
			func(a *archive) {
				a.publish(testKernel())
				a.publish(newKernel("6.1.0-10-cloud-amd64", "6.1.8-1"))
				a.publish(newKernel("6.1.0-9-amd64", "6.1.7-2"))
				a.publish(newKernel("6.12.1-cloud-amd64", "6.12.1-1"))
				a.add("linux-image-6.1-cloud-amd64", "6.1.8-1", "linux-image-6.1.0-10-cloud-amd64", dummy())
				a.add("linux-image-6.1-cloud-amd64-dbg", "6.1.8-1", "", dummy())
			},
			"6.1.0-99-cloud-amd64", "",
			[]string{"linux-image-6.1.0-99-cloud-amd64", "(there are: 6.1.0-10-cloud-amd64, " + testRelease + ")", "--suite", "--vmlinux"},
		},
		"no flavour": {
			func(a *archive) {
				a.publish(testKernel())
				a.publish(newKernel("6.1.0-9-amd64", "6.1.7-2"))
				a.publish(newKernel("6.1.0-10-amd64", "6.1.8-1"))
			},
			strings.TrimSuffix(testRelease, "-cloud-amd64"), "",
			[]string{"(there are: 6.1.0-9-amd64, 6.1.0-9-cloud-amd64)", "the flavour is missing: name one of these"},
		},
		"Red Hat's":  unsupported("5.14.0-427.13.1.el9_4.x86_64"),
		"Alibaba's":  unsupported("4.19.91-26.al7.x86_64"),
		"Ubuntu's":   unsupported("5.15.0-105-generic"),
		"for others": unsupported("6.1.0-9-cloud-arm64"),
		"no debug package": {
			func(a *archive) {
				a.publish(testKernel(), "dbg")
				a.publish(newKernel("6.1.0-8-cloud-amd64", "6.1.6-1"))
			},
			testRelease, "",
			[]string{"linux-image-" + testRelease + "-dbg 6.1.7-2", "--vmlinux", "6.1.0-8-cloud-amd64"},
		},
		"source dropped": {
			func(a *archive) {
				a.publish(testKernel(), "linux-source")
				a.add("linux-source-6.1", "6.1.8-1", "", dummy())
				a.add("linux-source-6.1", "6.1.10-1", "", dummy())
			},
			testRelease, "",
			[]string{"linux-source-6.1 6.1.7-2", "6.1.10-1, 6.1.8-1", "--source"},
		},
		"kbuild too old": {
			func(a *archive) {
				a.publish(testKernel(), "linux-kbuild")
				a.add("linux-kbuild-6.1", "6.1.6-1", "", dummy())
			},
			testRelease, "",
			[]string{"linux-kbuild-6.1 6.1.7-2", "6.1.6-1", "--headers"},
		},
		"version gone": {
			func(a *archive) { a.publish(testKernel()) },
			testRelease, "6.1.7-1",
			[]string{"linux-image-" + testRelease, "6.1.7-1", "6.1.7-2"},
		},
		"realtime flavour": {
			func(a *archive) { a.publish(newKernel("6.1.0-9-rt-amd64", "6.1.7-2")) },
			"6.1.0-9-rt-amd64", "",
			[]string{"linux-patch-6.1-rt", "--source"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive(t)
			c.publish(a)
			o := a.options(c.release)
			o.Version = c.version
			_, err := Fetch(t.Context(), o)
			wantLine(t, err, c.want...)
			for line := range strings.Lines(a.log()) {
				if strings.HasPrefix(line, "apt-get") {
					t.Errorf("downloads before the plan is complete: %s", line)
				}
			}
		})
	}
}

// TestLaterKbuild takes the next kbuild package where Debian has dropped the
// headers' own version of it.
func TestLaterKbuild(t *testing.T) {
	a := newArchive(t)
	k := testKernel()
	a.publish(k, "linux-kbuild")
	a.add("linux-kbuild-6.1", "6.1.6-1", "", dummy())
	a.add("linux-kbuild-6.1", "6.1.10-1", "", dummy())
	a.add("linux-kbuild-6.1", "6.1.9-1", "", k.kbuildTree().tar("./"))
	mustFetch(t, a.options(testRelease))
	if !strings.Contains(a.log(), "linux-kbuild-6.1=6.1.9-1") {
		t.Errorf("log:\n%s", a.log())
	}
}

func dummy() []byte { return []byte("package") }

func TestNewest(t *testing.T) {
	publish := func(a *archive) {
		a.publish(newKernel("6.1.0-9-cloud-amd64", "6.1.7-2"))
		a.publish(newKernel("6.1.0-10-cloud-amd64", "6.1.8-1"))
		a.publish(newKernel("6.1.0-11-cloud-amd64", "6.1.9-1"), "dbg")
		a.publish(newKernel("6.12.3+deb12-cloud-amd64", "6.12.3-1~deb12u1"))
		a.publish(newKernel("6.1.0-20-amd64", "6.1.20-1"))
		// The image is newer than the source that goes with it.
		a.publish(newKernel("6.12.4+deb12-cloud-amd64", "6.12.4-1~deb12u1"), "linux-source")
	}
	meta := func(a *archive, release, version string) {
		a.add("linux-image-cloud-amd64", version, "linux-image-"+release+" (= "+version+")", dummy())
	}
	for name, c := range map[string]struct {
		meta   func(a *archive)
		series *string
		want   string
	}{
		"what the meta-package names": {meta: func(a *archive) { meta(a, "6.1.0-10-cloud-amd64", "6.1.8-1") },
			want: "6.1.0-10-cloud-amd64"},
		"meta-package ahead of the debug files": {meta: func(a *archive) { meta(a, "6.1.0-11-cloud-amd64", "6.1.9-1") },
			want: "6.1.0-10-cloud-amd64"},
		"no meta-package": {meta: func(a *archive) {}, want: "6.12.3+deb12-cloud-amd64"},
		"by series":       {meta: func(a *archive) {}, series: ptr("6.1"), want: "6.1.0-10-cloud-amd64"},
		"by another series than the meta-package": {meta: func(a *archive) { meta(a, "6.1.0-10-cloud-amd64", "6.1.8-1") },
			series: ptr("6.12"), want: "6.12.3+deb12-cloud-amd64"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive(t)
			publish(a)
			c.meta(a)
			find := Newest
			if c.series != nil {
				find = func(ctx context.Context, fl string) (string, error) { return NewestIn(ctx, fl, *c.series) }
			}
			got, err := find(t.Context(), "cloud-amd64")
			if err != nil || got != c.want {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		newArchive(t)
		_, err := Newest(t.Context(), "cloud-amd64")
		wantLine(t, err, "apt-get update")
	})
	t.Run("unknown flavour", func(t *testing.T) {
		a := newArchive(t)
		publish(a)
		_, err := Newest(t.Context(), "mainframe-amd64")
		var ue *UnavailableError
		if !errors.As(err, &ue) {
			t.Fatal(err)
		}
		wantLine(t, err, "mainframe-amd64-dbg")
	})
	t.Run("none complete", func(t *testing.T) {
		a := newArchive(t)
		a.publish(testKernel(), "linux-source")
		_, err := Newest(t.Context(), "cloud-amd64")
		wantLine(t, err, "linux-source-6.1", "cloud-amd64")
	})
}

func ptr[T any](v T) *T { return &v }

func TestCompareVersions(t *testing.T) {
	sorted := []string{
		"", "1~", "1~~a1", "6.1", "6.1.0-1", "6.1.9-1", "6.1.10-1~deb11u1", "6.1.10-1", "6.1.10-1+b1", "6.1.10-2",
		"6.1.10-10", "6.12~rc3-1~exp1", "6.12-1", "6.12.1-1", "6.12a-1", "1:5.10-1",
	}
	// "1~~a1" sorts before "1~".
	slices.SortStableFunc(sorted, compareVersions)
	want := []string{
		"", "1~~a1", "1~", "6.1", "6.1.0-1", "6.1.9-1", "6.1.10-1~deb11u1", "6.1.10-1", "6.1.10-1+b1", "6.1.10-2",
		"6.1.10-10", "6.12~rc3-1~exp1", "6.12-1", "6.12a-1", "6.12.1-1", "1:5.10-1",
	}
	if !slices.Equal(sorted, want) {
		t.Errorf("sorted: %q\nwant: %q", sorted, want)
	}
	for _, p := range [][2]string{{"1.0", "1.00"}, {"0:1", "1"}, {"1-0", "1"}} {
		if compareVersions(p[0], p[1]) != 0 {
			t.Errorf("%s and %s should be equal", p[0], p[1])
		}
	}
}

func TestSplitRelease(t *testing.T) {
	for release, want := range map[string][2]string{
		"6.1.0-56-cloud-amd64":       {"6.1.0-56", "cloud-amd64"},
		"6.1.0-56-amd64":             {"6.1.0-56", "amd64"},
		"6.12.117+deb12-cloud-amd64": {"6.12.117+deb12", "cloud-amd64"},
		"6.12.9+bpo-amd64":           {"6.12.9+bpo", "amd64"},
		"7.2.3-cloud-arm64":          {"7.2.3", "cloud-arm64"},
		"6.12-rt-amd64":              {"6.12", "rt-amd64"},
		"6.18.44":                    {"", ""},
		"cloud-amd64":                {"", ""},
	} {
		abi, flavour, ok := splitRelease(release)
		if abi != want[0] || flavour != want[1] || ok != (want[0] != "") {
			t.Errorf("%s: %q %q %v", release, abi, flavour, ok)
		}
	}
}

func TestSeries(t *testing.T) {
	for v, want := range map[string]string{
		"6.1.192-2": "6.1", "6.12.117-1~deb12u1": "6.12", "7.2-1": "7.2", "6.1.0-56-cloud-amd64": "6.1", "7.2~rc1-1": "7.2", "x": "",
	} {
		if got := series(v); got != want {
			t.Errorf("%s: %q, want %q", v, got, want)
		}
	}
}

func TestUpstreamVersion(t *testing.T) {
	for v, want := range map[string]string{
		"6.1.192-2": "6.1.192", "6.12.117-1~deb12u1": "6.12.117", "7.2-1": "7.2.0", "7.2~rc3-1~exp1": "", "": "",
	} {
		if got := upstreamVersion(v); got != want {
			t.Errorf("%s: %q, want %q", v, got, want)
		}
	}
}

// The banners of real Debian kernels.
func TestParseBanner(t *testing.T) {
	for text, want := range map[string]banner{
		"Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)\n": {
			release:  "6.1.0-56-cloud-amd64",
			compiler: "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0",
			toolset:  "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40",
			version:  "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)",
		},
		"Linux version 5.10.0-35-amd64 (debian-kernel@lists.debian.org) (gcc-10 (Debian 10.2.1-6) 10.2.1 20210110, GNU ld (GNU Binutils for Debian) 2.35.2) #1 SMP Debian 5.10.237-1 (2025-05-19)": {
			release:  "5.10.0-35-amd64",
			compiler: "gcc-10 (Debian 10.2.1-6) 10.2.1 20210110",
			toolset:  "gcc-10 (Debian 10.2.1-6) 10.2.1 20210110, GNU ld (GNU Binutils for Debian) 2.35.2",
			version:  "#1 SMP Debian 5.10.237-1 (2025-05-19)",
		},
	} {
		got, err := parseBanner(text)
		if err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if v := debianVersion("#1 SMP Debian 5.10.237-1 (2025-05-19)"); v != "5.10.237-1" {
		t.Errorf("version %q", v)
	}
	if v := debianVersion("#1 SMP PREEMPT_DYNAMIC @0"); v != "" {
		t.Errorf("version %q of a foreign kernel", v)
	}
	if _, err := parseBanner("%s version %s (x)"); err == nil {
		t.Error("no error for a format string")
	}
}

// TestSandbox keeps apt from warning about root's unreadable home.
func TestSandbox(t *testing.T) {
	got := slices.Contains(aptOptions(), "APT::Sandbox::User=root")
	if want := os.Geteuid() == 0; got != want {
		t.Errorf("sandbox option %v as user %d", got, os.Geteuid())
	}
}

func TestCachedVersion(t *testing.T) {
	dir := t.TempDir()
	tree{
		"6.1.0-9-amd64_6.1.9-1/image.json":   "{}",
		"6.1.0-9-amd64_6.1.10-1/image.json":  "{}",
		"6.1.0-9-amd64_6.1.11-1/lock":        "",
		"6.1.0-9-amd64_manual/image.json":    "{}",
		"6.1.0-99-amd64_6.1.99-1/image.json": "{}",
	}.write(t, dir)
	if v := cachedVersion(dir, "6.1.0-9-amd64"); v != "6.1.10-1" {
		t.Errorf("version %q", v)
	}
	if v := cachedVersion(filepath.Join(dir, "none"), "6.1.0-9-amd64"); v != "" {
		t.Errorf("version %q", v)
	}
}
