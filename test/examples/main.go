// SPDX-License-Identifier: BSD-3-Clause

// Command examples installs and removes the schedulers of examples/ in turn, in one
// guest under one load, and writes into examples/README.md how large they are and
// how long the machine stood still.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"plugsched/internal/command/progress"
	"plugsched/internal/guest/vm"
	"plugsched/test/drive"
)

// example is a change, and what was seen of it.
type example struct {
	name, kind string
	patches    []string // patterns below examples/
	release    string   // another kernel than the others'

	files, added, removed int
	size                  int64 // of the module, bytes
	install, uninstall    []time.Duration
	ko                    string
}

// examples are ordered as the paper's table of cases is.
func examples() []*example {
	return []*example{
		{name: "nothing changed", kind: "–"},
		{name: "upstream/0001: slice limit", kind: "patch", patches: []string{"upstream/0001-*.patch"}},
		{name: "upstream/0002: pressure windows", kind: "patch", patches: []string{"upstream/0002-*.patch"}},
		{name: "upstream/0003: SIS_PROP removed", kind: "patch", patches: []string{"upstream/0003-*.patch"}},
		{name: "stable", kind: "patch", patches: []string{"stable/*.patch"}, release: "6.1.0-50-cloud-amd64"},
		{name: "no-bandwidth", kind: "feature removed", patches: []string{"no-bandwidth/*.patch"}},
		{name: "identity", kind: "feature added", patches: []string{"identity/*.patch"}},
		{name: "tiny", kind: "new scheduler", patches: []string{"no-bandwidth/*.patch", "tiny/*.patch"}},
	}
}

type run struct {
	drive.Options
	spec, report, threads string
}

func main() {
	r := run{}
	r.Flags("build/examples", 10)
	flag.StringVar(&r.spec, "spec", "light,cgchurn=0", "the load, see test/load/README.md")
	flag.StringVar(&r.report, "report", "examples/README.md", "the page that gets the figures, none if empty")
	flag.Parse()
	drive.Main("examples", r.run)
}

func (r *run) run(ctx context.Context) error {
	if err := r.Resolve(ctx); err != nil {
		return err
	}
	all := examples()
	kernels := map[string][]*example{}
	for i, e := range all {
		fmt.Printf("\n==> %d of %d: %s\n", i+1, len(all), e.name)
		if e.release == "" {
			e.release = r.Release
		}
		kernels[e.release] = append(kernels[e.release], e)
		if err := r.build(ctx, e); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	for release, list := range kernels {
		if err := r.measure(ctx, release, list); err != nil {
			return fmt.Errorf("%s: %w", release, err)
		}
	}
	text := r.markdown(all)
	fmt.Print(text)
	if r.report == "" {
		return nil
	}
	return drive.ReplaceSection(r.report, "examples", text)
}

// build makes the module, unless it is newer than the patches and the tool.
func (r *run) build(ctx context.Context, e *example) error {
	patches, err := e.find()
	if err != nil {
		return err
	}
	e.ko = filepath.Join(r.Dir, e.release+"."+strings.NewReplacer("/", "-", " ", "-", ":", "").Replace(e.name)+".ko")
	if err := e.count(ctx, patches); err != nil {
		return err
	}
	if err := execute(ctx, r.Tool, "init", "--release", e.release, filepath.Join(r.Dir, e.release)); err != nil {
		return err
	}
	if !newer(e.ko, append(patches, r.Tool)) {
		if err := r.compile(ctx, e, patches); err != nil {
			return err
		}
	}
	info, err := os.Stat(e.ko)
	if err != nil {
		return err
	}
	e.size = info.Size()
	return nil
}

// find lists the patches in order.
func (e *example) find() (patches []string, err error) {
	for _, pattern := range e.patches {
		found, err := filepath.Glob(filepath.Join("examples", pattern))
		if err != nil || len(found) == 0 {
			return nil, fmt.Errorf("examples/%s: no patches (%v)", pattern, err)
		}
		for _, p := range found {
			if p, err = filepath.Abs(p); err != nil {
				return nil, err
			}
			patches = append(patches, p)
		}
	}
	return patches, nil
}

// newer reports whether a file is there and newer than all others.
func newer(file string, others []string) bool {
	info, err := os.Stat(file)
	return err == nil && !slices.ContainsFunc(others, func(o string) bool {
		other, err := os.Stat(o)
		return err != nil || other.ModTime().After(info.ModTime())
	})
}

// compile applies the patches to the pristine tree and keeps the module.
func (r *run) compile(ctx context.Context, e *example, patches []string) error {
	work := filepath.Join(r.Dir, e.release)
	git := func(args ...string) []string {
		return append([]string{"git", "-C", work, "-c", "user.name=examples", "-c", "user.email=examples@localhost"}, args...)
	}
	commands := [][]string{git("checkout", "-q", "-f", "-B", "example", "pristine")}
	for _, p := range patches {
		commands = append(commands, git("am", "-q", p))
	}
	commands = append(commands, []string{r.Tool, "build", work}, []string{"cp", filepath.Join(work, "scheduler.ko"), e.ko})
	for _, c := range commands {
		if err := execute(ctx, c...); err != nil {
			return err
		}
	}
	return nil
}

func execute(ctx context.Context, command ...string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%v: %w", command, err)
	}
	return nil
}

