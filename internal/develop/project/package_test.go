// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/packaging"
)

// gitIn runs git in a directory, as somebody in particular and at a known time.
func gitIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(cmd.Environ(), "GIT_AUTHOR_NAME=Jane Doe", "GIT_AUTHOR_EMAIL=jane@example.org", "GIT_COMMITTER_NAME=x",
		"GIT_COMMITTER_EMAIL=x@x",
		"GIT_COMMITTER_DATE=1700000000 +0000", "GIT_CONFIG_GLOBAL=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// TestPackageDefaults: what the tree's history says, unless plugsched.yaml says more.
func TestPackageDefaults(t *testing.T) {
	dir := t.TempDir()
	gitIn(t, dir, "init", "-q")
	write(t, "0", dir, "f")
	gitIn(t, dir, "add", "f")
	gitIn(t, dir, "commit", "-q", "-m", "0")
	gitIn(t, dir, "tag", pristineTag)
	p := &Project{Dir: dir}
	check := func(want packaging.Config, c packaging.Config) {
		t.Helper()
		commit, err := p.commit(t.Context())
		if err == nil {
			err = p.defaults(t.Context(), "6.1.0", commit, &c)
		}
		if err != nil {
			t.Fatal(err)
		}
		if c != want {
			t.Errorf("%+v, want %+v", c, want)
		}
	}
	want := packaging.Config{Name: "scheduler", Version: "0.0", Maintainer: "Jane Doe <jane@example.org>",
		Summary: "scheduler for Linux 6.1.0"}
	check(want, packaging.Config{})
	for _, text := range []string{"1", "2"} {
		write(t, text, dir, "f")
		gitIn(t, dir, "commit", "-q", "-a", "-m", text)
	}
	want.Version = "0.2"
	check(want, packaging.Config{})
	write(t, "3", dir, "f")
	want.Version = "0.2+local"
	check(want, packaging.Config{})
	own := packaging.Config{Name: "fast", Version: "7", Maintainer: "m", Summary: "s"}
	check(own, own)

	t.Setenv("SOURCE_DATE_EPOCH", "")
	if got, err := p.time(t.Context()); err != nil || got.Unix() != 1700000000 {
		t.Errorf("%v, %v", got, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "5")
	if got, err := p.time(t.Context()); err != nil || !got.Equal(time.Unix(5, 0)) {
		t.Errorf("%v, %v", got, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := p.time(t.Context()); err == nil {
		t.Error("no error")
	}
}

// TestPackageSection: plugsched.yaml's other readers let it pass.
func TestPackageSection(t *testing.T) {
	dir := t.TempDir()
	write(t, "package:\n  name: fast\n  version: 1.10\nstay:\n  f: reason\n", dir, ConfigFile)
	cfg, err := boundary.LoadConfig(dir + "/" + ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	c, err := packaging.ParseConfig(cfg.Package)
	if err != nil || c.Name != "fast" || c.Version != "1.10" || cfg.Stay["f"] != "reason" {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestInstaller: packages do not take along a program of another version, or none.
func TestInstaller(t *testing.T) {
	dir := t.TempDir()
	p := &Project{Self: dir + "/plugsched"}
	if _, err := p.installer(t.Context()); err == nil || !strings.Contains(err.Error(), dir+"/plugsched-installer") ||
		strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	write(t, "#!/bin/sh\necho plugsched version other\n", dir, installerName)
	if err := exec.Command("chmod", "+x", dir+"/"+installerName).Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.installer(t.Context()); err == nil || !strings.Contains(err.Error(), "build both together") {
		t.Errorf("%v", err)
	}
}
