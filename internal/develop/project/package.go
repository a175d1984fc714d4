// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"plugsched/internal/artefact/desc"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/git"
	"plugsched/internal/develop/module"
	"plugsched/internal/develop/packaging"
)

// installerName is the program beside plugsched that packages take along.
const installerName = "plugsched-installer"

// pack makes the packages, and returns their paths.
func (p *Project) pack(in *inputs, d *desc.Description, signed bool) (paths []string, err error) {
	err = p.stage("package", "making packages", "", func() (string, error) {
		if !in.kernel.Arch.OfHost() {
			return "none: the programs that packages take along are for this machine, not for " + in.kernel.Arch.Title, nil
		}
		id, err := module.ID(p.Module())
		if err != nil {
			return "", err
		}
		s := &packaging.Scheduler{
			Config: in.about.Config, Time: in.about.time, Installer: in.about.installer,
			Arch: in.kernel.Arch.Package, Release: d.Release, BuildID: d.BuildID, ModuleName: d.Name, Commit: d.Commit, Tool: d.Tool,
			Signed: signed, Replaced: d.Replaced, Changes: in.about.changes,
			Debug: p.DebugInfo(), ModuleID: id,
			Module: p.Module(), Description: p.Description(), Boundary: p.state(boundaryFile),
		}
		if p.Documents != nil {
			if s.Documents, err = p.Documents(s.Time); err != nil {
				return "", err
			}
		}
		if paths, err = packaging.Build(p.Dir, s); err != nil {
			return "", err
		}
		return s.Name + " " + s.Version, nil
	})
	return paths, err
}

// about is what is said of a build besides what it makes: all of it is known, and checked,
// before anything is compiled.
type about struct {
	packaging.Config
	commit    string   // the state of the developer's tree, "" when there is no history
	changes   []string // subjects of the commits on top of the pristine source
	time      time.Time
	installer string // path
}

func (p *Project) about(ctx context.Context, cfg *boundary.Config, release string) (a about, err error) {
	if a.Config, err = packaging.ParseConfig(cfg.Package); err != nil {
		return a, Errorf("%s: %v", p.path(ConfigFile), err)
	}
	if a.commit, err = p.commit(ctx); err != nil {
		return a, err
	}
	if err := p.defaults(ctx, release, a.commit, &a.Config); err != nil {
		return a, err
	}
	if a.changes, err = p.subjects(ctx); err != nil {
		return a, err
	}
	if a.time, err = p.time(ctx); err != nil {
		return a, err
	}
	a.installer, err = p.installer(ctx)
	return a, err
}

// defaults fills in what plugsched.yaml leaves out.
func (p *Project) defaults(ctx context.Context, release, commit string, c *packaging.Config) (err error) {
	if c.Name == "" {
		c.Name = "scheduler"
	}
	if c.Version == "" {
		n, err := p.commits(ctx)
		if err != nil {
			return err
		}
		c.Version = "0." + n
		if commit == "" || strings.HasSuffix(commit, "+") {
			c.Version += "+local"
		}
	}
	if c.Maintainer == "" {
		if c.Maintainer, err = p.gitLog(ctx, "%an <%ae>"); err != nil {
			return err
		}
	}
	if c.Summary == "" {
		c.Summary = "scheduler for Linux " + release
	}
	return nil
}

// commits counts what was committed on top of the pristine source.
func (p *Project) commits(ctx context.Context) (string, error) {
	if known, err := p.Git().Revision(ctx, pristineRef); known == "" || err != nil {
		return "0", err
	}
	return p.Git().Output(ctx, "rev-list", "--count", pristineRef+"..HEAD")
}

// subjects are those of the same commits, the newest first.
func (p *Project) subjects(ctx context.Context) ([]string, error) {
	if known, err := p.Git().Revision(ctx, pristineRef); known == "" || err != nil {
		return nil, err
	}
	text, err := p.Git().Output(ctx, "log", "--format=%s", pristineRef+"..HEAD")
	return slices.DeleteFunc(strings.Split(text, "\n"), func(s string) bool { return strings.TrimSpace(s) == "" }), err
}

// commit names the state of the developer's tree, "" when it has no history.
func (p *Project) commit(ctx context.Context) (string, error) {
	id, err := p.Git().Revision(ctx, "HEAD")
	if id == "" || err != nil {
		return "", err
	}
	_, err = p.Git().Output(ctx, "diff", "--quiet", "HEAD")
	if git.ExitCode(err) == 1 {
		return id + "+", nil
	}
	return id, err
}

// gitLog returns something about the last commit, "" when there is none.
func (p *Project) gitLog(ctx context.Context, format string) (string, error) {
	if known, err := p.Git().Revision(ctx, "HEAD"); known == "" || err != nil {
		return "", err
	}
	return p.Git().Output(ctx, "log", "-1", "--format="+format)
}

// time is what the packages' files are dated: the last commit's time, or what the
// environment asks for (reproducible-builds.org/specs/source-date-epoch).
func (p *Project) time(ctx context.Context) (time.Time, error) {
	text, from := os.Getenv("SOURCE_DATE_EPOCH"), "SOURCE_DATE_EPOCH"
	if text == "" {
		from = "the last commit's time"
		var err error
		if text, err = p.gitLog(ctx, "%ct"); err != nil {
			return time.Time{}, err
		}
	}
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, Errorf("%s: %q is not a number of seconds", from, text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

func (p *Project) installer(ctx context.Context) (string, error) {
	return Installer(ctx, p.Self, p.Tool)
}

// Installer finds the program for packages beside plugsched's own, self. It must be of the same version, tool.
func Installer(ctx context.Context, self, tool string) (string, error) {
	path := filepath.Join(filepath.Dir(self), installerName)
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", Errorf("%s: %v: packages take it along: build it with plugsched (`make build`)", path, err)
	}
	if want := fmt.Sprintf("plugsched version %s\n", tool); string(out) != want {
		return "", Errorf("%s is %s, not %s: build both together (`make build`)", path, strings.TrimSpace(string(out)),
			strings.TrimSpace(want))
	}
	return path, nil
}
