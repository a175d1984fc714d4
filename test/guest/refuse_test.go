// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// refusal is a command that must fail with a code and one line, and leave the
// stock scheduler running and no module behind.
type refusal struct {
	name, command string
	code          int
	want          string
}

func (r refusal) check(t *testing.T, m *vm.Machine) {
	t.Helper()
	out, code := sh(t, m, r.command)
	if code != r.code || !strings.Contains(out, r.want) {
		t.Errorf("%s: exit code %d, expected %d and %q:\n%s", r.name, code, r.code, r.want, out)
	}
	if r.code == 3 && strings.Count(strings.TrimSpace(out), "\n") != 0 {
		t.Errorf("%s: more than one line:\n%s", r.name, out)
	}
}

func stock(t *testing.T, m *vm.Machine) {
	t.Helper()
	alone(t, m, "")
	if out := ok(t, m, "plugsched status"); !strings.Contains(out, "the kernel's own") {
		t.Errorf("the stock scheduler does not run:\n%s", out)
	}
}

// TestInstallRefuses: wrong modules, wrong users, wrong moments.
func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	ko, err := os.ReadFile(shared.project.Module())
	if err != nil {
		t.Fatal(err)
	}
	id := []byte(shared.target.BuildID)
	other := bytes.ReplaceAll(ko, id, bytes.Repeat([]byte("0"), len(id)))
	release := bytes.ReplaceAll(ko, []byte(`"Release":"6.`), []byte(`"Release":"7.`))
	if bytes.Equal(ko, other) || bytes.Equal(ko, release) {
		t.Fatal("the description was not changed")
	}
	m := boot(t, func(c *vm.Config) {
		c.Files = append(c.Files,
			vm.File{GuestPath: "/short.ko", Content: ko[:len(ko)/2]},
			vm.File{GuestPath: "/empty.ko", Content: []byte{}},
			vm.File{GuestPath: "/other.ko", Content: other},
			vm.File{GuestPath: "/release.ko", Content: release},
			vm.File{GuestPath: "/foreign.ko", HostPath: shared.tool})
	})
	ok(t, m, "echo nobody:x:65534:65534::/:/bin/sh >> /etc/passwd")
	for _, r := range []refusal{
		{"nothing installed", "plugsched uninstall", 3, "no scheduler is installed"},
		{"no such file", "plugsched install /none.ko", 3, "/none.ko"},
		{"a truncated module", "plugsched install /short.ko", 3, "truncated"},
		{"an empty file", "plugsched install /empty.ko", 3, "not a kernel module"},
		{"something else", "plugsched install /foreign.ko", 3, "not a"},
		{"another build of the kernel", "plugsched install /other.ko", 3, "build-id"},
		{"another kernel", "plugsched install /release.ko", 3, "is for kernel 7."},
		{"a plain user", "su nobody -c 'plugsched install /scheduler.ko' 2>&1", 3, "root"},
		{"no module named", "plugsched install", 2, "usage"},
		{"an unknown option", "plugsched install --frobnicate /scheduler.ko", 2, "--help"},
		{"addresses hidden", "echo 2 > /proc/sys/kernel/kptr_restrict; plugsched install /scheduler.ko; c=$?; echo 0 > /proc/sys/kernel/kptr_restrict; exit $c", 3, "kptr_restrict"},
	} {
		r.check(t, m)
		stock(t, m)
	}
	name := installs(t, m, "plugsched install /scheduler.ko")
	refusal{"running already", "plugsched install /scheduler.ko", 3, "is the running scheduler already"}.check(t, m)
	if out, code := sh(t, m, "rmmod "+name); code == 0 || !strings.Contains(out, "temporarily unavailable") {
		t.Errorf("rmmod of an active scheduler: %d\n%s", code, out)
	}
	alone(t, m, name)
	ok(t, m, "plugsched uninstall")
	stock(t, m)
	ok(t, m, "echo 1 > /proc/sys/kernel/modules_disabled")
	refusal{"modules disabled", "plugsched install /scheduler.ko", 3, "modules_disabled"}.check(t, m)
	stock(t, m)
}

// busyWith is what is said of a try that is not the last.
var busyWith = regexp.MustCompile(`(?m)\bbusy, trying again in \S+ \(\d+ of \d+\): task \d+ \(.*\): (is in \S+|stack cannot be unwound)`)

