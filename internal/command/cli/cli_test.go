// SPDX-License-Identifier: BSD-3-Clause

package cli

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/outcome"
)

// TestRange: what is outside of the bounds is a mistake on the command line, and changes nothing.
func TestRange(t *testing.T) {
	var n int
	var d, z time.Duration
	flags := flag.NewFlagSet("x", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Var(Int(&n, 10, 1, 1000), "n", "")
	flags.Var(Duration(&d, time.Minute, time.Second, 24*time.Hour), "d", "")
	flags.Var(Duration(&z, 30*time.Second, 100*time.Millisecond, 24*time.Hour).OrZero(), "z", "")
	for _, bad := range []string{"n=0", "n=-3", "n=1001", "n=x", "n=", "n=99999999999999999999", "d=0", "d=25h", "d=-5s", "d=999ms", "d=5",
		"z=-5s", "z=99ms", "z=24h1ns", "z=-1ns"} {
		if err := flags.Parse([]string{"-" + bad}); err == nil || !strings.Contains(err.Error(), "it must be ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if n != 10 || d != time.Minute || z != 30*time.Second {
		t.Errorf("%v %v %v", n, d, z)
	}
	if err := flags.Parse([]string{"-n=1000", "-d=24h", "-z=0"}); err != nil || n != 1000 || d != 24*time.Hour || z != 0 {
		t.Errorf("%v: %v %v %v", err, n, d, z)
	}
	err := Duration(&z, 0, 100*time.Millisecond, 24*time.Hour).OrZero().Set("-5s")
	if want := "it must be 0, or from 100ms to 24h"; err.Error() != want || outcome.Of(err) != outcome.Usage {
		t.Errorf("%v, want %s", err, want)
	}
}

// program is one with a group of commands, and one that prints.
func program() *cobra.Command {
	group := &cobra.Command{Use: "group", Short: "A group"}
	group.AddCommand(&cobra.Command{Use: "member", Args: Args(0, 0), RunE: func(*cobra.Command, []string) error { return nil }})
	print := &cobra.Command{Use: "print", Args: Args(0, 0), RunE: func(c *cobra.Command, _ []string) error {
		fmt.Fprintln(c.OutOrStdout(), "text")
		return nil
	}}
	one := &cobra.Command{Use: "one", Args: Args(0, 0), RunE: func(*cobra.Command, []string) error { return nil }}
	one.Flags().Bool("a", false, "")
	one.Flags().Bool("b", false, "")
	one.MarkFlagsMutuallyExclusive("a", "b")
	quiet := &cobra.Command{Use: "quiet", Args: Args(0, 0), RunE: func(c *cobra.Command, _ []string) error {
		fmt.Fprintln(c.OutOrStdout(), "text")
		return &QuietError{Means: outcome.Precondition}
	}}
	return NewRoot("A program", group, print, one, quiet)
}

// TestUnknown: a command that is not there is a mistake wherever it stands, and the one that
// was meant is named.
func TestUnknown(t *testing.T) {
	for line, want := range map[string]string{
		"nosuch":                `plugsched: unknown command "nosuch"; see ` + "`plugsched --help`",
		"prin":                  "did you mean print?",
		"group nosuch":          `plugsched: unknown command "group nosuch"; see ` + "`plugsched group --help`",
		"group membr":           "did you mean member?",
		"completion nosuch":     `unknown command "completion nosuch"`,
		"completion bahs":       "did you mean bash?",
		"completion bash extra": "extra",
		"help nosuch":           `unknown command "nosuch"`,
		"help group nosuch":     `unknown command "group nosuch"`,
		"help print nosuch":     `unknown command "print nosuch"`,
		"print extra":           "usage: plugsched print",
		"one --a --b":           "--a and --b exclude each other; see `plugsched one --help`",
		"one --c":               "unknown flag: --c",
	} {
		var out, complaint bytes.Buffer
		if code := run(t.Context(), program(), &out, &complaint, strings.Fields(line)...); code != 2 ||
			!strings.Contains(complaint.String(), want) || out.Len() > 0 {
			t.Errorf("%s: %d, no %q in %s\nbut on stdout %s", line, code, want, &complaint, &out)
		}
	}
	for _, line := range []string{"", "group", "help", "help group", "help group member", "completion bash", "completion",
		"group member", "--version", "__complete help gr"} {
		var out, complaint bytes.Buffer
		if code := run(t.Context(), program(), &out, &complaint, strings.Fields(line)...); code != 0 || out.Len() == 0 && line != "group member" {
			t.Errorf("%s: %d, %s%s", line, code, &out, &complaint)
		}
	}
}

// TestLostOutput: what could not be written is an error, whatever the command made of it.
func TestLostOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for line, code := range map[string]int{"print": 1, "help": 1, "group": 1, "--version": 1, "completion bash": 1, "quiet": 3,
		"group member": 0} {
		var complaint bytes.Buffer
		got := run(t.Context(), program(), full, &complaint, strings.Fields(line)...)
		if said := strings.Count(complaint.String(), "no space left"); got != code || said != 1 && code != 0 {
			t.Errorf("%s: %d, want %d\n%s", line, got, code, &complaint)
		}
	}
}

// TestWriteFile: the old contents stay when the new ones cannot be written, and the words are a
// user's.
func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "page.html")
	if err := WriteFile("output", path, []byte("good")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".tmp", 0o700); err != nil { // in the way of what is being written
		t.Fatal(err)
	}
	err := WriteFile("output", path, []byte("new"))
	if text, _ := os.ReadFile(path); err == nil || string(text) != "good" || !strings.HasPrefix(err.Error(), "--output "+path+": ") {
		t.Errorf("%v, %q", err, text)
	}
	err = WriteFile("output", dir+"/nosuch/x", nil)
	if want := "--output " + dir + "/nosuch/x: there is no directory " + dir + "/nosuch"; err == nil || err.Error() != want ||
		outcome.Of(err) != outcome.Precondition {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestRelease: only what can be the name of a kernel.
func TestRelease(t *testing.T) {
	var to string
	for _, good := range []string{"6.1.0-57-cloud-x", "7.2.13+deb14-cloud", "5.14.0-427.13.1.el9_4.x", "6.12~rc3", "7.0"} {
		if err := (Release{&to}).Set(good); err != nil || to != good {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "../../etc", "foo bar", "6", "6.", "6.1/..", "6.1 ", "6.1\n", "v6.1", "6.1.0;x",
		"6." + strings.Repeat("1", 63)} {
		if err := (Release{&to}).Set(bad); outcome.Of(err) != outcome.Usage {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
