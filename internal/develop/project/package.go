// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"plugsched/internal/command/version"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/packaging"
)

// installerName is the program beside plugsched that packages take along.
const installerName = "plugsched-installer"

// pack makes the packages.
func (b *build) pack(ctx context.Context) (string, error) {
	config, err := boundary.LoadConfig(b.path(configFile))
	if err != nil {
		return "", userError("%s", err)
	}
	s := &packaging.Scheduler{
		Arch:    b.arch.Package,
		Release: b.desc.Release, BuildID: b.desc.BuildID, ModuleName: b.desc.Name, Commit: b.desc.Commit, Tool: b.desc.Tool,
		Signed: b.signer != nil, Replaced: b.desc.Replaced,
		Module: b.Module(), Description: b.Description(), Boundary: b.state(boundaryFile),
	}
	if s.Config, err = packaging.ParseConfig(config.Package); err != nil {
		return "", userError("%s: %v", b.path(configFile), err)
	}
	b.defaults(ctx, &s.Config)
	if s.Time, err = b.time(ctx); err != nil {
		return "", err
	}
	if b.Documents != nil {
		if s.Documents, err = b.Documents(s.Time); err != nil {
			return "", err
		}
	}
	if s.Installer, err = b.installer(ctx); err != nil {
		return "", err
	}
	if b.Packages, err = packaging.Build(b.Dir, s); err != nil {
		return "", err
	}
	return s.Name + " " + s.Version, nil
}

// defaults fills in what plugsched.yaml leaves out.
func (b *build) defaults(ctx context.Context, c *packaging.Config) {
	if c.Name == "" {
		c.Name = "scheduler"
	}
	if c.Version == "" {
		c.Version = "0." + b.commits(ctx)
		if b.desc.Commit == "" || strings.HasSuffix(b.desc.Commit, "+") {
			c.Version += "+local"
		}
	}
	if c.Maintainer == "" {
		c.Maintainer = b.gitLog(ctx, "%an <%ae>")
	}
	if c.Summary == "" {
		c.Summary = "scheduler for Linux " + b.desc.Release
	}
}

// commits counts what was committed on top of the pristine source.
func (b *build) commits(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "-C", b.Dir, "rev-list", "--count", pristineTag+"..HEAD").Output()
	if err != nil {
		return "0"
	}
	return strings.TrimSpace(string(out))
}

// gitLog returns something about the last commit, "" when git does not know.
func (b *build) gitLog(ctx context.Context, format string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", b.Dir, "log", "-1", "--format="+format).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// time is what the packages' files are dated: the last commit's time, or what the
// environment asks for (reproducible-builds.org/specs/source-date-epoch).
func (b *build) time(ctx context.Context) (time.Time, error) {
	text, from := os.Getenv("SOURCE_DATE_EPOCH"), "SOURCE_DATE_EPOCH"
	if text == "" {
		text, from = b.gitLog(ctx, "%ct"), "the last commit's time"
	}
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, userError("%s: %q is not a number of seconds", from, text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// installer finds the program for packages, which must be of this version.
func (b *build) installer(ctx context.Context) (string, error) {
	path := filepath.Join(filepath.Dir(b.Self), installerName)
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", userError("%s: %v: packages take it along: build it with plugsched (`make build`)", path, err)
	}
	if want := fmt.Sprintf("plugsched version %s\n", version.String()); string(out) != want {
		return "", userError("%s is %s, not %s: build both together (`make build`)", path, strings.TrimSpace(string(out)), strings.TrimSpace(want))
	}
	return path, nil
}
