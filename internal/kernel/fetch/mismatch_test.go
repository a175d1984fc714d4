// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// byHand lays out a kernel's files and names them all.
type byHand struct {
	a    *archive
	k    fakeKernel
	opts Options
}

func newByHand(t *testing.T) *byHand {
	t.Helper()
	a := newArchive(t)
	k := testKernel()
	h := &byHand{a: a, k: k, opts: a.options("")}
	root := filepath.Join(a.dir, "hand")
	merge(k.headers(), k.commonTree(), k.kbuildTree(), tree{
		"vmlinux": string(k.vmlinux()), "vmlinuz": string(k.vmlinuz()),
		"src.tar.xz": string(merge(k.source(), k.extraSource()).tar("linux-6.1/")),
	}).write(t, root)
	k.source().write(t, filepath.Join(root, "src"))
	h.opts.Manual = Manual{
		Vmlinux: filepath.Join(root, "vmlinux"), Vmlinuz: filepath.Join(root, "vmlinuz"),
		Headers: root, Source: filepath.Join(root, "src"),
	}
	return h
}

// headers is the file in the flavour's headers directory.
func (h *byHand) headers(p string) string {
	return filepath.Join(h.opts.Manual.Headers, "usr/src/linux-headers-"+testRelease, p)
}

func (h *byHand) common(p string) string {
	return filepath.Join(h.opts.Manual.Headers, "usr/src", h.k.common(), p)
}

func (h *byHand) put(path, body string) { must(h.a.t, os.WriteFile(path, []byte(body), 0o644)) }

func (h *byHand) edit(path, from, to string) {
	b, err := os.ReadFile(path)
	must(h.a.t, err)
	if !strings.Contains(string(b), from) {
		h.a.t.Fatalf("%s does not contain %q", path, from)
	}
	h.put(path, strings.ReplaceAll(string(b), from, to))
}

func TestByHand(t *testing.T) {
	h := newByHand(t)
	tg := mustFetch(t, h.opts)
	m := h.opts.Manual
	if tg.Release != testRelease || tg.Version != "6.1.7-2" || tg.Vmlinux != m.Vmlinux || tg.Vmlinuz != m.Vmlinuz || tg.Source != m.Source {
		t.Errorf("target %+v", tg)
	}
	if mk, _ := os.ReadFile(tg.KernelBuild + "/Makefile"); string(mk) != "include "+h.common("Makefile")+"\n" {
		t.Errorf("build directory's Makefile %q", mk)
	}
	if h.a.log() != "" {
		t.Errorf("ran programs:\n%s", h.a.log())
	}

	// The headers directory itself, an archive, and no boot image.
	h.opts.Manual.Headers = h.headers("")
	h.opts.Manual.Source += ".tar.xz"
	h.opts.Manual.Vmlinuz = ""
	tg = mustFetch(t, h.opts)
	if tg.Vmlinuz != "" || existing(tg.Source+"/kernel/sched/core.c") == "" || !strings.HasPrefix(tg.Source, h.opts.CacheDir) {
		t.Errorf("target %+v", tg)
	}
	if again := mustFetch(t, h.opts); *again != *tg {
		t.Errorf("again %+v, want %+v", again, tg)
	}
	if strings.Contains(h.a.log(), "apt") {
		t.Errorf("asked apt:\n%s", h.a.log())
	}
	// A changed archive is another archive.
	h.put(h.opts.Manual.Source, string(merge(h.k.source(), tree{"kernel/new.c": "new"}).tar("linux-6.1/")))
	if tg = mustFetch(t, h.opts); existing(tg.Source+"/kernel/new.c") == "" {
		t.Errorf("archive not unpacked again")
	}
}

// TestInstalledHeaders uses a directory that needs no relocation in place.
func TestInstalledHeaders(t *testing.T) {
	h := newByHand(t)
	h.put(h.headers("Makefile"), "include "+h.common("Makefile")+"\n")
	if tg := mustFetch(t, h.opts); tg.KernelBuild != strings.TrimSuffix(h.headers("."), "/.") ||
		tg.HeadersCommon != strings.TrimSuffix(h.common("."), "/.") {
		t.Errorf("build directory %s, common headers %s", tg.KernelBuild, tg.HeadersCommon)
	}
}

// TestPartlyByHand gives the source that apt no longer has.
func TestPartlyByHand(t *testing.T) {
	h := newByHand(t)
	h.a.publish(h.k, "linux-source")
	o := h.a.options(testRelease)
	_, err := Fetch(t.Context(), o)
	var ue *UnavailableError
	if !errors.As(err, &ue) || ue.Package != "linux-source-6.1" {
		t.Fatalf("without the source: %v", err)
	}
	o.Manual.Source = h.opts.Manual.Source
	tg := mustFetch(t, o)
	if tg.Source != h.opts.Manual.Source || tg.Vmlinuz == "" {
		t.Errorf("target %+v", tg)
	}
}

