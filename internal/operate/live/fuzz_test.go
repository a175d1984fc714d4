// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"plugsched/internal/artefact/desc"
	"plugsched/internal/fuzzing"
)

// smallModule assembles a relocatable file with a description.
func smallModule(f *testing.F, description []byte) []byte {
	f.Helper()
	dir := f.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "m.ko")
	if err := os.WriteFile(in, description, 0o600); err != nil {
		f.Fatal(err)
	}
	cmd := exec.Command("gcc", "-x", "assembler", "-c", "-o", out, "-")
	cmd.Stdin = bytes.NewReader([]byte(".globl init_module\ninit_module:\n\tcall other\n\tret\n.section " + desc.Section +
		"\n.incbin \"" + in + "\"\n"))
	if text, err := cmd.CombinedOutput(); err != nil {
		f.Fatalf("%v: %s", err, text)
	}
	image, err := os.ReadFile(out)
	if err != nil {
		f.Fatal(err)
	}
	return image
}

// FuzzModule: whatever a file holds, it is refused or parsed, within bounds.
func FuzzModule(f *testing.F) {
	text, err := json.Marshal(desc.Description{Format: desc.Version, Release: "6.1.0", BuildID: "abcd",
		Replaced:  []string{"__schedule"},
		Witnesses: map[string]uint64{"other": 0xffffffff81000010}})
	if err != nil {
		f.Fatal(err)
	}
	ko := smallModule(f, text)
	if _, err := parse(ko); err != nil {
		f.Fatal(err)
	}
	f.Add(ko)
	f.Add(ko[:len(ko)-len(ko)/4])
	f.Add(smallModule(f, []byte("{}")))
	f.Fuzz(func(t *testing.T, image []byte) {
		fuzzing.Bounded(t, func() {
			m, err := parse(image)
			if (m == nil) != (err != nil) {
				t.Errorf("module %v, error %v", m, err)
			}
			if err == nil && (m.Desc == nil || m.Desc.Format != desc.Version) {
				t.Errorf("accepted with description %+v", m.Desc)
			}
		})
	})
}
