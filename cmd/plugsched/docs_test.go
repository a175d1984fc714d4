// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
)

func wholeRoot() *cobra.Command {
	root := developerRoot()
	root.AddCommand(operators()...)
	root.AddCommand(newMan())
	cli.Complete(root)
	return root
}

// pages are our Markdown files, by their paths.
func pages(t *testing.T) map[string]string {
	t.Helper()
	c := exec.Command("git", "ls-files", "-co", "--exclude-standard", "*.md")
	c.Dir = "../.."
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, path := range strings.Fields(string(out)) {
		if text, err := os.ReadFile(filepath.Join(c.Dir, path)); err == nil {
			all[path] = string(text)
		}
	}
	return all
}

// call is a command line in quotes, or on a line of its own in an example.
var call = regexp.MustCompile("(?m)(?:`|^[ #$]+(?:[A-Z_]+=\\S+ )*|/)(?:sudo )?plugsched ([a-z-][^`\n]*)")

// TestDocsCommands: commands and flags that pages name are there, and all are told of on
// the page about them.
func TestDocsCommands(t *testing.T) {
	root := wholeRoot()
	told := map[string]bool{}
	reference, n := "", 0
	for path, text := range pages(t) {
		if filepath.Base(path) == "commands.md" {
			reference = text
		}
		for _, m := range call.FindAllStringSubmatch(text, -1) {
			n++
			line, _, _ := strings.Cut(m[1], " # ")
			c := follow(t, path, root, strings.Fields(line), told)
			if c == nil {
				t.Errorf("%s: there is no command `plugsched %s`", path, line)
			}
		}
	}
	if n < 60 {
		t.Errorf("only %d calls were seen", n)
	}
	clear(told)
	reference, _, _ = strings.Cut(reference, "\n## ")
	for row := range strings.Lines(reference) {
		if command, ok := strings.CutPrefix(row, "| `"); ok {
			command, _, _ = strings.Cut(command, "`")
			if follow(t, "commands.md", root, strings.Fields(command), told) == nil {
				t.Errorf("commands.md: there is no command %q", command)
			}
		}
	}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
				if !told[sub.CommandPath()] {
					t.Errorf("commands.md does not tell of `%s`", sub.CommandPath())
				}
				walk(sub)
			}
		}
	}
	walk(root)
}

// follow finds the command of some words, nil if there is none, and complains of flags that
// it does not have. What follows `--` or is piped on is somebody else's.
func follow(t *testing.T, path string, c *cobra.Command, words []string, told map[string]bool) *cobra.Command {
	t.Helper()
	names := true
	for i, w := range words {
		w = strings.Trim(w, "[].,;:()'\"\\")
		if sub := subcommand(c, w); names && sub != nil {
			c = sub
			told[c.CommandPath()] = true
			continue
		}
		switch {
		case w == "--" || w == "|" || w == "&&" || w == ">":
			return c
		case strings.HasPrefix(w, "--"):
			name, _, _ := strings.Cut(w[2:], "=")
			if c.Flags().Lookup(name) == nil && c.InheritedFlags().Lookup(name) == nil && name != "help" && name != "version" {
				t.Errorf("%s: `%s` has no flag --%s", path, c.CommandPath(), name)
			}
		case i == 0:
			return nil
		}
		names = false
	}
	return c
}

func subcommand(c *cobra.Command, name string) *cobra.Command {
	i := slices.IndexFunc(c.Commands(), func(sub *cobra.Command) bool { return sub.Name() == name })
	if i < 0 {
		return nil
	}
	return c.Commands()[i]
}

// TestDocsFlags: every flag of a command is told of by the command itself, and one that a
// page has in quotes belongs to some command of ours or to somebody else's that is known.
func TestDocsFlags(t *testing.T) {
	var flags []string
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, word := range strings.Fields(c.Flags().FlagUsages() + c.PersistentFlags().FlagUsages()) {
			if strings.HasPrefix(word, "--") {
				flags = append(flags, strings.TrimSuffix(word, ","))
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(wholeRoot())
	others := []string{"--strict", "--no-tree", "--limit", "--help", "--version"} // checkpatch's, Ansible's, cobra's
	flag := regexp.MustCompile("`(--[a-z][a-z-]+)")
	for path, text := range pages(t) {
		if strings.HasPrefix(path, "test/load/") || strings.HasPrefix(path, "ansible/") {
			continue // other programs'
		}
		for _, m := range flag.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(flags, m[1]) && !slices.Contains(others, m[1]) {
				t.Errorf("%s: no command has a flag %s", path, m[1])
			}
		}
	}
}
