// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"plugsched/internal/outcome"
)

// readManual resolves the artefacts named by hand; a vmlinux among them says
// which kernel is meant.
func (f *fetcher) readManual() error {
	m := &f.opts.Manual
	for _, p := range []struct {
		path *string
		flag string
	}{{&m.Vmlinux, "--vmlinux"}, {&m.Vmlinuz, "--vmlinuz"}, {&m.Headers, "--headers"}, {&m.Source, "--source"}} {
		if *p.path == "" {
			continue
		}
		abs, err := filepath.Abs(*p.path)
		if err != nil {
			return err
		}
		st, err := os.Stat(abs)
		if err != nil {
			return outcome.With(outcome.Precondition, fmt.Errorf("%s: %w", p.flag, err))
		}
		// A FIFO would keep us waiting, and a device has no end.
		if !st.Mode().IsRegular() && !st.IsDir() {
			return outcome.With(outcome.Precondition, fmt.Errorf("%s: %s is neither a file nor a directory", p.flag, abs))
		}
		*p.path = abs
	}
	if m.Vmlinux != "" {
		if err := f.identifyBy(m.Vmlinux); err != nil {
			return err
		}
	}
	f.files.vmlinux, f.files.vmlinuz = m.Vmlinux, m.Vmlinuz
	f.files.source = m.Source
	if m.Headers != "" {
		d, err := findHeaders(m.Headers, f.release)
		if err != nil {
			return err
		}
		f.files.headers = d
	}
	return nil
}

// identifyBy takes the kernel for the one whose vmlinux this is.
func (f *fetcher) identifyBy(vmlinux string) error {
	info, err := readVmlinux(vmlinux, f.fix(kindVmlinux))
	if err != nil {
		return err
	}
	if err := f.agree(vmlinux, info.banner); err != nil {
		return err
	}
	f.release, f.version = info.banner.release, info.banner.debian()
	return nil
}

// agree compares a vmlinux with what was asked for.
func (f *fetcher) agree(path string, b banner) error {
	if f.release != "" && b.release != f.release {
		return &MismatchError{What: "kernel release", Path: path, Want: f.release, Got: b.release, Fix: f.fix(kindVmlinux)}
	}
	if f.version != "" && b.debian() != "" && b.debian() != f.version {
		return &MismatchError{What: "package version", Path: path, Want: f.version, Got: b.debian(), Fix: f.fix(kindVmlinux)}
	}
	return nil
}

// kernel makes the part of the target that follows from the vmlinux.
func (f *fetcher) kernel() (*Target, *vmlinuxInfo, error) {
	l := &f.files
	info, err := readVmlinux(l.vmlinux, f.fix(kindVmlinux))
	if err != nil {
		return nil, nil, err
	}
	if err := f.agree(l.vmlinux, info.banner); err != nil {
		return nil, nil, err
	}
	return &Target{
		Release: info.banner.release, Version: info.banner.debian(),
		Arch: info.arch.Package, KernelArch: info.arch.Name,
		BuildID: info.buildID, Compiler: info.banner.compiler,
		Vmlinux: l.vmlinux, SystemMap: l.systemMap, Suite: f.suite, Origin: f.origin,
	}, info, nil
}

// assemble makes the target of what gather located.
func (f *fetcher) assemble(ctx context.Context) (*Target, error) {
	l := &f.files
	t, info, err := f.kernel()
	if err != nil {
		return nil, err
	}
	if l.vmlinuz == "" {
		l.vmlinuz = existing(f.host.path("boot/vmlinuz-" + f.release))
		if l.vmlinuz != "" && checkImage(l.vmlinuz, info, "") != nil {
			l.vmlinuz = "" // of another version of the release
		}
	}
	t.Vmlinuz, t.Config = l.vmlinuz, l.config
	if t.Config == "" {
		t.Config = filepath.Join(l.headers, ".config")
	}
	out := filepath.Join(f.store.dir, f.store.derived("kbuild", l.headers, f.store.path(kindHeaders)))
	if t.KernelBuild, t.HeadersCommon, err = buildDir(l.headers, out); err != nil {
		return nil, err
	}
	if t.Source, err = f.sourceTree(ctx, l.source); err != nil {
		return nil, err
	}
	return t, nil
}

// sourceTree unpacks a source archive that does not come from the cache.
func (f *fetcher) sourceTree(ctx context.Context, src string) (string, error) {
	st, err := os.Stat(src)
	if err != nil || st.IsDir() {
		return src, err
	}
	if !strings.HasSuffix(src, ".tar.xz") {
		return "", &MismatchError{What: "file name", Path: src, Want: "a kernel tree or a .tar.xz of one", Got: filepath.Base(src)}
	}
	key := fmt.Sprintf("%s %d %d", src, st.Size(), st.ModTime().UnixNano())
	k := kind(f.store.derived("source", key, ""))
	if f.store.intact(k) && !f.store.narrow(f.store.path(k)) {
		return f.store.path(k), nil
	}
	if err := f.store.unpackArchive(ctx, k, src, st.Size()); err != nil {
		return "", fmt.Errorf("unpack %s: %w", src, err)
	}
	return f.store.path(k), nil
}

// unpackArchive unpacks a source tar.xz given by hand.
func (s *store) unpackArchive(ctx context.Context, k kind, archive string, size int64) error {
	r, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer r.Close()
	x, err := newExtractor(s.tmpPath(k), s.rep, string(kindSource))
	if err != nil {
		return err
	}
	defer x.root.Close()
	if err := unpackTarXZ(ctx, r, size, x); err != nil {
		return err
	}
	if err := s.commit(k, x.files); err != nil {
		return err
	}
	x.finish()
	return nil
}

// derived names a cache entry after what it was made from, so that artefacts
// given by hand do not get into each other's way. What the cache itself holds
// keeps the plain name.
func (s *store) derived(name, from, own string) string {
	if own != "" && strings.HasPrefix(from, own+string(filepath.Separator)) {
		return name
	}
	sum := sha256.Sum256([]byte(from))
	return fmt.Sprintf("%s-%x", name, sum[:6])
}