func TestMismatch(t *testing.T) {
	other := newKernel("6.1.0-8-cloud-amd64", "6.1.6-1")
	sibling := newKernel(testRelease, "6.1.7-1") // an earlier upload, same release
	for name, c := range map[string]struct {
		spoil func(h *byHand)
		want  []string // what the error must say, besides the file
	}{
		"vmlinux of another release": {
			func(h *byHand) {
				h.opts.Release = testRelease
				h.put(h.opts.Manual.Vmlinux, string(other.vmlinux()))
			},
			[]string{"hand/vmlinux", other.release, testRelease, "linux-image-" + testRelease + "-dbg"},
		},
		"vmlinux of another version": {
			func(h *byHand) { h.opts.Version = "6.1.7-1" },
			[]string{"hand/vmlinux", "6.1.7-2", "6.1.7-1"},
		},
		"vmlinux without debug information": {
			func(h *byHand) {
				k := h.k
				k.noDWARF = true
				h.put(h.opts.Manual.Vmlinux, string(k.vmlinux()))
			},
			[]string{"hand/vmlinux", "debug information", "-dbg"},
		},
		"vmlinux truncated": {
			func(h *byHand) {
				must(h.a.t, os.Truncate(h.opts.Manual.Vmlinux, fileSize(h.opts.Manual.Vmlinux)-70))
			},
			[]string{"hand/vmlinux", "truncated"},
		},
		"vmlinux is a boot image": {
			func(h *byHand) { h.put(h.opts.Manual.Vmlinux, string(h.k.vmlinuz())) },
			[]string{"hand/vmlinux", "not an ELF file", "an uncompressed ELF vmlinux"},
		},
		"vmlinux is a directory": {
			func(h *byHand) { h.opts.Manual.Vmlinux = filepath.Dir(h.opts.Manual.Vmlinux) },
			[]string{"an uncompressed ELF vmlinux"},
		},
		"vmlinux without banner": {
			func(h *byHand) {
				h.put(h.opts.Manual.Vmlinux, strings.Replace(string(h.k.vmlinux()), "\x00linux_banner", "\x00linux_xanner", 1))
			},
			[]string{"hand/vmlinux", "linux_banner"},
		},
		"boot image of another release": {
			func(h *byHand) { h.put(h.opts.Manual.Vmlinuz, string(other.vmlinuz())) },
			[]string{"hand/vmlinuz", other.release, testRelease},
		},
		"boot image of another upload": {
			func(h *byHand) { h.put(h.opts.Manual.Vmlinuz, string(sibling.vmlinuz())) },
			[]string{"hand/vmlinuz", "6.1.7-1", "6.1.7-2"},
		},
		"boot image is something else": {
			func(h *byHand) { h.put(h.opts.Manual.Vmlinuz, "hello") },
			[]string{"hand/vmlinuz", "not an x86 boot image"},
		},
		"headers of another release": {
			func(h *byHand) { h.edit(h.headers("include/generated/utsrelease.h"), testRelease, other.release) },
			[]string{"utsrelease.h", other.release, testRelease, "linux-headers-" + testRelease},
		},
		"headers for another compiler": {
			func(h *byHand) { h.edit(h.headers("include/generated/compile.h"), "Test 1.0-1", "Test 2.0") },
			[]string{"compile.h", "Test 2.0", "Test 1.0-1"},
		},
		"headers with another configuration": {
			func(h *byHand) {
				h.edit(h.headers(".config"), "CONFIG_HZ=250", "CONFIG_HZ=1000")
				cfg := filepath.Join(h.a.dir, "host/boot/config-"+testRelease)
				must(h.a.t, os.MkdirAll(filepath.Dir(cfg), 0o755))
				h.put(cfg, h.k.config)
				h.put(filepath.Join(filepath.Dir(cfg), "vmlinuz-"+testRelease), string(h.k.vmlinuz()))
				h.put(filepath.Join(h.a.dir, "installed"), "linux-image-"+testRelease+" 6.1.7-2 installed\n")
				h.opts.Manual.Vmlinuz = ""
				h.opts.Manual.Source = ""
				h.a.publish(h.k)
			},
			[]string{".config", "CONFIG_HZ", "1000", "250"},
		},
		"common headers of another version": {
			func(h *byHand) { h.edit(h.common("Makefile"), "SUBLEVEL = 7", "SUBLEVEL = 6") },
			[]string{"linux-headers-6.1.0-9-common/Makefile", "6.1.6", "6.1.7"},
		},
		"common headers missing": {
			func(h *byHand) { must(h.a.t, os.RemoveAll(h.common(""))) },
			[]string{"common headers", "linux-headers-6.1.0-9-common"},
		},
		"kbuild missing": {
			func(h *byHand) {
				must(h.a.t, os.RemoveAll(filepath.Join(h.opts.Manual.Headers, "usr/lib")))
			},
			[]string{"scripts", "linux-kbuild"},
		},
		"headers are something else": {
			func(h *byHand) { h.opts.Manual.Headers = h.opts.Manual.Source },
			[]string{"kernel headers", "linux-headers-" + testRelease},
		},
		"source of another version": {
			func(h *byHand) { h.edit(h.opts.Manual.Source+"/Makefile", "SUBLEVEL = 7", "SUBLEVEL = 9") },
			[]string{"src/Makefile", "6.1.9", "6.1.7", "linux-source-6.1 of version 6.1.7-2"},
		},
		"source of another upload": {
			func(h *byHand) { h.edit(h.opts.Manual.Source+"/include/linux/sched.h", "6.1.7-2", "6.1.7-1") },
			[]string{"src/include/linux/sched.h", "different", "linux-source-6.1"},
		},
		"source without a scheduler": {
			func(h *byHand) { must(h.a.t, os.Remove(h.opts.Manual.Source+"/kernel/sched/core.c")) },
			[]string{"kernel/sched/core.c", "linux-source-6.1"},
		},
		"source in another format": {
			func(h *byHand) { h.opts.Manual.Source = h.opts.Manual.Vmlinuz },
			[]string{"hand/vmlinuz", ".tar.xz"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newByHand(t)
			c.spoil(h)
			_, err := Fetch(t.Context(), h.opts)
			var me *MismatchError
			if !errors.As(err, &me) {
				t.Fatalf("error %v (%T)", err, err)
			}
			wantLine(t, err, c.want...)
		})
	}
}

