// SPDX-License-Identifier: BSD-3-Clause

// Package manual makes manual pages and shell completions from the commands
// themselves.
package manual

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"plugsched/internal/command/cli"
	"plugsched/internal/command/operator"
	"plugsched/internal/command/version"
)

// Sections of the manual.
const (
	Developer = "1" // of those who change a scheduler
	Operator  = "8" // of those whose machines run it
)

// OperatorRoot is the command that packages carry.
func OperatorRoot() *cobra.Command {
	return cli.NewRoot("Update the scheduler of the running kernel", operator.Commands()...)
}

// Pages returns a page for a command and for each of its own, by file name.
func Pages(root *cobra.Command, section string, date time.Time) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, c := range append([]*cobra.Command{root}, visible(root)...) {
		date := date.UTC()
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		c.DisableAutoGenTag = true
		var b bytes.Buffer
		h := &doc.GenManHeader{Title: strings.ToUpper(name), Section: section, Date: &date, Source: "plugsched " + version.String(),
			Manual: "plugsched"}
		long := c.Long
		if c == root {
			c.Long = c.Short + "." // exit codes have a section of their own
		}
		err := doc.GenMan(c, h, &b)
		c.Long = long
		if err != nil {
			return nil, fmt.Errorf("manual page of %s: %w", c.CommandPath(), err)
		}
		out[name+"."+section] = complete(tidy(b.Bytes(), date), section, c == root)
	}
	return out, nil
}

// files are those that a section's commands read and write, and what they are.
var files = map[string][][2]string{
	Developer: {
		{"DIR/plugsched.yaml", "what the developer overrides: of the boundary, and how packages are called"},
		{"DIR/scheduler.ko, DIR/scheduler.yaml", "the module that build makes, and its description"},
		{"DIR/.plugsched", "what the stages of init and build made"},
		{"~/.cache/plugsched", "kernels that were fetched"},
	},
	Operator: {
		{"/usr/lib/plugsched/RELEASE/NAME", "the package of a scheduler for that kernel"},
		{"/etc/plugsched/RELEASE", "leads to the one that is selected for that kernel; its unit is plugsched-RELEASE.service"},
		{"/var/lib/plugsched", "the history, and what the boot guard remembers; only root may read it"},
		{"/sys/kernel/plugsched", "the running scheduler's files"},
		{"/run/plugsched.lock, /run/plugsched-package.lock", "keep two commands apart; two packages or boots"},
	},
}

var seeAlso = []byte("\n.SH SEE ALSO\n")

// complete adds to a page what its command does not say itself: exit codes, and for the page that
// leads to all others files and the manual's other section.
func complete(page []byte, section string, first bool) []byte {
	var more bytes.Buffer
	more.WriteString("\n.SH EXIT STATUS\n")
	for _, s := range cli.ExitStatus {
		fmt.Fprintf(&more, ".TP\n%d\n%s\n", s.Code, s.Means)
	}
	if first {
		more.WriteString("\n.SH FILES\n")
		for _, f := range files[section] {
			fmt.Fprintf(&more, ".TP\n\\fI%s\\fP\n%s\n", f[0], f[1])
		}
	}
	page = bytes.Replace(page, []byte("\n.SH EXAMPLE\n"), []byte("\n.SH EXAMPLES\n"), 1)
	page = bytes.Replace(page, seeAlso, append(more.Bytes(), seeAlso...), 1)
	if first && section == Developer {
		const where = "\nA machine's scheduler is updated with the commands of \\fBplugsched(8)\\fP.\n\n"
		page = bytes.Replace(page, []byte("\n.SH OPTIONS\n"), []byte(where+".SH OPTIONS\n"), 1)
		page = append(bytes.TrimRight(page, "\n"), ", \\fBplugsched(8)\\fP\n"...)
	}
	return page
}

var (
	option = regexp.MustCompile(`(?:\.PP\n|(\.SH OPTIONS\n))(\\fB-.*)\n\t`)
	header = regexp.MustCompile(`(?m)^(\.TH "[^"]*" "[^"]*") "[^"]*"`)
)

// tidy mends what formatters complain of: a month for a date, options that are indented with tabs.
func tidy(page []byte, date time.Time) []byte {
	page = option.ReplaceAll(page, []byte("$1.TP\n$2\n"))
	page = bytes.ReplaceAll(page, []byte("[=false]"), nil)
	return header.ReplaceAll(page, []byte(`$1 "`+date.UTC().Format(time.DateOnly)+`"`))
}

// visible returns the commands below one that people are to use.
func visible(c *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			out = append(append(out, sub), visible(sub)...)
		}
	}
	return out
}

// Undocumented says which commands lack a part of their page: tests ask.
func Undocumented(root *cobra.Command) []string {
	var out []string
	for _, c := range append([]*cobra.Command{root}, visible(root)...) {
		switch {
		case c.Short == "" || strings.HasSuffix(c.Short, "."):
			out = append(out, c.CommandPath()+": Short is to be a phrase")
		case !strings.Contains(c.Example, "plugsched "):
			out = append(out, c.CommandPath()+": no Example")
		case c.Long == "":
			out = append(out, c.CommandPath()+": no Long")
		}
	}
	return out
}

// Completions returns completions for the command, by shell: bash, zsh and fish. They
// ask the program itself, so that they fit every version of it.
func Completions(root *cobra.Command) (map[string][]byte, error) {
	out := map[string][]byte{}
	for shell, write := range map[string]func(io.Writer) error{
		"bash": func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"zsh":  root.GenZshCompletion,
		"fish": func(w io.Writer) error { return root.GenFishCompletion(w, true) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return nil, fmt.Errorf("completions for %s: %w", shell, err)
		}
		out[shell] = b.Bytes()
	}
	return out, nil
}

// Documents returns what packages of schedulers carry: man/NAME.8 and completions/SHELL.
func Documents(date time.Time) (map[string][]byte, error) {
	root := OperatorRoot()
	pages, err := Pages(root, Operator, date)
	if err != nil {
		return nil, err
	}
	completions, err := Completions(root)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for name, text := range pages {
		out["man/"+name] = text
	}
	for shell, text := range completions {
		out["completions/"+shell] = text
	}
	return out, nil
}
