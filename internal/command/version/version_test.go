// SPDX-License-Identifier: BSD-3-Clause

package version

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
)

func TestName(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for version, want := range map[string]string{
		"":                                   "devel-0123456789ab",
		"(devel)":                            "devel-0123456789ab",
		"v1.2.0":                             "1.2.0",
		"v1.2.0+dirty":                       "1.2.0+dirty",
		"v1.3.0-rc.1":                        "1.3.0-rc.1",
		"v0.0.0-20261129113125-0123456789ab": "devel-0123456789ab",
		"v1.2.1-0.20261129113125-0123456789ab+dirty": "devel-0123456789ab+dirty",
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: commit}}}
		if got := name(info); got != want {
			t.Errorf("%q is called %s, want %s", version, got, want)
		}
	}
	if got := name(&debug.BuildInfo{}); got != "devel" {
		t.Errorf("%s", got)
	}
}

// TestTagged: what the toolchain records in a repository with and without a tag.
func TestTagged(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile("version.go")
	if err != nil {
		t.Fatal(err)
	}
	main := strings.Replace(string(text), "package version", "package main", 1) + "\nfunc main() { print(String(), \" \", Day() > 20000) }\n"
	for name, text := range map[string]string{"main.go": main, "go.mod": "module plugsched\n\ngo 1.26\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(argv ...string) string {
		t.Helper()
		c := exec.Command(argv[0], argv[1:]...)
		c.Dir = dir
		c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GOFLAGS=-buildvcs=true", "GOWORK=off", "CGO_ENABLED=0")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
		return string(out)
	}
	built := func() string {
		t.Helper()
		out := filepath.Join(t.TempDir(), "x")
		run("go", "build", "-o", out, ".")
		return run(out)
	}
	run("git", "init", "-q")
	run("git", "add", ".")
	run("git", "-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "-m", "x")
	if v := built(); !regexp.MustCompile(`^devel-[0-9a-f]{12} true$`).MatchString(v) {
		t.Errorf("without a tag: %s", v)
	}
	run("git", "tag", "v1.2.0")
	if v := built(); v != "1.2.0 true" {
		t.Errorf("with a tag: %s", v)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(main+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if v := built(); v != "1.2.0+dirty true" {
		t.Errorf("changed since: %s", v)
	}
}
