// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
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
