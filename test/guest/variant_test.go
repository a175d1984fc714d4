// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"plugsched/internal/develop/project"
	"plugsched/internal/guest/vm"
	"plugsched/internal/kernel/fetch"
)

// otherPatch makes a scheduler that differs from the shared one.
const otherPatch = "test/guest/testdata/other.patch"

// origin is a kernel that variants of its scheduler are built for.
type origin struct {
	release, work string
	target        *fetch.Target
}

// of takes the scheduler out of another kernel than that of the other tests.
func of(t *testing.T, release string) *origin {
	t.Helper()
	if release == shared.release {
		return &origin{shared.release, shared.work, shared.target}
	}
	building.Lock()
	defer building.Unlock()
	o := &origin{release: release, work: filepath.Join(shared.root, "build/test", release)}
	if out, code := plugsched(t, "init", "--release", release, o.work); code != 0 {
		t.Fatalf("init %s: %d\n%s", release, code, out)
	}
	p, err := project.Open(o.work)
	if err != nil {
		t.Fatal(err)
	}
	if o.target, err = p.Target(); err != nil {
		t.Fatal(err)
	}
	return o
}

// ports are a patch's file and those that do the same to other kernels' sources, in folders
// that are named for what is new in those: the first that applies is meant.
func ports(patch string) []string {
	out := []string{filepath.Join(shared.root, patch)}
	for _, source := range []string{"eevdf", "onetree"} {
		port := filepath.Join(shared.root, "test/guest/testdata", source, filepath.Base(patch))
		if _, err := os.Stat(port); err == nil && port != out[0] {
			out = append(out, port)
		}
	}
	return out
}

// boots makes a guest one of this kernel.
func (o *origin) boots(c *vm.Config) { c.Kernel = o.target.Vmlinuz }

// variant is that of the kernel of the other tests.
func variant(t *testing.T, patches ...string) (ko string) {
	t.Helper()
	return of(t, shared.release).variant(t, patches...)
}

// variant builds the pristine scheduler with patches, which are named relative to
// the repository, and returns the module's path. All variants are built in one working
// directory, as a developer does who goes from branch to branch: only what differs is
// compiled again. What was built from the same patches by the same tool is used again.
func (o *origin) variant(t *testing.T, patches ...string) (ko string) {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	var names []string
	hash := sha256.New()
	add := func(path string) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		hash.Write(text)
	}
	add(shared.tool)
	for _, p := range patches {
		for _, path := range ports(p) {
			add(path)
		}
		names = append(names, strings.TrimSuffix(filepath.Base(p), ".patch"))
	}
	name := strings.Join(names, "+")
	root := filepath.Join(shared.root, "build/test/variant", o.release)
	dir, work := filepath.Join(root, name), filepath.Join(root, "work")
	ko = filepath.Join(dir, "scheduler.ko")
	key, keyFile := fmt.Sprintf("%x", hash.Sum(nil)), filepath.Join(dir, "key")
	if text, err := os.ReadFile(keyFile); err == nil && string(text) == key {
		return ko
	}
	run := func(command ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("variant %s: %s: %v\n%s", name, strings.Join(command, " "), err, out)
		}
		spentBy(t, cmd)
	}
	o.renew(t, work)
	for _, p := range patches {
		use := ports(p)
		for len(use) > 1 && exec.CommandContext(t.Context(), "git", "-C", work, "apply", "--check", use[0]).Run() != nil {
			use = use[1:]
		}
		run("git", "-C", work, "-c", "user.name=test", "-c", "user.email=test@localhost", "am", "-q", use[0])
	}
	run(shared.tool, "build", work)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	made, err := filepath.Glob(filepath.Join(work, "scheduler*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range made {
		if err := os.Rename(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(ko); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, []byte(key), 0o644); err != nil {
		t.Fatal(err)
	}
	return ko
}

// renew makes the directory in which variants are built pristine. It is made anew if the one
// that it is a copy of was initialised again.
func (o *origin) renew(t *testing.T, work string) {
	t.Helper()
	const state = ".plugsched/reproduce.done"
	is, err := os.ReadFile(filepath.Join(o.work, state))
	if err != nil {
		t.Fatal(err)
	}
	tmp := work + ".tmp" // a copy that was interrupted is none
	// So is a patch that did not apply.
	clean := `rm -rf "$1"/.git/rebase-apply && git -C "$1" checkout -q -f pristine && git -C "$1" clean -q -f -d && rm -f "$1"/scheduler*`
	if was, err := os.ReadFile(filepath.Join(work, state)); err != nil || !bytes.Equal(was, is) {
		clean = `rm -rf "$1" "$2" && mkdir -p "$(dirname "$1")" && cp -a "$3" "$2" && mv "$2" "$1" && ` + clean
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", clean, "sh", work, tmp, o.work)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", work, err, out)
	}
}

