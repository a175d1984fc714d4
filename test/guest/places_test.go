// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPlaces: what is built does not depend on where: another working directory for the same kernel, whose path has another
// length, holds the same module, debug information, description and packages, byte for byte; and no path of this
// machine is in them.
func TestPlaces(t *testing.T) {
	t.Parallel()
	work := shared.work
	kernel, err := os.Stat(shared.target.Vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "git", "-C", work, "log", "-1", "--format=%at %ct", "pristine").CombinedOutput()
	if got, want := strings.TrimSpace(string(out)), fmt.Sprintf("%d %[1]d", kernel.ModTime().Unix()); err != nil || got != want {
		t.Errorf("the pristine source was committed at %s, not when the kernel was built, %s: it is another commit for each who makes it", got, want)
	}
	other := filepath.Join(t.TempDir(), "another/place/with/a/longer/path")
	const without = `mkdir -p "$(dirname "$2")" && cp -a "$1" "$2" && cd "$2" && rm -rf scheduler* .plugsched/edited* .plugsched/module*`
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", without, "sh", work, other).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, code := run(t, "build", other); code != 0 || strings.Contains(out, "compile    unchanged") {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	made := map[string]map[string][]byte{}
	for _, dir := range []string{work, other} {
		files, err := filepath.Glob(filepath.Join(dir, "scheduler*"))
		if err != nil || len(files) != 7 {
			t.Fatalf("%q, %v; expected the module, its debug information, its description and four packages", files, err)
		}
		made[dir] = map[string][]byte{}
		for _, f := range files {
			if made[dir][filepath.Base(f)], err = os.ReadFile(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, text := range made[work] {
		if !bytes.Equal(text, made[other][name]) {
			t.Errorf("%s differs from place to place", name)
		}
		for _, path := range []string{work, shared.target.KernelBuild, filepath.Dir(shared.target.Vmlinux)} {
			if i := bytes.Index(text, []byte(path)); i >= 0 {
				t.Errorf("%s has %s: %.100q", name, path, text[i:])
			}
		}
	}
}
