// SPDX-License-Identifier: BSD-3-Clause

package boot

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"plugsched/internal/artefact/desc"
)

// ko makes a file that internal/operate/live opens as a module of that name.
func ko(t *testing.T, name string) []byte {
	t.Helper()
	dir := t.TempDir()
	text, err := json.Marshal(desc.Description{Format: desc.Version, Name: name, Release: release})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "json"), text, 0o644))
	for _, argv := range [][]string{
		{"as", "-o", "o", "/dev/null"},
		{"objcopy", "--add-section", desc.Section + "=json", "o", "ko"},
	} {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", argv[0], err, out)
		}
	}
	image, err := os.ReadFile(filepath.Join(dir, "ko"))
	must(t, err)
	return image
}