func TestBadOptions(t *testing.T) {
	a := newArchive(t)
	a.publish(testKernel())
	for name, c := range map[string]struct {
		edit func(o *Options)
		want string
	}{
		"nothing":      {func(o *Options) {}, "--release"},
		"path":         {func(o *Options) { o.Release = "../../etc" }, "not the name of a kernel release"},
		"no such file": {func(o *Options) { o.Manual.Vmlinux = "/nonexistent" }, "--vmlinux"},
		"no such dir":  {func(o *Options) { o.Release, o.Manual.Headers = testRelease, "/nonexistent" }, "--headers"},
	} {
		t.Run(name, func(t *testing.T) {
			o := a.options("")
			c.edit(&o)
			_, err := Fetch(t.Context(), o)
			wantLine(t, err, c.want)
		})
	}
}

// TestExtractStaysInside feeds the extractor an archive that tries to leave.
func TestExtractStaysInside(t *testing.T) {
	outside := t.TempDir()
	for name, tr := range map[string]tree{
		"symlink":  {"s/kernel/a": "-> " + outside, "s/kernel/a/b": "escaped"},
		"dots":     {"s/kernel/../../../escaped": "x"},
		"absolute": {"s/kernel": "-> " + outside, "s/kernel/x": "escaped"},
	} {
		t.Run(name, func(t *testing.T) {
			x, err := newExtractor(filepath.Join(t.TempDir(), "d"), nil, "")
			must(t, err)
			defer x.root.Close()
			err = x.extract(strings.NewReader(string(tr.tar(""))), sourceFile, "")
			ents, _ := os.ReadDir(outside)
			if len(ents) > 0 {
				t.Fatalf("escaped: %v", ents)
			}
			if name != "dots" && err == nil {
				t.Error("no error")
			}
		})
	}
}

// TestExtractStops reads no further than the last wanted member: the debug
// package has a gigabyte of modules behind vmlinux.
func TestExtractStops(t *testing.T) {
	x, err := newExtractor(filepath.Join(t.TempDir(), "d"), nil, "")
	must(t, err)
	defer x.root.Close()
	all := tree{"a": "1", "b": "2", "c": "3"}.tar("")
	broken := io.MultiReader(bytes.NewReader(all[:4*512]), iotest.ErrReader(errors.New("read on")))
	must(t, x.extract(broken, func(name string) string { return name }, "b"))
	if len(x.files) != 2 {
		t.Errorf("extracted %v", x.files)
	}
}
