// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/module"
	"plugsched/internal/durable"
	"plugsched/internal/kernel/fetch"
)

var quotedInclude = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*include[ \t]+"([^"]+)"`)

// copySource copies the scheduler's directory, and the files beside it that it
// includes by relative path, into a fresh directory.
func copySource(from, to string) (int, error) {
	if err := os.RemoveAll(to); err != nil {
		return 0, err
	}
	sched := filepath.Join(from, SchedDir)
	entries, err := os.ReadDir(sched)
	if err != nil {
		return 0, Errorf("%s: has no %s: not a kernel source tree", from, SchedDir)
	}
	var work []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			work = append(work, filepath.Join(SchedDir, e.Name()))
		}
	}
	return copyClosure(from, to, work)
}

// copyClosure copies files, and those that they include by relative path.
func copyClosure(from, to string, work []string) (int, error) {
	seen := map[string]bool{}
	for len(work) > 0 {
		rel := work[0]
		work = work[1:]
		if seen[rel] {
			continue
		}
		seen[rel] = true
		text, err := os.ReadFile(filepath.Join(from, rel))
		if err != nil {
			return 0, err
		}
		if err := folder.Write(to, rel, text); err != nil {
			return 0, err
		}
		for _, m := range quotedInclude.FindAllSubmatch(text, -1) {
			inc := filepath.Join(filepath.Dir(rel), string(m[1]))
			if !strings.HasPrefix(inc, "..") && folder.Exists(filepath.Join(from, inc)) {
				work = append(work, inc)
			}
		}
	}
	return len(seen), nil
}

// clangdFile is what clangd, an editor's reader of C, goes by besides compile_commands.json.
const clangdFile = ".clangd"

// meaning are those of gcc's options for code that change what source means. Clang knows them.
var meaning = []string{"-fshort-wchar", "-funsigned-char", "-fsigned-char", "-fms-extensions", "-ffreestanding"}

// clangdConfig keeps from clangd the options that only gcc knows: each is an error on line 1
// of every file. Options of code generation are nothing to it, but for a few that this kernel
// may be built with.
func clangdConfig(units []module.Unit) string {
	add := []string{"-Wno-unknown-warning-option"}
	for _, flag := range meaning {
		if slices.ContainsFunc(units, func(u module.Unit) bool { return slices.Contains(u.Command, flag) }) {
			add = append(add, flag)
		}
	}
	return "# The kernel is built by gcc, whose options for code clangd does not know.\nCompileFlags:\n  Remove: [-f*, -m*]\n  Add: [" +
		strings.Join(add, ", ") + "]\n"
}

// madeFor is what the first commit says of the kernel.
var madeFor = regexp.MustCompile(`build-id ([0-9a-f]+)`)

// asPlugsched makes git commit whoever the user is.
var asPlugsched = []string{"-c", "user.name=plugsched", "-c", "user.email=plugsched@localhost", "-c", "commit.gpgsign=false"}