// workbench is a pristine working directory for a test's own edits; done returns the module
// that was built there, and leaves the directory to others. The end of the test does the
// last, too.
func workbench(t *testing.T) (dir string, done func() (ko []byte)) {
	t.Helper()
	o := of(t, shared.release)
	dir = filepath.Join(shared.root, "build/test/variant", o.release, "work")
	building.Lock()
	unlock := sync.OnceFunc(building.Unlock)
	t.Cleanup(unlock)
	o.renew(t, dir)
	return dir, func() []byte {
		t.Helper()
		ko, err := os.ReadFile(filepath.Join(dir, "scheduler.ko"))
		if err != nil {
			t.Fatal(err)
		}
		unlock()
		return ko
	}
}

// ownWork is a pristine working directory of a test's own, for what edits do not take back:
// a copy, which is ready at once.
func ownWork(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "work")
	for _, command := range [][]string{{"cp", "-a", shared.work, dir}, {"git", "-C", dir, "checkout", "-q", "-f", "pristine"}} {
		if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	return dir
}

// with puts a module into a guest.
func with(guestPath, ko string) func(*vm.Config) {
	return func(c *vm.Config) {
		c.Files = append(c.Files, vm.File{GuestPath: guestPath, HostPath: ko})
	}
}

// complaint is a fault of the guest's kernel that a test provokes.
type complaint struct {
	kind vm.Kind
	text string // in the report, "" is any
	may  bool   // it need not occur
}

func (c complaint) is(f vm.Fault) bool {
	return c.kind == f.Kind && strings.Contains(f.Excerpt, c.text)
}

// judge returns what is wrong with the faults of a guest: those that are not
// expected, or that none of the expected ones is there.
func judge(faults []vm.Fault, expected []complaint) (wrong []string) {
	met := !slices.ContainsFunc(expected, func(c complaint) bool { return !c.may })
	for _, f := range faults {
		if slices.ContainsFunc(expected, func(c complaint) bool { return c.is(f) }) {
			met = true
			continue
		}
		wrong = append(wrong, fmt.Sprintf("the guest's kernel complained: %s\n%s", f.Line, f.Excerpt))
	}
	if !met {
		wrong = append(wrong, fmt.Sprintf("the guest's kernel did not complain, expected one of %v", expected))
	}
	return wrong
}

// TestJudge: what is expected must come, and nothing else may.
func TestJudge(t *testing.T) {
	warning := vm.Fault{Kind: vm.Warning, Excerpt: "WARNING: in a()"}
	for _, c := range []struct {
		faults   []vm.Fault
		expected []complaint
		wrong    int
	}{
		{nil, nil, 0},
		{[]vm.Fault{warning}, nil, 1},
		{nil, []complaint{{kind: vm.Warning, text: ""}}, 1},
		{[]vm.Fault{warning, warning}, []complaint{{kind: vm.Warning, text: "a()"}}, 0},
		{[]vm.Fault{warning}, []complaint{{kind: vm.Warning, text: "b()"}}, 2},
		{[]vm.Fault{warning}, []complaint{{kind: vm.Atomic, text: ""}, {kind: vm.Warning, text: ""}}, 0},
		{[]vm.Fault{warning, {Kind: vm.Panic}}, []complaint{{kind: vm.Warning, text: ""}}, 1},
	} {
		if wrong := judge(c.faults, c.expected); len(wrong) != c.wrong {
			t.Errorf("%v, expected %v: %q", c.faults, c.expected, wrong)
		}
	}
}

func modTime(t *testing.T, file string) time.Time {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// TestVariant: a variant is what its patch makes, and is not built twice.
func TestVariant(t *testing.T) {
	t.Parallel()
	other := variant(t, otherPatch)
	built := modTime(t, other)
	if again := variant(t, otherPatch); again != other || modTime(t, again) != built {
		t.Errorf("%s, then %s: built again", other, again)
	}
	a, err := os.ReadFile(shared.project.Module())
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	const text = "I am the other scheduler"
	if bytes.Contains(a, []byte(text)) || !bytes.Contains(b, []byte(text)) {
		t.Errorf("%s is not what its patch makes", other)
	}
}
