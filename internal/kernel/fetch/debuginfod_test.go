// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/outcome"
)

// compressedImage is a boot image with the whole kernel in it.
func (k fakeKernel) compressedImage(t *testing.T) []byte {
	t.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(k.vmlinux())
	must(t, w.Close())
	head := k.vmlinuz()
	binary.LittleEndian.PutUint16(head[0x206:], 0x20f)
	head[0x1f1] = 9 // sectors of setup
	binary.LittleEndian.PutUint32(head[0x248:], 16)
	binary.LittleEndian.PutUint32(head[0x24c:], uint32(z.Len()))
	return append(append(head, make([]byte, 10*512+16-len(head))...), z.Bytes()...)
}

// server answers as debuginfod does.
func server(t *testing.T, answer func(w http.ResponseWriter, id string)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/buildid/"), "/debuginfo")
		if !ok || r.Method != http.MethodGet {
			t.Errorf("asked for %s %s", r.Method, r.URL)
		}
		answer(w, id)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestDebuginfod: a vmlinux that apt does not have comes from a server, by the build-id of the boot image; the rest
// comes from apt. What the server sends is checked.
func TestDebuginfod(t *testing.T) {
	k := testKernel()
	has := func(w http.ResponseWriter, id string) {
		if id != fmt.Sprintf("%x", k.buildID) {
			http.NotFound(w, nil)
			return
		}
		w.Write(k.vmlinux())
	}
	none := func(w http.ResponseWriter, _ string) { http.NotFound(w, nil) }
	broken := func(w http.ResponseWriter, _ string) { http.Error(w, "no", 500) }
	other := k
	other.buildID = "the id of another"
	another := func(w http.ResponseWriter, _ string) { w.Write(other.vmlinux()) }
	for name, tt := range map[string]struct {
		answers []func(w http.ResponseWriter, id string)
		want    string // in the error; none is success
	}{
		"has it":       {[]func(http.ResponseWriter, string){has}, ""},
		"second has":   {[]func(http.ResponseWriter, string){none, has}, ""},
		"first broken": {[]func(http.ResponseWriter, string){broken, has}, ""},
		"none":         {[]func(http.ResponseWriter, string){none}, "does not have the vmlinux"},
		"another":      {[]func(http.ResponseWriter, string){another}, "has sent something else"},
		"cut off": {[]func(http.ResponseWriter, string){func(w http.ResponseWriter, _ string) {
			w.Header().Set("Content-Length", "100000")
			w.Write(k.vmlinux()[:100])
		}}, "after 100 bytes"},
		"no kernel": {[]func(http.ResponseWriter, string){func(w http.ResponseWriter, _ string) { w.Write([]byte("hello")) }}, "ELF"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive(t)
			a.publish(k, "dbg")
			image := filepath.Join(a.dir, "vmlinuz")
			must(t, os.WriteFile(image, k.compressedImage(t), 0o644))
			o := a.options(testRelease)
			o.Manual.Vmlinuz = image
			for _, f := range tt.answers {
				o.Debuginfod = append(o.Debuginfod, server(t, f)+"/")
			}
			tg, err := Fetch(t.Context(), o)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "linux-image-"+testRelease+"-dbg") {
					t.Fatalf("error %v, want %q and what apt lacks", err, tt.want)
				}
				left, _ := filepath.Glob(filepath.Join(o.CacheDir, "*", "vmlinux*"))
				for _, path := range left {
					if !strings.HasSuffix(path, tmpSuffix) {
						t.Errorf("%s was kept", path)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tg.BuildID != fmt.Sprintf("%x", k.buildID) || tg.Version != k.version {
				t.Errorf("target %+v", tg)
			}
			o.Debuginfod = nil // the cache has it
			if again := mustFetch(t, o); *again != *tg {
				t.Errorf("again %+v, want %+v", again, tg)
			}
		})
	}
}

// TestDebuginfodRunning: of the kernel that runs the build-id is in /sys; of one that does not, it has to come from
// somewhere.
func TestDebuginfodRunning(t *testing.T) {
	k := testKernel()
	a := newArchive(t)
	asked := ""
	o := a.options(testRelease)
	o.AnalyseOnly = true
	o.Debuginfod = []string{server(t, func(w http.ResponseWriter, id string) { asked = id; w.Write(k.vmlinux()) })}
	if _, err := Fetch(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--vmlinuz") || asked != "" {
		t.Errorf("error %v, asked for %q", err, asked)
	}
	must(t, os.MkdirAll(o.host.path("sys/kernel"), 0o755))
	notes := append(note("Linux", 257, []byte{0, 0, 0, 0}), note("GNU", 3, []byte(k.buildID))...)
	must(t, os.WriteFile(o.host.path("sys/kernel/notes"), notes, 0o644))
	o.host.uname = func() (string, string) { return testRelease, "#1 of mine" }
	if tg := mustFetch(t, o); asked != fmt.Sprintf("%x", k.buildID) || tg.BuildID != asked {
		t.Errorf("asked for %q: %+v", asked, tg)
	}
}

func TestDebuginfodAddress(t *testing.T) {
	for _, bad := range []string{"localhost:8002", "/var", "ftp://x/", "http://"} {
		_, err := Fetch(t.Context(), Options{Release: testRelease, CacheDir: t.TempDir(), Debuginfod: []string{bad}})
		if err == nil || outcome.Of(err) != outcome.Usage || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if got := DebuginfodURLs(" http://a  https://b/x \n"); len(got) != 2 || got[1] != "https://b/x" {
		t.Errorf("%q", got)
	}
}
