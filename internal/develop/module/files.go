// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
)

// prepare readies a build directory. What an earlier build left is kept, so that
// kbuild only makes what changed, unless another version of the tool made it.
func prepare(t *Tree, dir string) error {
	self, err := os.ReadFile(t.Self)
	if err != nil {
		return err
	}
	stamp := filepath.Join(dir, ".tool")
	sum := checksum(self, t.KernelBuild, t.WorkDir)
	if was, err := os.ReadFile(stamp); err != nil || string(was) != sum {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return os.WriteFile(stamp, []byte(sum), 0o644)
	}
	return nil
}

// update writes a file unless it has these contents: make goes by the time of
// the last change.
func update(path string, text []byte, mode os.FileMode) error {
	if was, err := os.ReadFile(path); err == nil && bytes.Equal(was, text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, mode)
}

func checksum(data []byte, more ...string) string {
	h := sha256.New()
	h.Write(data)
	for _, m := range more {
		h.Write([]byte("\n" + m))
	}
	return hex.EncodeToString(h.Sum(nil))
}
