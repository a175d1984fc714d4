// SPDX-License-Identifier: BSD-3-Clause

package moddiff

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"plugsched/internal/artefact/desc"
	"plugsched/internal/outcome"
)

const source = `
	#define N __attribute__((noinline, noclone, noipa, used))
	extern void anchor(int), kernel(int), other(int);
	static int counter = 3;
	static volatile int zero;
	static const char *const sched_feat_names[] __attribute__((used)) = { "FIRST", "SECOND" };
	EXTRA
	static N int helper(int x) { return x * 3; }
	static N int helper2(int x) { return x * 5; }
	N int same(int x) { anchor(x); counter++; return helper(x) + 5; }
	N int says(int x) { static const char *text; static volatile int limit = 3; text = "one"; zero = *text + limit; return x; }
	N int calls(int x) { kernel(x + zero); return helper2(x); }
	N void plugsched_enable(void) { anchor(1); }
	N int plugsched_init(void) { kernel(2); return 0; }
`

// made makes a module of C text, as far as it matters here. The kernel's symbols are bound as the
// module loader gets them: by their distances from one of them.
func made(t *testing.T, text string, d desc.Description) string {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	about, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"unit.c": text, "about": string(about)} {
		if err := os.WriteFile(path(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"gcc", "-c", "-O2", "-fno-pie", "-mcmodel=kernel", "-ffreestanding", "-fno-asynchronous-unwind-tables", "-fcf-protection=none",
			"-o", path("unit.o"), path("unit.c")},
		{"objcopy", "--add-section", desc.Section + "=" + path("about"), path("unit.o"), path("scheduler.ko")},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return path("scheduler.ko")
}

func about() desc.Description {
	return desc.Description{Format: desc.Version, Name: "plugsched_1", Release: "6.1.0", BuildID: "ab", Replaced: []string{"calls", "same"},
		Symbols: map[string]uint64{"anchor": 0x1000, "kernel": 0x2000, "other": 0x3000}}
}

func compared(t *testing.T, a, b string) *Comparison {
	t.Helper()
	old, err := Open(a)
	if err != nil {
		t.Fatal(err)
	}
	now, err := Open(b)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Compare(old, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCompare: what differs is named, and nothing that only lies elsewhere.
func TestCompare(t *testing.T) {
	plain := strings.Replace(source, "EXTRA", "", 1)
	old := made(t, plain, about())
	if c := compared(t, old, made(t, plain, about())); !c.Same {
		t.Errorf("the same differs: %+v", c)
	}
	for _, e := range []struct {
		name, from, to string
		want           func(*Comparison) Delta
		delta          Delta
	}{
		{"a function in front", "EXTRA", "static N int first(int x) { return helper_first + x; } ",
			func(c *Comparison) Delta { return c.Functions }, Delta{Added: []string{"first"}}},
		{"a number", "x * 5", "x * 7", func(c *Comparison) Delta { return c.Functions }, Delta{Changed: []string{"helper2"}}},
		{"another callee nearby", "helper(x) + 5", "helper2(x) + 5", func(c *Comparison) Delta { return c.Functions },
			Delta{Changed: []string{"same"}}},
		{"a text", `"one"`, `"two"`, func(c *Comparison) Delta { return c.Functions }, Delta{Changed: []string{"says"}}},
		{"an initial value", "counter = 3", "counter = 4", func(c *Comparison) Delta { return c.Variables }, Delta{Changed: []string{"counter"}}},
		{"that of a local variable", "limit = 3", "limit = 4",
			func(c *Comparison) Delta { return c.Variables }, Delta{Changed: []string{"limit"}}},
		{"a variable", "EXTRA", "int more = 7;", func(c *Comparison) Delta { return c.Variables }, Delta{Added: []string{"more"}}},
		{"a function less", "N int says", "static inline int says", func(c *Comparison) Delta { return c.Functions },
			Delta{Removed: []string{"says"}}},
		{"a feature", `"SECOND" }`, `"THIRD" }`, func(c *Comparison) Delta { return c.Features },
			Delta{Added: []string{"THIRD"}, Removed: []string{"SECOND"}}},
		{"a hook", "kernel(2);", "kernel(3);", func(c *Comparison) Delta { return c.Functions }, Delta{Changed: []string{"plugsched_init"}}},
		{"the runtime", "anchor(1);", "anchor(2);", func(c *Comparison) Delta { return c.Runtime }, Delta{Changed: []string{"plugsched_enable"}}},
	} {
		text := strings.Replace(source, e.from, e.to, 1)
		text = strings.Replace(text, "EXTRA", "", 1)
		text = strings.Replace(text, "helper_first", "1", 1)
		c := compared(t, old, made(t, text, about()))
		if diff := cmp.Diff(e.delta, e.want(c)); diff != "" || c.Same {
			t.Errorf("%s: same %v: %s", e.name, c.Same, diff)
		}
	}
	d := about()
	d.Replaced, d.Features, d.Warnings = []string{"calls"}, map[string]bool{"FIRST": true}, []string{"w"}
	c := compared(t, old, made(t, plain, d))
	if !cmp.Equal(c.Redirected, Delta{Removed: []string{"same"}}) || !cmp.Equal(c.Settings, Delta{Added: []string{"FIRST"}}) ||
		!cmp.Equal(c.Warnings, Delta{Added: []string{"w"}}) || !c.Functions.Empty() || c.Same {
		t.Errorf("%+v", c)
	}
}

// TestInKernel: distances mean symbols, whatever kernel they are of.
func TestInKernel(t *testing.T) {
	m := &Module{Desc: &desc.Description{}, anchored: "a", anchor: 0x1000, kernel: []symbol{{"a", 0x1000}, {"b", 0x2000}, {"c", 0x3000}}}
	for off, want := range map[int64]string{0: "a", 0x1000: "b", 0x1008: "b+8", 0x1fff: "c-1", 0x1ffb: "b+4091", 0x2010: "c+16"} {
		if got := m.inKernel(off); got != want {
			t.Errorf("%#x is %s, want %s", off, got, want)
		}
	}
	m.anchor = 0
	if got := m.inKernel(0x1000); got != "a+4096" {
		t.Error(got)
	}
}

// TestForeign: two kernels cannot be compared by distances, and what is no module is refused.
func TestForeign(t *testing.T) {
	d := about()
	d.BuildID, d.Symbols = "cd", nil
	text := strings.Replace(source, "EXTRA", "", 1)
	old, err := Open(made(t, text, about()))
	if err != nil {
		t.Fatal(err)
	}
	now, err := Open(made(t, text, d))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Compare(old, now); outcome.Of(err) != outcome.Precondition || !strings.Contains(err.Error(), "build it again") {
		t.Errorf("%v", err)
	}
	dir := t.TempDir()
	fifo, image := filepath.Join(dir, "fifo"), filepath.Join(dir, "cut.ko")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(old.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, whole[:len(whole)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{fifo: "not a regular file", dir: "not a regular file", image: "truncated",
		"/none.ko": "no such file",
		filepath.Join(filepath.Dir(old.Path), "unit.o"): "not made by"} {
		if _, err := Open(path); outcome.Of(err) != outcome.Precondition || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
