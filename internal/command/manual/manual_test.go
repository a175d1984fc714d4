// SPDX-License-Identifier: BSD-3-Clause

package manual

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

var day = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// TestPages: a page for each command, which man renders without a warning.
func TestPages(t *testing.T) {
	pages, err := Pages(OperatorRoot(), Operator, day)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plugsched.8", "plugsched-install.8", "plugsched-doctor.8", "plugsched-metrics.8"} {
		if pages[name] == nil {
			t.Errorf("no page %s", name)
		}
	}
	if first := string(pages["plugsched.8"]); !strings.Contains(first, ".SH FILES\n") || !strings.Contains(first, "/var/lib/plugsched") ||
		strings.Contains(first, "It exits with") {
		t.Errorf("the first page is\n%s", first)
	}
	dir := t.TempDir()
	for name, text := range pages {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		var out, said bytes.Buffer
		c := exec.Command("man", "--warnings", "--encoding=UTF-8", "--local-file", path)
		c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=80", "MAN_KEEP_FORMATTING=")
		c.Stdout, c.Stderr = &out, &said
		if err := c.Run(); err != nil || said.Len() > 0 {
			t.Errorf("%s: %v\n%s", name, err, said.Bytes())
		}
		for _, want := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT STATUS", "  130    it was interrupted",
			"SEE ALSO", "2026-11-21"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %s in\n%s", name, want, out.Bytes())
			}
		}
	}
}

// TestDocuments: packages get pages and completions; the same commands and date give the
// same bytes.
func TestDocuments(t *testing.T) {
	a, err := Documents(day)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"man/plugsched.8", "man/plugsched-try.8", "completions/bash", "completions/zsh", "completions/fish"} {
		if len(a[name]) < 200 {
			t.Errorf("%s: %q", name, a[name])
		}
	}
	b, _ := Documents(day.In(time.FixedZone("", 3600)))
	for name := range a {
		if !bytes.Equal(a[name], b[name]) {
			t.Errorf("%s differs", name)
		}
	}
}

func TestHidden(t *testing.T) {
	root := &cobra.Command{Use: "x", Short: "s", Run: func(*cobra.Command, []string) {}}
	root.AddCommand(&cobra.Command{Use: "secret", Hidden: true, Run: root.Run}, &cobra.Command{Use: "open", Short: "o", Run: root.Run})
	pages, err := Pages(root, "8", day)
	if err != nil || len(pages) != 2 || pages["x-open.8"] == nil {
		t.Errorf("%v, %v", pages, err)
	}
}

// TestCompletions: bash understands its own, and the program completes commands.
func TestCompletions(t *testing.T) {
	files, err := Completions(OperatorRoot())
	if err != nil || len(files) != 3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	c := exec.Command("bash", "-n")
	c.Stdin = bytes.NewReader(files["bash"])
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("bash: %v\n%s", err, out)
	}
	root := OperatorRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs([]string{cobra.ShellCompRequestCmd, "un"})
	if err := root.Execute(); err != nil || !strings.HasPrefix(out.String(), "uninstall\t") {
		t.Errorf("%v: %q", err, out.String())
	}
}

// TestDocumented: every command says what it is for, and shows it.
func TestDocumented(t *testing.T) {
	list := append([]*cobra.Command{OperatorRoot()}, visible(OperatorRoot())...)
	if len(list) < 9 {
		t.Fatalf("%d commands", len(list))
	}
	for _, fault := range Undocumented(OperatorRoot()) {
		t.Error(fault)
	}
}
