// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package debian

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plugsched/internal/guest/rootfs"
	"plugsched/internal/kernel/fetch"
	"plugsched/test/kernels"
)

// shared is what the tests have in common.
var shared struct {
	root, tool string
	release    string
	a          *scheduler // the example
	image      string     // the root file system
	modules    string     // of the kernel
	target     *fetch.Target
}

var release = flag.String("release", os.Getenv("RELEASE"), "kernel release (default: the newest with debug symbols)")

func TestMain(m *testing.M) {
	flag.Parse()
	if err := setUp(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "debian tests: set-up:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func setUp(ctx context.Context) (err error) {
	s := &shared
	if s.root, err = filepath.Abs("../.."); err != nil {
		return err
	}
	s.tool = filepath.Join(s.root, "bin/plugsched")
	if s.release = *release; s.release == "" {
		if s.release, err = fetch.Newest(ctx, "cloud-amd64"); err != nil {
			return err
		}
	}
	suite, err := kernels.Suite(s.release)
	if err != nil {
		return err
	}
	if s.target, err = fetch.Fetch(ctx, fetch.Options{Release: s.release, Suite: suite}); err != nil {
		return err
	}
	if s.modules, err = fetch.Modules(ctx, fetch.Options{Release: s.release, Version: s.target.Version, Suite: suite}); err != nil {
		return err
	}
	if s.image, err = rootfs.Image(ctx, "", os.Stdout); err != nil {
		return err
	}
	s.a = &scheduler{dir: filepath.Join(s.root, "build/debian", s.release, "a")}
	fmt.Println("kernel", s.release, "on", s.image)
	for _, c := range [][]string{
		{s.tool, "init", "--release", s.release, s.a.dir},
		{"git", "-C", s.a.dir, "checkout", "-q", "-f", "-B", "test", "pristine"},
		{"git", "-C", s.a.dir, "-c", "user.name=test", "-c", "user.email=test@localhost", "am", "-q", "--committer-date-is-author-date",
			filepath.Join(s.root, "examples/hello.patch")},
		{s.tool, "build", s.a.dir},
	} {
		if out, err := exec.CommandContext(ctx, c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(c, " "), err, out)
		}
	}
	return s.a.open()
}
