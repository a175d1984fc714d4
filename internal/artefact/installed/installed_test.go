// SPDX-License-Identifier: BSD-3-Clause

package installed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func put(t *testing.T, root, release, text string) {
	t.Helper()
	dir := filepath.Join(root, Dir, release)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, About), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestList(t *testing.T) {
	root := t.TempDir()
	if list, err := List(root); err != nil || len(list) != 0 {
		t.Fatalf("nothing installed: %v, %v", list, err)
	}
	put(t, root, "6.1.0-2", `{"name": "b-6.1.0-2", "version": "2", "release": "6.1.0-2", "module": "plugsched_bb"}`)
	put(t, root, "6.1.0-1", `{"name": "a-6.1.0-1", "version": "1", "release": "6.1.0-1", "module": "plugsched_aa"}`)
	put(t, root, "6.1.0-3", `{"name": "c-6.1`)
	os.Mkdir(filepath.Join(root, Dir, "6.1.0-4"), 0o755)

	list, err := List(root)
	if len(list) != 2 || list[0].String() != "a-6.1.0-1 1" || list[1].Release != "6.1.0-2" {
		t.Errorf("list %v", list)
	}
	if err == nil || !strings.Contains(err.Error(), "6.1.0-3/package.json is damaged") || strings.Contains(err.Error(), "6.1.0-4") {
		t.Errorf("error %v", err)
	}
	p, err := ForModule(root, "plugsched_bb")
	if err != nil || p == nil || p.File(Module) != filepath.Join(root, Dir, "6.1.0-2", "scheduler.ko") {
		t.Errorf("plugsched_bb is from %v, %v", p, err)
	}
	if p, err := ForModule(root, "plugsched_cc"); p != nil || err == nil {
		t.Errorf("plugsched_cc is from %v, %v: it could be from the damaged one", p, err)
	}
}
