// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"plugsched/internal/outcome"
)

// command runs the whole program's command, as far as it can be without an exit.
func command(t *testing.T, args ...string) (out string, means outcome.Outcome) {
	t.Helper()
	var b bytes.Buffer
	root := wholeRoot()
	root.SetOut(&b)
	root.SetErr(&b)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	if err != nil {
		b.WriteString(err.Error())
	}
	return b.String(), outcome.Of(err)
}

// mistakes are command lines that are refused before anything is done, and what is said.
func mistakes(t *testing.T, list map[string]string) {
	t.Helper()
	for line, want := range list {
		args := strings.Split(line, " ")
		for i := range args {
			args[i] = strings.Trim(args[i], "'")
		}
		if out, means := command(t, args...); means != outcome.Usage || !strings.Contains(out, want) {
			t.Errorf("plugsched %s: %v (%d), no %q in\n%s", line, means, means.ExitCode(), want, out)
		}
	}
}

func TestRanges(t *testing.T) {
	mistakes(t, map[string]string{
		"vm --cpus 0":             "it must be from 1 to 255",
		"vm --cpus -1":            "it must be from 1 to 255",
		"vm --cpus 256":           "it must be from 1 to 255",
		"bench --cpus 0 x":        "it must be from 1 to 255",
		"bench --repetitions 0 x": "it must be from 1 to 1000",
		"bench --at-most -1 x":    "it must be from 0 to 1048576",
		"bench --at-most 50 x":    "leaves nothing of the series threads",
		"bench --series nosuch x": `there is no series "nosuch"`,
		"bench":                   "name a WORKDIR to measure",
		"bench --from a.json x":   "name a WORKDIR to measure",
		"bench --host a.ko x":     "name a WORKDIR to measure",
		"vm --memory 0":           "it must be from 128 to 1048576",
		"vm --memory -1":          "it must be from 128 to 1048576",
		"install --tries 0":       "it must be from 1 to 1000",
		"try --for 25h x.ko":      "it must be from 1s to 24h",

		"scx load --timeout 31s simple":  "it must be 0, or from 1ms to 30s",
		"scx load --timeout -1s simple":  "it must be 0, or from 1ms to 30s",
		"scx load --set fifo=yes simple": "it must be a whole number that is not negative",
		"scx load --set fifo simple":     "must be formatted as key=value",
		"scx load simple simple":         "usage",
		"scx nosuch":                     "unknown command",
		"scx status simple":              "usage",
	})
}

// TestMistakes: none of these is looked up or begun.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mistakes(t, map[string]string{
		"boundary nosuch":                                   "unknown command",
		"boundary shoow":                                    "did you mean show?",
		"package nosuch":                                    "unknown command",
		"init --release ../../etc work":                     "it must be a kernel's release",
		"init --release foo work":                           "it must be a kernel's release",
		"init --release '' work":                            "it must be a kernel's release",
		"init --release 6.1.0-1/.. work":                    "it must be a kernel's release",
		"init --suite ../x --release 6.1.0-1 work":          "it must be a suite's name",
		"init --suite '' --release 6.1.0-1 work":            "--suite is empty",
		"vm --release ../../etc":                            "it must be a kernel's release",
		"guard --release ../../etc":                         "it must be a kernel's release",
		"guard --release ''":                                "it must be a kernel's release",
		"vm --dir x --release 6.1.0-57-amd64":               "exclude each other",
		"vm --file " + dir + ":/x":                          "is no file",
		"vm --file " + dir + "/nosuch:/x":                   "no such file",
		"vm --file " + file + ":x":                          "write HOST:GUEST",
		"vm --file " + file + ":/":                          "write HOST:GUEST",
		"vm --file " + file + ":/a/../b":                    "write HOST:GUEST",
		"vm --file " + file:                                 "write HOST:GUEST",
		"boundary why ''":                                   "an argument is empty; usage: plugsched boundary why NAME",
		"build ''":                                          "an argument is empty",
		"boundary show --class x":                           "--class x: there is no such class: functions are ",
		"metrics --output ''":                               "--output is empty",
		"metrics --listen 127.0.0.1:1 --socket x":           "exclude each other",
		"metrics --socket /run/" + strings.Repeat("s", 103): "--socket: a path of 108 bytes, and a socket's has at most 107",
		"vm --share " + dir + "/nosuch":                     "no such file",
		"vm --share " + file:                                "is no directory; --file puts a file into the guest",
		"vm --share " + dir + ":/":                          "is no place for it in the guest",
		"vm --share " + dir + ":/a/../b":                    "is no place for it in the guest",
		"vm --share /tmp --share /var/tmp":                  "/mnt/tmp is shared already",
		"vm --share " + dir + ":/x:rw":                      "is no place for it in the guest",
		"vm --share :ro":                                    "write DIR[:GUESTDIR][:ro]",
		"switch":                                            "usage: plugsched switch NAME",
		"switch --none x":                                   "--none and NAME exclude each other",
		"switch --trial 5s --settle 5s --none":              "a trial takes longer than the machine is watched",
		"init --release 6.1.0-57-amd64 --cache-dir " + file + " " + dir + "/work":       "is no directory",
		"init --release 6.1.0-57-amd64 --cache-dir " + file + "/below " + dir + "/work": "is no directory",
	})
	if _, err := os.Stat(filepath.Join(dir, "work")); err == nil {
		t.Error("a working directory was begun")
	}
}

// TestWords: what cannot be is said in plain words, before anything is fetched.
func TestWords(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"file", "full/x"} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600), os.Symlink("loop", filepath.Join(dir, "loop"))); err != nil {
		t.Fatal(err)
	}
	const init = "init --release 9.9.0-1-amd64 " // that no archive has
	for line, want := range map[string]string{
		init + dir + "/file":                              "/file: is no directory, or below a file: name a new directory",
		init + dir + "/file/x":                            "is no directory, or below a file",
		init + dir + "/full":                              "exists and is not empty",
		init + dir + "/a\u00a0b":                          `has '\u00a0' in it`,
		init + dir + "/a:b":                               `has ':' in it`,
		init + dir + "/a'b":                               `has '\'' in it`,
		init + "--cache-dir a,b " + dir + "/w":            `has ',' in it`,
		"init --vmlinux " + dir + "/fifo " + dir + "/w":   "--vmlinux: " + dir + "/fifo is neither a file nor a directory",
		init + "--vmlinuz " + dir + "/fifo " + dir + "/w": "is neither a file nor a directory",
		init + "--source /dev/zero " + dir + "/w":         "--source: /dev/zero is neither",
		init + "--headers " + dir + "/loop " + dir + "/w": "too many levels of symbolic links",
		"metrics --output /nosuch/x":                      "--output /nosuch/x: there is no directory /nosuch",
	} {
		if out, means := command(t, strings.Split(line, " ")...); means != outcome.Precondition || !strings.Contains(out, want) {
			t.Errorf("%s: %v, no %q in\n%s", line, means.ExitCode(), want, out)
		}
	}
	list, _ := filepath.Glob(dir + "/*")
	if len(list) != 4 {
		t.Errorf("left behind: %v", list)
	}
}

// TestNowhere: in a directory that is gone, it is said what is gone.
func TestNowhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"check .", "build work", "boundary show", "init --release 6.1.0-57-amd64 work"} {
		if out, means := command(t, strings.Split(line, " ")...); means != outcome.Precondition ||
			!strings.Contains(out, "the current directory is gone") {
			t.Errorf("%s: %v, %s", line, means.ExitCode(), out)
		}
	}
}
