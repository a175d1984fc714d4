// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/command/manual"
)

// TestDocumented: every command says what it is for, and shows it.
func TestDocumented(t *testing.T) {
	for _, fault := range manual.Undocumented(developerRoot()) {
		t.Error(fault)
	}
}

// TestMan: what `make man` writes is where a machine looks for it.
func TestMan(t *testing.T) {
	dir := t.TempDir()
	c := newMan()
	c.SetArgs([]string{dir})
	if err := c.Execute(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"man/man1/plugsched.1", "man/man1/plugsched-boundary-why.1", "man/man8/plugsched.8",
		"man/man8/plugsched-try.8",
		"bash-completion/completions/plugsched", "zsh/vendor-completions/_plugsched", "fish/vendor_completions.d/plugsched.fish"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() < 200 {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Who looks up plugsched alone gets section 1, and is to find the other.
	first, err := os.ReadFile(filepath.Join(dir, "man/man1/plugsched.1"))
	_, also, _ := strings.Cut(string(first), ".SH SEE ALSO")
	if err != nil || !strings.Contains(also, "plugsched(8)") || !strings.Contains(string(first), ".SH FILES\n.TP\n\\fIDIR/plugsched.yaml") {
		t.Errorf("%v\n%s", err, first)
	}
	if _, err := os.Stat(filepath.Join(dir, "man/man8/plugsched-init.8")); err == nil {
		t.Error("a developer's command is among the operator's")
	}
}
