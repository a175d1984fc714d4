// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/fuzzing"
	"plugsched/internal/kernel/arch"

	"plugsched/internal/kernel/needs"
)

// FuzzVersions: package versions are totally ordered.
func FuzzVersions(f *testing.F) {
	f.Add("6.1.192-2", "6.1.192-2~bpo12+1", "1:6.12")
	f.Add("", "~", "0")
	f.Add("a0b", "a00b", "99999999999999999999999999999999-é")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		fuzzing.Bounded(t, func() {
			ab, bc, ac := compareVersions(a, b), compareVersions(b, c), compareVersions(a, c)
			if compareVersions(a, a) != 0 || compareVersions(b, a) != -ab {
				t.Errorf("%q, %q: %d and %d", a, b, ab, compareVersions(b, a))
			}
			if ab*bc >= 0 && ac != cmp.Or(ab, bc) {
				t.Errorf("%q, %q, %q: %d, %d, but %d", a, b, c, ab, bc, ac)
			}
			series(a)
			upstreamVersion(a)
			if abi, flavour, ok := splitRelease(a); ok && abi+"-"+flavour != a {
				t.Errorf("%q is split into %q and %q", a, abi, flavour)
			}
		})
	})
}

// FuzzApt: what apt's programs print is read, and names no file elsewhere.
func FuzzApt(f *testing.F) {
	f.Add("Package: linux-image-6.1.0-9-cloud-amd64\nVersion: 6.1.7-2\nDepends: kmod, linux-kbuild-6.1 (>= 6.1.7-2)\n"+
		"Filename: pool/a.deb\nSHA256: 00\nSize: 12\nInstalled-Size: 9\nDescription: x\n .\n\nPackage: b\n",
		"'http://x/a_1%3a2_amd64.deb' a_1%3a2_amd64.deb 12 SHA256:00\n", "a", "1:2")
	f.Add("\n\n: \nSize: -1\nInstalled-Size: 9223372036854775807\nPackage: ..\n", "x ../_1_/../x 99\n", "..", "1")
	f.Fuzz(func(t *testing.T, show, uris, name, version string) {
		fuzzing.Bounded(t, func() {
			for _, d := range parseStanzas(show) {
				commonRE.FindString(d.Depends)
				kbuildRE.FindStringSubmatch(d.Depends)
				imageRE.FindStringSubmatch(d.Depends)
				findURI(uris, d)
				neededSpace(map[kind][]download{kindHeaders: {{deb: d, size: d.Size}}})
			}
			file, _ := findURI(uris, deb{Package: name, Version: version})
			if file != "" && (strings.Contains(file, "/") || file == "." || file == "..") {
				t.Errorf("download to %q", file)
			}
		})
	})
}

// FuzzBzImage: a boot image of any content has a version or is refused.
func FuzzBzImage(f *testing.F) {
	f.Add(newKernel("6.1.0-9-cloud-amd64", "6.1.7-2").vmlinuz())
	f.Add(bytes.Repeat([]byte("HdrS"), 0x90))
	f.Fuzz(func(t *testing.T, image []byte) {
		fuzzing.Bounded(t, func() {
			v, err := arch.X86.BootVersion(bytes.NewReader(image))
			if err == nil && (len(v) >= 512 || !bytes.Contains(image, append([]byte(v), 0))) {
				t.Errorf("version %q", v)
			}
		})
	})
}

// FuzzBanner: a banner is understood in part or refused.
func FuzzBanner(f *testing.F) {
	k := newKernel("6.1.0-9-cloud-amd64", "6.1.7-2")
	f.Add("Linux version " + k.release + " (a@b) (" + k.toolset() + ") " + k.uts())
	f.Add("Linux version 6 (a) (,) #")
	f.Add("Linux version 6 (a) ())((,)(,)) #(#) #")
	f.Fuzz(func(t *testing.T, s string) {
		fuzzing.Bounded(t, func() {
			b, err := parseBanner(s)
			if err == nil && !(strings.Contains(oneLine(s), b.toolset) && strings.HasPrefix(b.toolset, b.compiler)) {
				t.Errorf("%+v", b)
			}
			b.debian()
		})
	})
}

