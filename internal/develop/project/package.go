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

	"plugsched/internal/artefact/desc"
	"plugsched/internal/develop/packaging"
)

// installerName is the program beside plugsched that packages take along.
const installerName = "plugsched-installer"

// pack makes the packages, and returns their paths.
func (p *Project) pack(ctx context.Context, in *inputs, d *desc.Description, signed bool) (paths []string, err error) {
	err = p.stage("package", "making packages", "", func() (string, error) {
		s := &packaging.Scheduler{
			Arch: in.kernel.Arch.Package, Release: d.Release, BuildID: d.BuildID, ModuleName: d.Name, Commit: d.Commit, Tool: d.Tool,
			Signed: signed, Replaced: d.Replaced,
			Module: p.Module(), Description: p.Description(), Boundary: p.state(boundaryFile),
		}
		if s.Config, err = packaging.ParseConfig(in.config.Package); err != nil {
			return "", userError("%s: %v", p.path(configFile), err)
		}
		p.defaults(ctx, d, &s.Config)
		if s.Time, err = p.time(ctx); err != nil {
			return "", err
		}
		if p.Documents != nil {
			if s.Documents, err = p.Documents(s.Time); err != nil {
				return "", err
			}
		}
		if s.Installer, err = p.installer(ctx); err != nil {
			return "", err
		}
		if paths, err = packaging.Build(p.Dir, s); err != nil {
			return "", err
		}
		return s.Name + " " + s.Version, nil
	})
	return paths, err
}

// defaults fills in what plugsched.yaml leaves out.
func (p *Project) defaults(ctx context.Context, d *desc.Description, c *packaging.Config) {
	if c.Name == "" {
		c.Name = "scheduler"
	}
	if c.Version == "" {
		c.Version = "0." + p.commits(ctx)
		if d.Commit == "" || strings.HasSuffix(d.Commit, "+") {
			c.Version += "+local"
		}
	}
	if c.Maintainer == "" {
		c.Maintainer = p.gitLog(ctx, "%an <%ae>")
	}
	if c.Summary == "" {
		c.Summary = "scheduler for Linux " + d.Release
	}
}

// commits counts what was committed on top of the pristine source.
func (p *Project) commits(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "-C", p.Dir, "rev-list", "--count", pristineTag+"..HEAD").Output()
	if err != nil {
		return "0"
	}
	return strings.TrimSpace(string(out))
}

// commit names the state of the developer's tree, "" when git does not know.
func (p *Project) commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "-C", p.Dir, "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return ""
	}
	id := strings.TrimSpace(string(out))
	if exec.CommandContext(ctx, "git", "-C", p.Dir, "diff", "--quiet", "HEAD").Run() != nil {
		id += "+"
	}
	return id
}

// gitLog returns something about the last commit, "" when git does not know.
func (p *Project) gitLog(ctx context.Context, format string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", p.Dir, "log", "-1", "--format="+format).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// time is what the packages' files are dated: the last commit's time, or what the
// environment asks for (reproducible-builds.org/specs/source-date-epoch).
func (p *Project) time(ctx context.Context) (time.Time, error) {
	text, from := os.Getenv("SOURCE_DATE_EPOCH"), "SOURCE_DATE_EPOCH"
	if text == "" {
		text, from = p.gitLog(ctx, "%ct"), "the last commit's time"
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
func (p *Project) installer(ctx context.Context) (string, error) {
	path := filepath.Join(filepath.Dir(p.Self), installerName)
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", userError("%s: %v: packages take it along: build it with plugsched (`make build`)", path, err)
	}
	if want := fmt.Sprintf("plugsched version %s\n", p.Tool); string(out) != want {
		return "", userError("%s is %s, not %s: build both together (`make build`)", path, strings.TrimSpace(string(out)), strings.TrimSpace(want))
	}
	return path, nil
}
