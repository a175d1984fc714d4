// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestModules: the modules of the fetched version are fetched once, and again if
// a file was lost; they are no part of what Fetch needs.
func TestModules(t *testing.T) {
	a := newArchive(t)
	a.publish(testKernel())
	o := a.options(testRelease)
	tg := mustFetch(t, o)
	if existing(filepath.Join(filepath.Dir(tg.Source), "modules")) != "" {
		t.Error("Fetch has fetched modules")
	}
	a.publish(newKernel(testRelease, "6.1.8-1"))
	modules := func() string {
		t.Helper()
		dir, err := Modules(t.Context(), o)
		must(t, err)
		for _, name := range []string{"modules.builtin", "kernel/fs/fuse.ko"} {
			if existing(filepath.Join(dir, name)) == "" {
				t.Errorf("%s is not there", name)
			}
		}
		return dir
	}
	dir := modules()
	if !strings.Contains(dir, "_6.1.7-2/") {
		t.Errorf("modules of another version: %s", dir)
	}
	a.clearLog()
	modules()
	if log := a.log(); log != "" {
		t.Errorf("the second call ran\n%s", log)
	}
	must(t, os.Remove(filepath.Join(dir, "kernel/fs/fuse.ko")))
	modules()
}

// TestCompressedModules: modules are there as they are loaded, also when an earlier version of
// this program has left them compressed.
func TestCompressedModules(t *testing.T) {
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	_, err := w.Write([]byte("a module"))
	must(t, err)
	must(t, w.Close())
	a := newArchive(t)
	k := testKernel()
	a.publish(k, "linux-image-"+k.release)
	debug := tree{"./usr/lib/debug/boot/vmlinux-" + k.release: string(k.vmlinux())}
	a.add("linux-image-"+k.release+"-dbg", k.version, "", debug.tar(""))
	dir := "./lib/modules/" + k.release + "/"
	a.add("linux-image-"+k.release, k.version, "", tree{
		"./boot/vmlinuz-" + k.release: "boot image", dir + "modules.builtin": "", dir + "kernel/fs/9p/9p.ko.gz": compressed.String(),
	}.tar(""))
	o := a.options(testRelease)
	modules, err := Modules(t.Context(), o)
	must(t, err)
	text, err := os.ReadFile(filepath.Join(modules, "kernel/fs/9p/9p.ko"))
	if err != nil || string(text) != "a module" || existing(filepath.Join(modules, "kernel/fs/9p/9p.ko.gz")) != "" {
		t.Errorf("%q, %v", text, err)
	}
	s := &store{dir: filepath.Dir(modules), version: k.version, release: k.release}
	if !s.intact(kindModules) {
		t.Error("what was fetched is not intact")
	}
	marker, err := os.ReadFile(s.markerPath(kindModules))
	must(t, err)
	must(t, os.Rename(filepath.Join(modules, "kernel/fs/9p/9p.ko"), filepath.Join(modules, "kernel/fs/9p/9p.ko.gz")))
	must(t, os.WriteFile(s.markerPath(kindModules), bytes.ReplaceAll(marker, []byte("9p.ko"), []byte("9p.ko.gz")), 0o644))
	if s.intact(kindModules) {
		t.Error("compressed modules are taken for intact")
	}
}