// makeTree makes the developer's repository: the pristine source and every
// header that it was compiled from, as the first commit.
func (p *Project) makeTree(ctx context.Context, t *fetch.Target) (string, error) {
	units, err := p.pristine()
	if err != nil {
		return "", err
	}
	switch made, err := p.Git().Revision(ctx, pristineRef); {
	case err != nil:
		return "", err
	case made != "":
		text, err := p.Git().Output(ctx, "log", "-1", "--format=%B", pristineRef)
		if err != nil {
			return "", err
		}
		if m := madeFor.FindStringSubmatch(text); m != nil && m[1] != t.BuildID {
			return "", Errorf("%s: its tree is of another kernel (build-id %.8s), not of %s (build-id %.8s): use another directory", p.Dir, m[1],
				t.Release, t.BuildID)
		}
		return "exists", p.writeCommands(t, units)
	}
	files, err := folder.Files(p.state("source"))
	if err != nil {
		return "", err
	}
	copies := map[string]string{}
	for _, f := range files {
		rel, _ := filepath.Rel(p.state("source"), f)
		copies[rel] = f
	}
	for _, u := range units {
		for rel, from := range p.sourcesOf(t, u) {
			copies[rel] = from
		}
	}
	for rel, from := range copies {
		text, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if err := folder.Write(p.Dir, rel, text); err != nil {
			return "", err
		}
	}
	own := map[string]string{".gitignore": gitignore, ConfigFile: configTemplate, clangdFile: clangdConfig(units)}
	for rel, text := range own {
		if !folder.Exists(p.path(rel)) {
			if err := folder.Write(p.Dir, rel, []byte(text)); err != nil {
				return "", err
			}
		}
	}
	if err := p.writeCommands(t, units); err != nil {
		return "", err
	}
	message := fmt.Sprintf("The scheduler of Linux %s\n\nPristine source, %s; build-id %s.\n", t.Release, whence(t), t.BuildID)
	// The kernel's own date: whoever initialises for the same kernel has the same commits, and so the same packages.
	var dates []string
	if st, err := os.Stat(t.Vmlinux); err == nil {
		date := st.ModTime().UTC().Format(time.RFC3339)
		dates = []string{"GIT_AUTHOR_DATE=" + date, "GIT_COMMITTER_DATE=" + date}
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"},
		{"add", "-A"},
		append(slices.Clone(asPlugsched), "commit", "-q", "--allow-empty", "-m", message),
		{"tag", pristineTag},
	} {
		if err := p.Git().With(dates...).Run(ctx, args...); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d files", len(copies)), nil
}

// whence says where a kernel's source is from.
func whence(t *fetch.Target) string {
	if t.Version == "" {
		return "as in " + t.Source
	}
	return "as in the package " + t.Version
}

const gitignore = `/.plugsched/
/compile_commands.json
/.cache/
/scheduler.ko
/scheduler.ko.debug
/scheduler.yaml
/*.deb
/*.rpm
/boundary.html
`

const configTemplate = `# What the boundary analysis cannot know. Each entry maps a name to the reason.
#
# interface:                 # functions to redirect although they could stay
#   some_function: reason
# stay:                      # functions to leave in the kernel
#   some_function: reason
# private:                   # variables of which the module gets its own copy
#   some_variable: reason
# headers:                   # macros outside of kernel/sched that only the scheduler uses
#   SOME_MACRO: reason
# rebuilt:                   # changed builders of what lasts (domains), and who builds that anew
#   some_function: reason
# features:                  # of kernel/sched/features.h, as they are to be with this scheduler
#   SOME_FEATURE: true
# values:                    # of the kernel's variables, as they are to be with this scheduler
#   some_variable: 42
# sidecar:                   # functions outside of the scheduler that change with it
#   kernel/some_file.c:
#     some_function: reason
#
# How the packages are that build makes; all of it may be left out.
#
# package:
#   name: scheduler
#   version: "1.0"             # default: 0.N, after N commits
#   maintainer: Jane Doe <jane@example.org>
#   summary: one line
`

// pristineRef is the tag, whatever branches are called.
const pristineRef = "refs/tags/" + pristineTag

// writeCommands writes compile_commands.json for clangd: how the kernel's build
// compiles each unit, on the developer's files.
func (p *Project) writeCommands(t *fetch.Target, units []module.Unit) error {
	type command struct {
		Directory string   `json:"directory"`
		File      string   `json:"file"`
		Arguments []string `json:"arguments"`
	}
	var list []command
	for _, u := range units {
		var args []string
		for _, a := range u.Command {
			args = append(args, strings.ReplaceAll(a, p.state("source"), p.Dir))
		}
		list = append(list, command{Directory: t.KernelBuild, File: p.path(u.Name), Arguments: args})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].File < list[j].File })
	text, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return err
	}
	return durable.WriteFile(p.path(commandsFile), append(text, '\n'), 0o644)
}
