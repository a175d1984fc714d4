// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCached: what was compiled once comes back as it was, what does not compile is left to the
// compiler, and so is all where nothing can be kept.
func TestCached(t *testing.T) {
	switch _, err := exec.LookPath("ccache"); {
	case err == nil:
	case os.Getenv("PLUGSCHED_NEED_TOOLS") != "":
		t.Fatal("ccache is not installed: make setup")
	default:
		t.Skip("ccache is not installed: make setup")
	}
	dir := t.TempDir()
	t.Setenv("CCACHE_DIR", "")
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	source, out := filepath.Join(dir, "a.c"), filepath.Join(dir, "a.s")
	compile := func(text string) (assembly string, ok bool) {
		t.Helper()
		write(t, source, text)
		os.Remove(out)
		ok = cached("gcc", []string{"-O2", "-g", "-S", "-o", out, source})
		made, err := os.ReadFile(out)
		if ok != (err == nil) {
			t.Errorf("%q: %v, and %v", text, ok, err)
		}
		return string(made), ok
	}
	hits := func() string {
		t.Helper()
		cmd := exec.Command("ccache", "--print-stats")
		cmd.Env = append(os.Environ(), "CCACHE_DIR="+filepath.Join(dir, "cache/plugsched/ccache"))
		text, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(line, "direct_cache_hit\t"); ok {
				return strings.TrimSpace(n)
			}
		}
		t.Fatalf("no hits in %s", text)
		return ""
	}
	const one, two = "int f(void) { return 1; }\n", "int f(void) { return 2; }\n"
	first, ok := compile(one)
	if !ok || hits() != "0" {
		t.Fatalf("compiled: %v, hits: %s", ok, hits())
	}
	if other, ok := compile(two); !ok || other == first {
		t.Errorf("another source gives the same, or nothing: %v", ok)
	}
	if again, ok := compile(one); !ok || again != first || hits() != "1" {
		t.Errorf("compiled again: %v, hits: %s, the same: %v", ok, hits(), again == first)
	}
	if _, ok := compile("int f(void) { return x; }\n"); ok {
		t.Error("compiles what is no C")
	}
	write(t, filepath.Join(dir, "file"), "")
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "file"))
	if _, ok := compile(one); ok {
		t.Error("keeps what it has no place for")
	}
}
