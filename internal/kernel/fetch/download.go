// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// download is one file apt will fetch, as apt-get --print-uris names it.
type download struct {
	deb
	path string
	size int64
}

func (p *plan) covers(want []kind) bool {
	for _, k := range want {
		if len(p.debs[k]) == 0 {
			return false
		}
	}
	return true
}

// fetch downloads and unpacks. Unpacking one kind runs beside downloading the
// next.
func (s *store) fetch(ctx context.Context, p *plan, want []kind, keep bool) error {
	if err := os.MkdirAll(s.debDir(), 0o755); err != nil {
		return err
	}
	files, err := s.resolve(ctx, p, want)
	if err != nil {
		return err
	}
	need := neededSpace(files)
	if free, err := freeSpace(s.dir); err == nil && free < need {
		return &SpaceError{Dir: s.dir, Need: need, Free: free}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := s.watch(files)

	var wg sync.WaitGroup
	for _, group := range groups(want) {
		var debs []download
		for _, k := range group {
			debs = append(debs, files[k]...)
		}
		if err := s.download(ctx, debs); err != nil {
			cancel(err)
			break
		}
		for _, k := range group {
			wg.Go(func() {
				if err := s.unpack(ctx, k, files[k], keep); err != nil {
					cancel(err)
				}
			})
		}
	}
	stop(ctx.Err() == nil)
	wg.Wait()
	if ctx.Err() != nil {
		return spaceError(context.Cause(ctx), s.dir, need)
	}
	if !keep {
		return os.RemoveAll(s.debDir())
	}
	return nil
}

// groups says what one run of apt-get fetches: the big ones alone, the rest
// together because each start of apt-get takes most of a second.
func groups(want []kind) [][]kind {
	var g [][]kind
	var rest []kind
	for _, k := range want {
		if k == kindVmlinux || k == kindSource {
			g = append(g, []kind{k})
		} else {
			rest = append(rest, k)
		}
	}
	if len(rest) > 0 {
		g = append(g, rest)
	}
	return g
}

// resolve asks apt for file names and sizes. It does so outside the staging
// directory: apt leaves out what it finds complete in the current one.
func (s *store) resolve(ctx context.Context, p *plan, want []kind) (map[kind][]download, error) {
	args := append(aptOptions(), "--print-uris", "download")
	for _, k := range want {
		for _, d := range p.debs[k] {
			args = append(args, d.Package+"="+d.Version)
		}
	}
	out, err := output(ctx, s.dir, "download kernel packages", "apt-get", args...)
	if err != nil {
		return nil, err
	}
	files := map[kind][]download{}
	for _, k := range want {
		for _, d := range p.debs[k] {
			name, size := findURI(out, d)
			if name == "" {
				return nil, fmt.Errorf("apt-get --print-uris names no file for %s %s", d.Package, d.Version)
			}
			files[k] = append(files[k], download{deb: d, path: filepath.Join(s.debDir(), name), size: size})
		}
	}
	return files, nil
}

// findURI finds a package's line "'URI' NAME SIZE HASH". NAME has the version
// with its colon escaped.
func findURI(out string, d deb) (string, int64) {
	prefix := d.Package + "_" + strings.ReplaceAll(d.Version, ":", "%3a") + "_"
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[1], prefix) || f[1] != filepath.Base(f[1]) {
			continue
		}
		if n, err := strconv.ParseInt(f[2], 10, 64); err == nil {
			return f[1], n
		}
	}
	return "", 0
}

// download lets apt fetch into the staging directory. apt resumes partial
// files, which have their final name there, and verifies hashes against its
// signed lists.
func (s *store) download(ctx context.Context, files []download) error {
	files = slices.DeleteFunc(slices.Clone(files), download.complete)
	if len(files) == 0 {
		return ctx.Err()
	}
	err := s.aptDownload(ctx, files)
	if err != nil && ctx.Err() == nil && isHashError(err) {
		// A partial file of an earlier run may be the culprit.
		for _, f := range files {
			os.Remove(f.path)
		}
		err = s.aptDownload(ctx, files)
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		if n := fileSize(f.path); n != f.size {
			return fmt.Errorf("%s: apt-get left %d of %d bytes", f.path, n, f.size)
		}
	}
	return nil
}

func (s *store) aptDownload(ctx context.Context, files []download) error {
	args := append(aptOptions(), "download")
	for _, f := range files {
		args = append(args, f.Package+"="+f.Version)
	}
	_, err := output(ctx, s.debDir(), "download kernel packages", "apt-get", args...)
	return err
}

func aptOptions() []string {
	o := []string{"-q", "-o", "Acquire::Retries=3"}
	if os.Geteuid() == 0 {
		// User _apt cannot reach a directory below root's home; apt would
		// warn and then do the same.
		o = append(o, "-o", "APT::Sandbox::User=root")
	}
	return o
}

func isHashError(err error) bool {
	return strings.Contains(err.Error(), "Hash Sum mismatch") || strings.Contains(err.Error(), "unexpected size")
}

// complete tells whether an earlier run finished this file.
func (f download) complete() bool {
	if f.SHA256 == "" || fileSize(f.path) != f.size {
		return false
	}
	r, err := os.Open(f.path)
	if err != nil {
		return false
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return false
	}
	return hex.EncodeToString(h.Sum(nil)) == f.SHA256
}

// watch reports the progress of all downloads by the growth of the files.
func (s *store) watch(files map[kind][]download) (stop func(complete bool)) {
	var all []download
	var total int64
	for _, l := range files {
		for _, f := range l {
			all, total = append(all, f), total+f.size
		}
	}
	seen := map[string]int64{}
	item := fmt.Sprintf("%d packages", len(all))
	reported := int64(-1)
	tell := func() {
		var done int64
		for _, f := range all {
			// Unpacked packages are gone: remember their size.
			seen[f.path] = max(seen[f.path], min(fileSize(f.path), f.size))
			done += seen[f.path]
		}
		if done != reported {
			reported = done
			s.rep.report(Progress{Step: "download", Item: item, Done: done, Total: total})
		}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				tell()
			}
		}
	}()
	return func(complete bool) {
		close(quit)
		<-ended
		if complete {
			s.rep.report(Progress{Step: "download", Item: item, Done: total, Total: total, Ended: true})
		}
	}
}

// neededSpace estimates, generously, what download and unpacking will write.
// Of the debug package only vmlinux is unpacked: 590 MB from 283 MB for Debian
// 6.1's cloud flavour, less in proportion where there are more modules. Of the
// source about 100 MB of 1.36 GB.
func neededSpace(files map[kind][]download) int64 {
	var need int64
	for k, l := range files {
		for _, f := range l {
			need += f.size - min(f.size, fileSize(f.path))
			switch k {
			case kindVmlinux:
				need += min(f.size*5/2, 1_500_000_000)
			case kindHeaders, kindModules:
				need += max(f.Installed, f.size) * 3 / 2
			default:
				need += f.size
			}
		}
	}
	return need
}

func fileSize(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}