// TestBusy: tasks that sleep inside a function to be replaced forbid the update;
// they are named with their stacks, nothing changes, and once they are gone the
// same module installs. membarrier stays by default for this very reason; here
// the project overrides that.
func TestBusy(t *testing.T) {
	t.Parallel()
	dir := ownWork(t)
	out, code := plugsched(t, "boundary", "why", "__x64_sys_membarrier", "--dir", dir)
	if code != 0 || !strings.Contains(out, "is external") || !strings.Contains(out, "any user can keep a task") {
		t.Errorf("membarrier: %d\n%s", code, out)
	}
	boundary, err := shared.project.Boundary()
	if err != nil {
		t.Fatal(err)
	}
	// Some compilers have the first in the system call's entries, which go on calling the second.
	overridden := "interface:\n"
	for _, f := range []string{"__do_sys_membarrier", "membarrier_private_expedited"} {
		if len(boundary.Find(f)) > 0 {
			overridden += "  " + f + ": a test\n"
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "plugsched.yaml"), []byte(overridden), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "--release", shared.release, dir}, {"build", dir}} {
		if out, code := plugsched(t, args...); code != 0 {
			t.Fatalf("%v: %d\n%s", args, code, out)
		}
	}
	m := borrow(t, with("/busy.ko", filepath.Join(dir, "scheduler.ko")))
	ok(t, m, "schedload start --spec none,membarrier=40/1")
	out, code = sh(t, m, "plugsched install --tries 3 /busy.ko")
	if code != 4 || !strings.Contains(out, "membarrier") || !strings.Contains(out, "task ") {
		t.Errorf("exit code %d, expected 4 and a report about membarrier:\n%s", code, out)
	}
	if n := len(busyWith.FindAllString(out, -1)); n != 2 {
		t.Errorf("of the tries before the last, %d say who is in the way, expected 2:\n%s", n, out)
	}
	stock(t, m)
	ok(t, m, "plugsched install /scheduler.ko && plugsched uninstall")
	ok(t, m, "schedload stop")
	ok(t, m, "plugsched install /busy.ko && plugsched uninstall")
}

// TestInterrupted: Ctrl-C at any moment leaves either scheduler whole, and the
// next command works.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	m := borrow(t, nil)
	for _, after := range []time.Duration{10, 50, 100, 200, 400, 800} {
		p, err := m.Start(t.Context(), vm.Cmd{Argv: []string{"plugsched", "install", "/scheduler.ko"}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(after * time.Millisecond)
		p.Kill()
		p.Wait(t.Context())
		s := status(t, m)
		t.Logf("killed after %v ms: %+v", int(after), s.Modules)
		if s.Active {
			ok(t, m, "plugsched uninstall")
		} else {
			// A module that was loaded and not enabled is in nobody's way.
			ok(t, m, "plugsched install /scheduler.ko && plugsched uninstall")
		}
		stock(t, m)
	}
}

// TestHostRefuses: what the tool says on the developer's machine.
func TestHostRefuses(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "file"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	headers := filepath.Dir(shared.target.KernelBuild)
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no command", []string{"frobnicate"}, 2, "unknown command"},
		{"not initialised", []string{"build", empty}, 3, "plugsched init"},
		{"not empty", []string{"init", "--release", shared.release, full}, 3, "not empty"},
		{"no such release", []string{"init", "--release", "9.9.9-cloud-amd64", filepath.Join(empty, "a")}, 3, "9.9.9-cloud-amd64"},
		{"not a vmlinux", []string{"init", "--release", shared.release, "--vmlinux", shared.load, filepath.Join(empty, "b")}, 3, ""},
		{"no such vmlinux", []string{"init", "--release", shared.release, "--vmlinux", "/none", filepath.Join(empty, "c")}, 3, "/none"},
		{"no headers there", []string{"init", "--release", shared.release, "--headers", empty, filepath.Join(empty, "d")}, 3, empty},
		{"no source there", []string{"init", "--release", shared.release, "--source", headers, filepath.Join(empty, "e")}, 3, ""},
	} {
		out, code := plugsched(t, c.args...)
		if code != c.code || !strings.Contains(out, c.want) || strings.Count(strings.TrimSpace(out), "\n") > 1 {
			t.Errorf("%s: exit code %d, expected %d and one line with %q:\n%s", c.name, code, c.code, c.want, out)
		}
	}
	if entries, _ := os.ReadDir(empty); len(entries) > 0 {
		t.Errorf("something was left behind: %v", entries)
	}
}