// FuzzVmlinux: a vmlinux of any content says what it is or is refused.
func FuzzVmlinux(f *testing.F) {
	f.Add(newKernel("6.1.0-9-cloud-amd64", "6.1.7-2").vmlinux())
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	path := filepath.Join(f.TempDir(), "vmlinux")
	f.Fuzz(func(t *testing.T, image []byte) {
		put(t, path, image)
		fuzzing.Bounded(t, func() {
			info, err := readVmlinux(path, "")
			if (info == nil) != (err != nil) {
				t.Errorf("%+v, %v", info, err)
			}
		})
	})
}

func put(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// FuzzTree: the files of headers, sources and the cache are read.
func FuzzTree(f *testing.F) {
	k := newKernel("6.1.0-9-cloud-amd64", "6.1.7-2")
	f.Add([]byte(k.makefileText()))
	f.Add([]byte("include /usr/src/linux-headers-6.1.0-9-common/Makefile\n"))
	f.Add([]byte("#define UTS_RELEASE \"6.1\"\n#define UTS_RELEASE\n\x00\n" + k.config))
	f.Add([]byte(`{"format":1,"version":"1","files":[{"p":"../../../etc/passwd","s":-1}]}`))
	dir := f.TempDir()
	path := filepath.Join(dir, "Makefile")
	s := &store{dir: dir, version: "1"}
	f.Fuzz(func(t *testing.T, text []byte) {
		put(t, path, text)
		put(t, s.markerPath(kindImage), text)
		fuzzing.Bounded(t, func() {
			defined(path, "UTS_RELEASE")
			makefileVersion(path)
			needs.ReadConfig(path)
			commonHeaders(dir)
			if s.intact(kindImage) {
				var m marker
				if json.Unmarshal(text, &m) != nil || m.Version != "1" {
					t.Error("a damaged marker is valid")
				}
			}
		})
	})
}

// FuzzExtract: no archive gets anything out of the directory, nor more bytes
// than it has.
func FuzzExtract(f *testing.F) {
	f.Add(tree{"s/kernel/sched/core.c": "int x;\n", "s/include/a": "-> ../x", "s/Makefile": "y"}.tar(""))
	f.Add(sparse())
	f.Add(tree{"s/kernel/a": "-> /tmp", "s/kernel/a/b": "z", "s/kernel/../../x": "u"}.tar(""))
	base := f.TempDir()
	f.Fuzz(func(t *testing.T, archive []byte) {
		dir := filepath.Join(base, "d", "in")
		defer os.RemoveAll(filepath.Join(base, "d"))
		x, err := newExtractor(dir, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		defer x.root.Close()
		fuzzing.Bounded(t, func() {
			x.extract(bytes.NewReader(archive), func(name string) string { return name }, "")
		})
		if ents, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(ents) != 1 {
			t.Fatalf("outside: %v, %v", ents, err)
		}
		var sum int64
		filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				i, err := e.Info()
				if err != nil {
					return err
				}
				sum += i.Size()
			}
			return err
		})
		if sum > int64(len(archive)) {
			t.Errorf("%d bytes out of %d", sum, len(archive))
		}
	})
}

// TestExtractSparse: a member that says it is mostly holes would fill the disk.
func TestExtractSparse(t *testing.T) {
	x, err := newExtractor(filepath.Join(t.TempDir(), "d"), nil, "")
	must(t, err)
	defer x.root.Close()
	err = x.extract(bytes.NewReader(sparse()), func(name string) string { return name }, "")
	wantLine(t, err, "hole", "sparse")
}

// sparse is an archive whose only member has a byte of data and a mebibyte of
// holes (GNU's sparse format 0.1: PAX records, which archive/tar does not write).
func sparse() []byte {
	var records strings.Builder
	for _, r := range []string{"GNU.sparse.size=1048576", "GNU.sparse.numblocks=1", "GNU.sparse.map=0,1"} {
		fmt.Fprintf(&records, "%d %s\n", len(r)+4, r) // the length counts itself: two digits
	}
	b := tree{"hole": records.String()}.tar("")[:1024]
	b[156] = tar.TypeXHeader
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(b, tree{"hole": "x"}.tar("")...)
}
