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
	put(t, root, "6.1.0-2/b", `{"name": "b-6.1.0-2", "scheduler": "b", "version": "2", "release": "6.1.0-2", "module": "plugsched_bb"}`)
	put(t, root, "6.1.0-2/a", `{"name": "a-6.1.0-2", "scheduler": "a", "version": "3", "release": "6.1.0-2", "module": "plugsched_ab"}`)
	put(t, root, "6.1.0-1/a", `{"name": "a-6.1.0-1", "scheduler": "a", "version": "1", "release": "6.1.0-1", "module": "plugsched_aa"}`)
	put(t, root, "6.1.0-3/c", `{"name": "c-6.1`)
	os.MkdirAll(filepath.Join(root, Dir, "6.1.0-4/d"), 0o755)
	os.WriteFile(filepath.Join(root, Dir, "6.1.0-4/file"), nil, 0o644)

	list, err := List(root)
	if len(list) != 3 || list[0].String() != "a-6.1.0-1 1" || list[1].Release != "6.1.0-2" || list[2].Scheduler != "b" {
		t.Errorf("list %v", list)
	}
	if err == nil || !strings.Contains(err.Error(), "6.1.0-3/c/package.json is damaged") || strings.Contains(err.Error(), "6.1.0-4") {
		t.Errorf("error %v", err)
	}
	p, err := ForModule(root, "plugsched_bb")
	if err != nil || p == nil || p.File(Module) != filepath.Join(root, PackageDir("6.1.0-2", "b"), "scheduler.ko") {
		t.Errorf("plugsched_bb is from %v, %v", p, err)
	}
	if p, err := ForModule(root, "plugsched_cc"); p != nil || err == nil {
		t.Errorf("plugsched_cc is from %v, %v: it could be from the damaged one", p, err)
	}
}

// TestForKernel: schedulers for one kernel stand side by side, and one of them is selected.
func TestForKernel(t *testing.T) {
	root := t.TempDir()
	const release = "6.1.0-1"
	for _, name := range []string{"fast", "slow"} {
		put(t, root, release+"/"+name, strings.ReplaceAll(`{"name": "NAME-6.1.0-1", "scheduler": "NAME", "release": "6.1.0-1",
			"module": "plugsched_NAME"}`, "NAME", name))
	}
	put(t, root, "6.1.0-2/fast", `{"name": "fast-6.1.0-2", "scheduler": "fast", "release": "6.1.0-2", "module": "plugsched_x"}`)
	list, err := ForKernel(root, release)
	if err != nil || len(list) != 2 || Find(list, "slow") != list[1] || Find(list, "fast-6.1.0-1") != list[0] ||
		Find(list, "fast-6.1.0-2") != nil {
		t.Errorf("%v, %v", list, err)
	}
	if name, err := Selected(root, release); name != "" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	link := filepath.Join(root, Selection(release))
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{PackageDir(release, "slow"): "slow", PackageDir(release, "gone"): "gone",
		PackageDir("6.1.0-2", "fast"): "", "/etc": "", "slow": "", Dir + "/" + release + "/../" + release + "/slow": ""} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
		if name, err := Selected(root, release); name != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", to, name, err)
		}
		os.Remove(link)
	}
	os.WriteFile(link, nil, 0o644)
	if name, err := Selected(root, release); name != "" || err == nil {
		t.Errorf("a file: %q, %v", name, err)
	}
}

func TestPackageName(t *testing.T) {
	if got := PackageName("fast", "5.14.0-1.el9_2.X"); got != "fast-5.14.0-1.el9-2.x" {
		t.Error(got)
	}
}

// TestBPF: a package in BPF is for any kernel; what it is known by tells objects, and ways to load them, apart.
func TestBPF(t *testing.T) {
	root := t.TempDir()
	for dir, text := range map[string]string{
		PackageDir("6.1.0-1", "fast"):   `{"name": "fast-6.1.0-1", "scheduler": "fast", "release": "6.1.0-1", "module": "plugsched_aa"}`,
		PackageDir(AnyKernel, "fast"):   `{"name": "fast-bpf", "scheduler": "fast", "module": "simple_aa", "bpf": {"name": "simple"}}`,
		PackageDir(AnyKernel, "broken"): `{"name": "broken-bpf", "scheduler": "broken", "module": "simple_aa"}`,
	} {
		path := filepath.Join(root, dir, About)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list, err := Usable(root, "6.1.0-1")
	if err == nil || len(list) != 2 || list[0].BPF != nil || list[1].Kernels() != AnyKernel {
		t.Errorf("%+v, %v", list, err)
	}
	if list, _ := Usable(root, "6.1.0-2"); len(list) != 1 || list[0].Name != "fast-bpf" {
		t.Errorf("%+v", list)
	}
	if list, _ := ForKernel(root, AnyKernel); len(list) != 1 {
		t.Errorf("%+v", list)
	}
	for word, want := range map[string]*Package{"fast": list[0], "fast-bpf": list[1], "fast-6.1.0-1": list[0]} {
		if got := Find(list, word); got != want {
			t.Errorf("%s: %+v", word, got)
		}
	}
	seen := map[string]bool{}
	for _, b := range []BPF{{Name: "simple"}, {Name: "simple", Partial: true}, {Name: "simple", Constants: map[string]uint64{"fifo": 1}}} {
		for _, object := range []string{"a", "b"} {
			known, err := b.Known([]byte(object))
			again, _ := b.Known([]byte(object))
			if err != nil || seen[known] || again != known {
				t.Errorf("%+v, %s: %s, %v", b, object, known, err)
			}
			seen[known] = true
		}
	}
}
