// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package debian

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"plugsched/internal/guest/vm"
	"plugsched/internal/operate/live"
)

// A scheduler is what was built of some patches.
type scheduler struct {
	dir    string // its working directory
	module string // the module's name
}

// building is held by the test that builds.
var building sync.Mutex

// build makes the pristine scheduler with patches, which are named relative to the
// repository, and with some text as plugsched.yaml. It begins with what was built already, so that only compiling and
// linking is left to do; what the same tool has made of the same is used again.
func build(t *testing.T, name, config string, patches ...string) *scheduler {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	s := &scheduler{dir: filepath.Join(filepath.Dir(shared.a.dir), name)}
	hash := sha256.New()
	for _, path := range append([]string{"bin/plugsched", "bin/plugsched-installer"}, patches...) {
		text, err := os.ReadFile(filepath.Join(shared.root, path))
		if err != nil {
			t.Fatal(err)
		}
		hash.Write(text)
	}
	hash.Write([]byte(config))
	key, keyFile := fmt.Sprintf("%x", hash.Sum(nil)), filepath.Join(s.dir, ".plugsched/test")
	if made, err := os.ReadFile(keyFile); err != nil || string(made) != key {
		run := func(command ...string) {
			t.Helper()
			if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %s: %v\n%s", name, strings.Join(command, " "), err, out)
			}
		}
		if err := os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
		run("cp", "-a", shared.a.dir, s.dir)
		run("git", "-C", s.dir, "checkout", "-q", "-f", "-B", "test", "pristine")
		for _, p := range patches {
			run("git", "-C", s.dir, "-c", "user.name=test", "-c", "user.email=test@localhost", "am", "-q", "--committer-date-is-author-date",
				filepath.Join(shared.root, p))
		}
		run("sh", "-c", "rm -f "+s.dir+"/scheduler*")
		if config != "" {
			if err := os.WriteFile(filepath.Join(s.dir, "plugsched.yaml"), []byte(config), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		run(shared.tool, "build", s.dir)
		if err := os.WriteFile(keyFile, []byte(key), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scheduler) open() error {
	ko, err := live.Open(filepath.Join(s.dir, "scheduler.ko"))
	if err == nil {
		s.module = ko.Desc.Name
	}
	return err
}

// file puts a file of the working directory, such as the .deb, into a guest.
func (s *scheduler) file(t *testing.T, pattern, name string) vm.File {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, pattern))
	found = slices.DeleteFunc(found, func(path string) bool { // packages of debug information
		return strings.Contains(path, "-dbgsym_") || strings.Contains(path, "-debuginfo-")
	})
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %s: %q, %v; expected one", s.dir, pattern, found, err)
	}
	return vm.File{GuestPath: "/run/test/" + name, HostPath: found[0]}
}
