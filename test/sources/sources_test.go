// SPDX-License-Identifier: BSD-3-Clause

//go:build sources

package sources

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plugsched/internal/develop/environment"
	"plugsched/internal/kernel/fetch"
	"plugsched/test/fedora"
)

const flavour = "cloud-amd64"

// suite is the one that the server is taken from.
const suite = "bookworm"

// command runs a program and returns what it prints.
func command(t *testing.T, env []string, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// wholeHeaders lays Debian's headers, which are in three packages, out as one directory.
func wholeHeaders(t *testing.T, k *fetch.Target, dir string) {
	t.Helper()
	copies := func(from string, leave ...string) {
		args := []string{"-C", from, "-c"}
		for _, l := range leave {
			args = append(args, "--exclude=./"+l)
		}
		pack, unpack := exec.CommandContext(t.Context(), "tar", append(args, ".")...), exec.CommandContext(t.Context(), "tar", "-x", "-C", dir)
		var err error
		if unpack.Stdin, err = pack.StdoutPipe(); err != nil {
			t.Fatal(err)
		}
		if err := pack.Start(); err != nil {
			t.Fatal(err)
		}
		if out, err := unpack.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := pack.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	copies(k.HeadersCommon, "scripts", "tools")
	flavoured, err := filepath.EvalSymlinks(filepath.Join(k.KernelBuild, "include"))
	if err != nil {
		t.Fatal(err)
	}
	copies(filepath.Dir(flavoured), "Makefile", "scripts", "tools")
	for _, name := range []string{"scripts", "tools"} {
		real, err := filepath.EvalSymlinks(filepath.Join(k.KernelBuild, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		command(t, nil, "cp", "-aL", real+"/.", filepath.Join(dir, name))
	}
}

// touched is a line of the source that the archive does not have, and a patch puts in.
const touched = "kernel/sched/core.c"

// archive makes upstream's archive of a source, in which one file has to be patched to be the kernel's.
func archive(t *testing.T, k *fetch.Target, version, path string) (patch string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(k.Source, touched))
	if err != nil {
		t.Fatal(err)
	}
	// What is left out is the code of a function, so that the kernel is not reproduced without the patch.
	const line = "\tactivate_task(rq, p, en_flags);\n"
	if bytes.Count(text, []byte(line)) != 1 {
		t.Fatalf("%s has %d lines %q", touched, bytes.Count(text, []byte(line)), line)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"a/" + touched: bytes.Replace(text, []byte(line), nil, 1), "b/" + touched: text} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "diff", "-u", "a/"+touched, "b/"+touched)
	cmd.Dir = dir
	out, _ := cmd.Output() // it says by its exit code that there is a difference
	tree := filepath.Join(dir, "linux-"+version)
	command(t, nil, "cp", "-a", k.Source, tree)
	if err := os.WriteFile(filepath.Join(tree, touched), bytes.Replace(text, []byte(line), nil, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, []string{"XZ_OPT=-0 -T0"}, "tar", "-C", dir, "-cJf", path, "linux-"+version)
	return string(out)
}

// TestRPM: a kernel's own files in RPM packages in Fedora's layout, of which the debug symbols are with a
// debuginfod server, of elfutils, give a project whose source reproduces the kernel.
func TestRPM(t *testing.T) {
	release, err := fetch.Newest(t.Context(), flavour)
	if err != nil {
		t.Fatal(err)
	}
	k, err := fetch.Fetch(t.Context(), fetch.Options{Release: release})
	if err != nil {
		t.Fatal(err)
	}
	version, err := fetch.SourceVersion(k.Source)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	headers, source := filepath.Join(dir, "headers"), filepath.Join(dir, "source.tar.xz")
	wholeHeaders(t, k, headers)
	patch := archive(t, k, version, source)
	p, err := fedora.Build(t.Context(), filepath.Join(dir, "rpm"), &fedora.Kernel{Release: release, Version: version, Vmlinuz: k.Vmlinuz,
		Config: k.Config, Vmlinux: k.Vmlinux, Headers: headers, Source: source, BinaryFlags: "w1.zstdio", SourceFlag: "w1.gzdio",
		Patches: map[string]string{"patch-" + version + "-redhat.patch": patch, "linux-kernel-test.patch": ""}})
	if err != nil {
		t.Fatal(err)
	}
	tool, err := filepath.Abs("../../bin/plugsched")
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(dir, "cache")

	t.Run("packages", func(t *testing.T) {
		got, err := fetch.Fetch(t.Context(), fetch.Options{RPMs: p.List(), CacheDir: filepath.Join(dir, "other-cache")})
		if err != nil {
			t.Fatal(err)
		}
		if got.BuildID != k.BuildID || got.Release != release || got.Compiler != k.Compiler || got.Origin != "rpm" {
			t.Errorf("%+v, want the kernel of %+v", got, k)
		}
	})

	url := serve(t, tool, filepath.Dir(k.Vmlinux))
	args := []string{tool, "init", "--cache-dir", cache, "--rpm", p.Core, "--rpm", p.Devel, "--rpm", p.Source}
	out := command(t, []string{"DEBUGINFOD_URLS=" + url}, append(args, "--check")...)
	for _, want := range []string{"unknown  debug symbols          debuginfod will be asked: " + url, "nothing is in the way"} {
		if !strings.Contains(out, want) {
			t.Errorf("init --check does not say %q:\n%s", want, out)
		}
	}
	out = command(t, []string{"DEBUGINFOD_URLS=" + url}, append(args, filepath.Join(dir, "work"))...)
	if !strings.Contains(out, "is ready") {
		t.Errorf("init says:\n%s", out)
	}
	t.Log(out)
}

// serve runs a server with the debug information below a directory until the test ends.
func serve(t *testing.T, tool, dir string) (url string) {
	t.Helper()
	programs := fetch.Packages{Suite: suite, Names: []string{"debuginfod", "dash"}}
	root, err := programs.Unpack(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	env := environment.Environment{Suite: suite, Root: root, Self: tool}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := env.Command(ctx, "debuginfod", "-F", "-L", "-d", ":memory:", "-p", fmt.Sprint(port), dir)
	log, err := os.Create(filepath.Join(t.TempDir(), "debuginfod.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cancel()
		<-ended
		log.Close()
	})
	url = fmt.Sprintf("http://127.0.0.1:%d", port)
	// It answers before it has looked at any file; when it has, it says so in its figures.
	for end := time.Now().Add(10 * time.Minute); ; time.Sleep(time.Second) {
		if n := scanned(url); n > 0 {
			return url
		}
		select {
		case err := <-ended:
			ended <- err
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("debuginfod has ended: %v\n%s", err, text)
		default:
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("debuginfod has found nothing:\n%s", text)
		}
	}
}

// scanned is how many files the server knows the build-id of.
func scanned(url string) (n int) {
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	text.ReadFrom(resp.Body)
	for line := range strings.Lines(text.String()) {
		if rest, ok := strings.CutPrefix(line, `found_debuginfo_total{source="files"`); ok {
			fmt.Sscanf(rest[strings.LastIndex(rest, " ")+1:], "%d", &n)
		}
	}
	return n
}
