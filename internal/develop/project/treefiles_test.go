// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plugsched/internal/kernel/fetch"
)

// TestSameTree: a build refuses a kernel's tree that is not as init found it, and no other.
func TestSameTree(t *testing.T) {
	p := at(t, t.TempDir())
	tree, headers := t.TempDir(), t.TempDir()
	target := &fetch.Target{KernelArch: "x86", KernelBuild: tree, HeadersCommon: headers}
	header := filepath.Join(tree, "include/linux/a b.h")
	write(t, "#define A 1\n", header)
	write(t, "CONFIG_A=y\n", tree, ".config")
	write(t, "x\n", headers, "real/asm/b.h")
	if err := os.MkdirAll(filepath.Join(headers, "arch/x86"), 0o755); err != nil {
		t.Fatal(err)
	}
	// As packages are laid out.
	if err := os.Symlink(filepath.Join(headers, "real"), filepath.Join(headers, "arch/x86/include")); err != nil {
		t.Fatal(err)
	}
	if err := p.sameTree(target); err == nil || !strings.Contains(err.Error(), "run `plugsched init` again") {
		t.Errorf("nothing is known: %v", err)
	}
	if err := os.MkdirAll(p.state(), 0o755); err != nil {
		t.Fatal(err)
	}
	sum := noteTree(t, p, target)
	refused := func(what, want string) {
		t.Helper()
		err := p.sameTree(target)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want+" since `plugsched init`")) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("as it was", "")
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(header, later, later); err != nil {
		t.Fatal(err)
	}
	refused("touched", "")
	if is := noteTree(t, p, target); is != sum {
		t.Error("the sum is another when nothing but a time is")
	}
	write(t, "#define A 2\n", header)
	refused("a header", header+": has changed")
	if is := noteTree(t, p, target); is == sum {
		t.Error("the sum is the same when a header is another")
	}
	refused("after init", "")
	for path, text := range map[string]string{filepath.Join(tree, ".config"): "CONFIG_A=n\n", filepath.Join(headers, "real/asm/b.h"): "y\n"} {
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, text, path)
		refused(path, path+": has changed")
		write(t, string(was), path)
		refused(path+" put back", "")
	}
	fresh := filepath.Join(tree, "include/linux/new.h")
	write(t, "", fresh)
	refused("a new header", fresh+": is new")
	if err := os.Remove(fresh); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(header); err != nil {
		t.Fatal(err)
	}
	refused("a header less", header+": is gone")
	write(t, "1 2 3\n", p.state(treeListFile))
	if err := p.sameTree(target); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("a damaged list: %v", err)
	}
}
