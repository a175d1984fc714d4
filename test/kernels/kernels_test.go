// SPDX-License-Identifier: BSD-3-Clause

//go:build kernels

package kernels

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/kernel/arch"
	"plugsched/internal/kernel/fetch"
)

var (
	only   = flag.String("kernels", os.Getenv("KERNELS"), "the kernels to analyse, by the names of their files in testdata (default: all)")
	cache  = flag.String("cache", "", "where fetched kernels are kept (default: as the tool)")
	update = flag.Bool("update", false, "write what is found to testdata and docs/develop/kernels.md")
)

const root = "../.."

// golden is what is expected of one kernel.
type golden struct {
	Suite   string `yaml:"suite,omitempty"` // of Debian; empty: the host's packages
	Flavour string `yaml:"flavour"`
	Release string `yaml:"release"`
	// Guest are the guest tests that have to pass on it, as `go test -run` takes them.
	Guest    string `yaml:"guest,omitempty"`
	BuildID  string `yaml:"build_id"`
	Download int64  `yaml:"download"` // bytes
	// Counts are by class; a kernel with another build-id than the one above may
	// differ a little.
	Counts map[string]int `yaml:"counts"`
	// Obstacle is what must be part of the reason why no module can be made.
	Obstacle string `yaml:"obstacle,omitempty"`
	// Missed names a function for each way in which a call graph made from the
	// source goes wrong.
	Missed map[string]string `yaml:"missed"`
	// Functions are classes of functions, each with a part of one fact:
	// "interface, called: ret_from_fork". "absent, FUNCTION" was inlined into the
	// function everywhere, or replaced by it.
	Functions map[string]string `yaml:"functions"`
	Objects   map[string]string `yaml:"objects"` // variable: class
	// Members are who uses members: "struct rq.curr: scheduler".
	Members map[string]string `yaml:"members,omitempty"`

	name string
}

// analysed is what the tool made of one kernel.
type analysed struct {
	*golden
	release  string
	dir      string // the working directory
	boundary *boundary.Boundary
	took     time.Duration // of processors
	memory   int64         // bytes, peak
	vmlinux  string
}

func TestKernels(t *testing.T) {
	var rows []*analysed
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			a := analyse(t, g)
			rows = append(rows, a)
			a.checkTail(t)
			if *update {
				a.update(t)
			}
			a.checkCounts(t)
			a.checkMissed(t)
			a.checkFunctions(t)
			a.checkObjects(t)
			a.checkSites(t)
			a.checkRelocations(t)
			a.checkCommands(t, a.dir)
			a.checkMembers(t, a.dir)
			a.checkReport(t, a.dir)
		})
	}
	if *update && *only == "" && !t.Failed() {
		writeTable(t, rows)
	}
}

func goldens(t *testing.T) []*golden {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no kernels", err)
	}
	var out []*golden
	want := strings.Fields(*only)
	for _, f := range files {
		g := &golden{name: strings.TrimSuffix(filepath.Base(f), ".yaml")}
		if len(want) > 0 && !slices.Contains(want, g.name) {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		dec := yaml.NewDecoder(bytes.NewReader(text))
		dec.KnownFields(true)
		if err := dec.Decode(g); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out = append(out, g)
	}
	if len(want) > 0 && len(out) != len(want) {
		t.Fatalf("kernels %q: there are only %d of them in testdata", want, len(out))
	}
	return out
}