// count takes the size of the change from its patches.
func (e *example) count(ctx context.Context, patches []string) error {
	if len(patches) == 0 {
		return nil
	}
	out, err := exec.CommandContext(ctx, "git", append([]string{"apply", "--numstat"}, patches...)...).Output()
	if err != nil {
		return fmt.Errorf("git apply --numstat: %w", err)
	}
	files := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		var added, removed int
		var file string
		if _, err := fmt.Sscan(line, &added, &removed, &file); err != nil {
			return fmt.Errorf("git apply --numstat: %q: %w", line, err)
		}
		files[file] = true
		e.added, e.removed = e.added+added, e.removed+removed
	}
	e.files = len(files)
	return nil
}

// measure goes round the examples, so that what else the host does hits all alike.
func (r *run) measure(ctx context.Context, release string, list []*example) error {
	r.Work = filepath.Join(r.Dir, release)
	var files []vm.File
	for i, e := range list {
		files = append(files, vm.File{GuestPath: fmt.Sprintf("/%d.ko", i), HostPath: e.ko})
	}
	g, err := r.Boot(ctx, vm.Config{ConsoleLog: filepath.Join(r.Dir, release+".console")}, files...)
	if err != nil {
		return err
	}
	defer g.Close()
	if _, err := g.Sh(ctx, "schedload start --spec "+r.spec); err != nil {
		return err
	}
	if r.threads, err = g.Sh(ctx, "ls -d /proc/[0-9]*/task/* | wc -l"); err != nil {
		return err
	}
	board := progress.New(os.Stdout)
	defer board.Close()
	step := board.Begin("%s: rounds", release)
	for i := range r.Cycles {
		step.Count(int64(i+1), int64(r.Cycles), "")
		for i, e := range list {
			for _, c := range []struct {
				command string
				times   *[]time.Duration
			}{{fmt.Sprintf("install /%d.ko", i), &e.install}, {"uninstall --verify=false", &e.uninstall}} {
				st, err := g.Change(ctx, c.command)
				if err != nil {
					return fmt.Errorf("%s: %w", e.name, err)
				}
				*c.times = append(*c.times, time.Duration(st.Timings.StopMachine))
			}
		}
	}
	if _, err := g.Progress(ctx); err != nil {
		return err
	}
	return g.Healthy(ctx)
}

func (r *run) markdown(all []*example) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Kernel %s (stable: its own), %d virtual CPUs under QEMU TCG on %d host CPUs, load `%s` (%s threads), %d installs and removals of each, %s.\n\n",
		r.Release, r.CPUs, runtime.NumCPU(), r.spec, r.threads, r.Cycles, time.Now().UTC().Format("2006-01-02"))
	b.WriteString("| Case | Kind | Files | Lines | Module | Downtime of install: median, maximum | of removal |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, e := range all {
		fmt.Fprintf(&b, "| %s | %s | %d | +%d −%d | %d KiB | %s | %s |\n", e.name, e.kind, e.files, e.added, e.removed, e.size/1024,
			both(e.install), both(e.uninstall))
	}
	return b.String()
}

// both is the median and the maximum.
func both(l []time.Duration) string {
	s := slices.Sorted(slices.Values(l))
	round := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
	return fmt.Sprintf("%v, %v", round(s[len(s)/2]), round(s[len(s)-1]))
}
