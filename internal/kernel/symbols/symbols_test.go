// SPDX-License-Identifier: BSD-3-Clause

package symbols

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"plugsched/internal/kernel/image"

	"github.com/google/go-cmp/cmp"
)

// TestInit: symbols know that their memory is given back; labels of the linker script are addresses only.
func TestInit(t *testing.T) {
	const text = `
	.section .init.text,"ax"
	.globl setup, start
start:
	.type setup,%function
setup:
	.quad 1
	.section .exit.text,"ax"
	.type leave,%function
leave:
	.quad 1
	.section .init.data,"aw"
	.type early,%object
early:
	.quad 1
	.section .ref.text,"ax"
	.type both,%function
both:
	.quad 1
	.data
	.type late,%object
late:
	.quad 1
	.set absolute,4
`
	dir := t.TempDir()
	source, object := filepath.Join(dir, "a.s"), filepath.Join(dir, "a.o")
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("as", "-o", object, source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	table, err := Read(&image.Program{Path: object})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, s := range table.Symbols {
		got[s.Name] = s.Init
	}
	if diff := cmp.Diff(map[string]bool{"setup": true, "leave": true, "early": true, "start": false, "both": false, "late": false,
		"absolute": false}, got); diff != "" {
		t.Error(diff)
	}
}
