// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"plugsched/internal/elffile"
	"plugsched/internal/outcome"
)

// debuginfod has debug information by build-id (debuginfod(8), of elfutils): it is asked for a vmlinux that
// nobody else has.
type debuginfod struct{}

// DebuginfodURLs are the servers that an environment variable of elfutils' names, in the form that it has there.
func DebuginfodURLs(list string) []string { return strings.Fields(list) }

func (debuginfod) name() string { return "" }

func (debuginfod) identify(f *fetcher) error {
	for _, s := range f.opts.Debuginfod {
		if u, err := url.Parse(s); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return outcome.With(outcome.Usage, fmt.Errorf("DEBUGINFOD_URLS: %q is not the address of a server", s))
		}
	}
	return nil
}

func (debuginfod) fix(k kind, release, version string) string {
	return aptArchive{}.fix(k, release, version)
}

func (debuginfod) provide(ctx context.Context, f *fetcher, want []kind) error {
	if len(f.opts.Debuginfod) == 0 || want[0] != kindVmlinux {
		return nil
	}
	id, err := f.kernelBuildID(ctx)
	if err != nil {
		return errors.Join(f.unavailable, err)
	}
	for _, server := range f.opts.Debuginfod {
		found, failed := f.store.fetchDebuginfo(ctx, server, id)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if found {
			f.store.locate(kindVmlinux, &f.files)
			return nil
		}
		err = errors.Join(err, failed)
	}
	return errors.Join(f.unavailable, err)
}

// kernelBuildID is that of the boot image, or of the running kernel if that is meant.
func (f *fetcher) kernelBuildID(ctx context.Context) (string, error) {
	if f.files.vmlinuz != "" {
		return imageBuildID(ctx, f.files.vmlinuz)
	}
	if r, _ := f.host.running(); r == f.release {
		if notes, err := os.ReadFile(f.host.path("sys/kernel/notes")); err == nil {
			if id, ok := elffile.BuildID(notes, binary.LittleEndian); ok {
				return id, nil
			}
		}
	}
	return "", &MismatchError{What: "build-id", Want: "a boot image of " + f.release + ", by which debuginfod servers know the kernel",
		Fix: "name it with --vmlinuz"}
}

// noAnswer is how long a server may take to begin. It may have to look into a package first.
const noAnswer = 3 * time.Minute

// fetchDebuginfo asks one server. That it does not have the file is an error without found, too.
func (s *store) fetchDebuginfo(ctx context.Context, server, id string) (found bool, err error) {
	from := strings.TrimRight(server, "/") + "/buildid/" + id + "/debuginfo"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return false, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = noAnswer
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return false, fmt.Errorf("debuginfod: %w", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return false, &UnavailableError{Package: from, Reason: server + " does not have the vmlinux of build-id " + id}
	case resp.StatusCode != http.StatusOK:
		return false, fmt.Errorf("debuginfod: %s: %s", from, resp.Status)
	}
	size := resp.ContentLength
	if n, err := strconv.ParseInt(resp.Header.Get("X-Debuginfod-Size"), 10, 64); err == nil && size < 0 {
		size = n
	}
	if free, err := freeSpace(s.dir); err == nil && size > free {
		return false, &SpaceError{Dir: s.dir, Need: size, Free: free}
	}
	if err := s.keepVmlinux(resp.Body, server, id, size); err != nil {
		return false, err
	}
	return true, nil
}

// keepVmlinux stores what a server sends, if it is what it was asked for.
func (s *store) keepVmlinux(body io.Reader, server, id string, size int64) error {
	tmp := s.tmpPath(kindVmlinux)
	x, err := newExtractor(tmp, s.rep, "vmlinux from "+server)
	if err != nil {
		return err
	}
	defer x.root.Close()
	name := "vmlinux-" + s.release
	f, err := x.root.Create(name)
	if err != nil {
		return err
	}
	x.total = max(size, 0)
	n, err := io.CopyBuffer(struct{ io.Writer }{&progressWriter{f, x, true}}, body, x.buf)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("debuginfod: %s: after %d bytes: %w", server, n, err)
	}
	path := filepath.Join(tmp, name)
	info, err := readVmlinux(path, "the server "+server+" has sent something else")
	if err != nil {
		return err
	}
	if info.buildID != id {
		return &MismatchError{What: "build-id", Path: path, Want: id, Got: info.buildID, Fix: "the server " + server + " has sent something else"}
	}
	if err := s.commit(kindVmlinux, []fileEntry{{name, n}}); err != nil {
		return err
	}
	x.finish()
	return nil
}
