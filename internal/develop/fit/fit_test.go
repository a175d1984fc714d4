// SPDX-License-Identifier: BSD-3-Clause

package fit

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"plugsched/internal/develop/environment"
	"plugsched/internal/kernel/fetch"
	"plugsched/internal/kernel/needs"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestClasses: of a kernel whose debug symbols are not at hand, the headers say which scheduling classes the
// linker expects, and the configuration which of them can be there.
func TestClasses(t *testing.T) {
	const known = "\t*(__stop_sched_class)\t\\\n\t*(__fair_sched_class)\t\\\n"
	for name, tt := range map[string]struct {
		lds, config string
		want        []string
	}{
		"all known": {known, "", []string{"ok scheduling classes", "unknown what the runtime needs"}},
		"left out": {known + "*(__ext_sched_class)", "\n# CONFIG_SCHED_CLASS_EXT is not set\n", []string{"ok scheduling classes",
			"unknown what the runtime needs"}},
		"another": {known + "*(__new_sched_class)", "\nCONFIG_SCHED_CLASS_NEW=y\n", []string{"no scheduling classes",
			"unknown what the runtime needs"}},
		"moved by a symbol": {known + "*(__ext_sched_class)", "\nCONFIG_SCHED_CLASS_EXT=y\n", []string{"unknown scheduling classes",
			"unknown what the runtime needs"}},
		"no option":  {known + "*(__new_sched_class)", "", []string{"unknown scheduling classes", "unknown what the runtime needs"}},
		"no section": {"", "", []string{"unknown scheduling classes"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "include/asm-generic/vmlinux.lds.h"), tt.lds)
			r := &Fitness{}
			if err := r.classes(&fetch.Target{HeadersCommon: dir}, nil, tt.config); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range r.Points {
				got = append(got, p.Result+" "+p.Check)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%v, want %v: %+v", got, tt.want, r.Points)
			}
		})
	}
}

func TestArchitecture(t *testing.T) {
	for config, want := range map[string]string{
		"#\n# Linux/x86 6.1.192 Kernel Configuration\n#\n":   Yes,
		"#\n# Linux/arm64 6.1.192 Kernel Configuration\n#\n": Yes,
		"#\n# Linux/sparc 6.1.192 Kernel Configuration\n#\n": No,
		"# Linux/x86 6.1.192 Kernel Configuration of mine\n": Unknown,
		"CONFIG_X=y\n": Unknown,
	} {
		r := &Fitness{}
		if r.architecture(&fetch.Target{}, config); len(r.Points) != 1 || r.Points[0].Result != want {
			t.Errorf("%q: %+v", config, r.Points)
		}
	}
}

// TestRefuse: what is wrong with a kernel is an answer, what is wrong with the look is an error.
func TestRefuse(t *testing.T) {
	r := &Fitness{}
	faults := &needs.Error{Faults: []needs.Fault{{Option: "CONFIG_A", Want: "y", Got: "n"}, {Option: "CONFIG_B", Want: "n", Got: "y"}}}
	for _, err := range []error{faults, &fetch.MismatchError{What: "x"}, &fetch.ToolError{}, &fetch.UnavailableError{}} {
		if err := r.refuse("x", err); err != nil {
			t.Error(err)
		}
	}
	if len(r.Points) != 5 || !strings.Contains(r.Points[1].Fix, "CONFIG_B=n") {
		t.Errorf("%+v", r.Points)
	}
	for _, err := range []error{errors.New("x"), &fetch.SpaceError{}} {
		if r.refuse("x", err) == nil {
			t.Errorf("%v is an answer", err)
		}
	}
}

// TestTree: a tree that was not built is an answer too, with what to do.
func TestTree(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, ".config"), "CONFIG_64BIT=y\nCONFIG_RT_GROUP_SCHED=y\n")
	r, err := Check(t.Context(), fetch.Options{Tree: dir, CacheDir: filepath.Join(dir, "cache")}, environment.Options{})
	if err != nil || r.OK {
		t.Fatalf("%+v, %v", r, err)
	}
	var said []string
	for _, p := range r.Points {
		said = append(said, p.Text+"; "+p.Fix)
	}
	for _, want := range []string{"CONFIG_RT_GROUP_SCHED=y: groups have realtime queues", "build it with CONFIG_DEBUG_INFO=y"} {
		if !strings.Contains(strings.Join(said, "\n"), want) {
			t.Errorf("%q does not say %q", said, want)
		}
	}
}