// analyse runs the tool in a fresh directory, on a kernel that has been fetched.
func analyse(t *testing.T, g *golden) *analysed {
	t.Helper()
	a := &analysed{golden: g}
	tgt := a.fetch(t)
	a.vmlinux = tgt.Vmlinux
	dir := filepath.Join(root, "build/test/kernels", g.name)
	a.dir = dir
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	args := []string{"init", "--analyze-only", "--release", a.release}
	if *cache != "" {
		args = append(args, "--cache-dir", *cache)
	}
	if g.Suite != "" {
		args = append(args, "--suite", g.Suite)
	}
	cmd := exec.Command(filepath.Join(root, "bin/plugsched"), append(args, dir)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	a.took = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	a.memory = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	text, err := os.ReadFile(filepath.Join(dir, ".plugsched/boundary.json"))
	if err != nil {
		t.Fatal(err)
	}
	a.boundary = &boundary.Boundary{}
	if err := json.Unmarshal(text, a.boundary); err != nil {
		t.Fatal(err)
	}
	c := a.boundary.Counts()
	t.Logf("%s: %d functions %v, %d absent, %v, %d MB", a.release, len(a.boundary.Functions), c, len(a.boundary.Absent), a.took, a.memory>>20)
	return a
}

// fetch gets the release that the golden file is about or, where the archive has
// dropped that, the newest one that it has.
func (a *analysed) fetch(t *testing.T) *fetch.Target {
	t.Helper()
	o := fetch.Options{CacheDir: *cache, Suite: a.Suite, AnalyseOnly: true}
	o.Progress = func(p fetch.Progress) {
		if p.Step == "download" && p.Total > 0 {
			a.Download = p.Total
		}
	}
	try := func(release string) (*fetch.Target, error) {
		o.Release = release
		tgt, err := fetch.Fetch(t.Context(), o)
		if err == nil {
			a.release = release
		}
		return tgt, err
	}
	tgt, err := try(a.Release)
	if err == nil {
		return tgt
	}
	if errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	t.Logf("%s: %v", a.Release, err)
	list, lerr := fetch.Analysable(t.Context(), o, a.Flavour, series(a.Release))
	if lerr != nil {
		t.Fatal(lerr)
	}
	for _, r := range list {
		if tgt, err = try(r); err == nil {
			return tgt
		}
		t.Logf("%s: %v", r, err)
	}
	t.Fatal("no release of this series can be fetched")
	return nil
}

func series(release string) string {
	f := strings.SplitN(release, ".", 3)
	return f[0] + "." + f[1]
}

func (a *analysed) counts() map[string]int {
	out := map[string]int{"functions": len(a.boundary.Functions), "absent": len(a.boundary.Absent), "objects": len(a.boundary.Objects)}
	for c, n := range a.boundary.Counts() {
		out[string(c)] = n
	}
	return out
}

func (a *analysed) checkCounts(t *testing.T) {
	slack := 0.0
	if a.boundary.BuildID != a.BuildID {
		slack = 0.03
	}
	for what, got := range a.counts() {
		if want := a.Counts[what]; math.Abs(float64(got-want)) > slack*float64(want) {
			t.Errorf("%d are %s, want %d", got, what, want)
		}
	}
	if (a.Obstacle == "") != (a.boundary.Obstacle == "") || !strings.Contains(a.boundary.Obstacle, a.Obstacle) {
		t.Errorf("obstacle %q, want %q", a.boundary.Obstacle, a.Obstacle)
	}
}

func (a *analysed) checkFunctions(t *testing.T) {
	if len(a.Functions) < 20 {
		t.Errorf("only %d functions are expected anything of", len(a.Functions))
	}
	for name, want := range a.Functions {
		class, fact, _ := strings.Cut(want, ", ")
		if class == "absent" {
			a.checkAbsent(t, name, fact)
			continue
		}
		list := a.boundary.Find(name)
		if len(list) == 0 {
			t.Errorf("%s: the kernel has no such function", name)
			continue
		}
		kind, text, _ := strings.Cut(fact, ": ")
		for _, f := range list {
			if f.Name != name {
				continue
			}
			if string(f.Class) != class || !hasFact(f, kind, text) {
				t.Errorf("%s is %s %+v, want %s", name, f.Class, f.Facts, want)
			}
		}
	}
}

// missed are the ways in which functions are reached, or are not what the source
// says, that the source's call graph does not show.
var missed = map[string]func(f *boundary.Function, x *boundary.Absent) bool{
	"exported, and called by modules only": func(f *boundary.Function, _ *boundary.Absent) bool {
		return f != nil && f.Class == boundary.Interface && len(f.Facts) == 1 && f.Facts[0].Kind == "exported"
	},
	"weak, and replaced": func(f *boundary.Function, x *boundary.Absent) bool {
		return f == nil && x != nil && x.Over != "" && x.Into == nil
	},
	"called from assembly": func(f *boundary.Function, _ *boundary.Absent) bool {
		return f != nil && hasFact(f, "called", ".S)")
	},
	"inlined in vmlinux": func(f *boundary.Function, x *boundary.Absent) bool {
		return f == nil && x != nil && len(x.Into) > 0
	},
	"called from the tail of __schedule": func(f *boundary.Function, _ *boundary.Absent) bool {
		return f != nil && hasFact(f, "called", "by __schedule behind the context switch")
	},
}

func hasFact(f *boundary.Function, kind, text string) bool {
	return slices.ContainsFunc(f.Facts, func(x boundary.Fact) bool { return x.Kind == kind && strings.Contains(x.Text, text) })
}

func (a *analysed) checkMissed(t *testing.T) {
	for what, holds := range missed {
		t.Run(what, func(t *testing.T) {
			name := a.Missed[what]
			var f *boundary.Function
			for _, g := range a.boundary.Find(name) {
				f = g
			}
			var absent *boundary.Absent
			for _, x := range a.boundary.Absent {
				if x.Name == name {
					absent = x
				}
			}
			if !holds(f, absent) {
				t.Errorf("%s: %+v, %+v", name, f, absent)
			}
		})
	}
}

func (a *analysed) checkAbsent(t *testing.T, name, holder string) {
	for _, x := range a.boundary.Absent {
		if x.Name == name {
			if !slices.Contains(x.Into, holder) && !strings.HasPrefix(x.Over, holder+" ") {
				t.Errorf("%s: %+v, want %s", name, *x, holder)
			}
			return
		}
	}
	t.Errorf("%s is not among the absent functions", name)
}

func (a *analysed) checkObjects(t *testing.T) {
	for name, want := range a.Objects {
		list := a.boundary.FindObject(name)
		if len(list) == 0 {
			t.Errorf("%s: the kernel has no such variable", name)
		}
		for _, o := range list {
			if string(o.Class) != want {
				t.Errorf("%s is %s, want %s", name, o.Class, want)
			}
		}
	}
}

// checkSites: jumps do not overlap, and stay in their functions.
func (a *analysed) checkSites(t *testing.T) {
	border := 0
	for _, f := range a.boundary.Functions {
		if !f.Class.Border() {
			continue
		}
		border++
		if len(f.Shipped) != arch.OfRelease(a.release).JumpSize || f.Jump < 0 || f.Jump > 16 {
			t.Errorf("%s: a jump at +%d over %d bytes", f.Name, f.Jump, len(f.Shipped))
		}
		if strings.Contains(f.Name, ".") {
			t.Errorf("%s, a clone, is on the border", f.Name)
		}
	}
	if border < 200 {
		t.Errorf("only %d functions are on the border", border)
	}
}

// update writes what was found, with the functions that are there already.
func (a *analysed) update(t *testing.T) {
	t.Helper()
	a.Release, a.BuildID, a.Counts = a.release, a.boundary.BuildID, a.counts()
	var b bytes.Buffer
	b.WriteString("# SPDX-License-Identifier: BSD-3-Clause\n")
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(a.golden); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", a.name+".yaml"), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sizes are those of the kernel's code and of its debug information about types and functions, in MB, as they are in memory.
func (a *analysed) sizes(t *testing.T) (code, debug float64) {
	t.Helper()
	f, err := elf.Open(a.vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, to := range map[string]*float64{".text": &code, ".debug_info": &debug} {
		s := f.Section(name)
		if s == nil {
			t.Fatalf("%s has no %s", a.vmlinux, name)
		}
		*to = float64(s.Size) / 1e6
	}
	return code, debug
}

const (
	tableFile  = root + "/docs/develop/kernels.md"
	tableBegin = "<!-- table -->\n"
	tableEnd   = "<!-- end -->\n"
)

// writeTable puts the figures into the documentation.
func writeTable(t *testing.T, rows []*analysed) {
	t.Helper()
	text, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", tableFile)
	}
	var b strings.Builder
	b.WriteString(before + tableBegin)
	b.WriteString("| Kernel | Functions | Interface | Callback | Internal | External | Init | No symbol | Variables | Download, MB |" +
		" Code, MB | Debug information, MB | Processor time, s | for 100 MB of it | Peak memory, MB |\n")
	b.WriteString("| --- |" + strings.Repeat(" ---: |", 14) + "\n")
	for _, a := range rows {
		c := a.counts()
		fmt.Fprintf(&b, "| %s |", a.release)
		for _, k := range []string{"functions", "interface", "callback", "internal", "external", "init", "absent", "objects"} {
			fmt.Fprintf(&b, " %d |", c[k])
		}
		code, debug := a.sizes(t)
		fmt.Fprintf(&b, " %d | %.1f | %.0f | %.1f | %.1f | %d |\n", a.Download/1_000_000, code, debug, a.took.Seconds(),
			100*a.took.Seconds()/debug, a.memory>>20)
	}
	b.WriteString(tableEnd + after)
	if err := os.WriteFile(tableFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
