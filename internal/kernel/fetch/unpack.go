// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"plugsched/internal/kernel/arch"
)

// unpack turns downloaded packages into a cached artefact.
func (s *store) unpack(ctx context.Context, k kind, debs []download, keep bool) error {
	tmp := s.tmpPath(k)
	x, err := newExtractor(tmp, s.rep, string(k))
	if err != nil {
		return err
	}
	defer x.root.Close()
	for _, d := range debs {
		if err := s.unpackDeb(ctx, k, x, d.path); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(d.path), err)
		}
	}
	if k == kindRoot {
		if err := x.link(); err != nil {
			return err
		}
	}
	if k == kindModules {
		if err := x.expandModules(ctx); err != nil {
			return err
		}
	}
	if lack := s.lacking(k); lack != "" {
		return fmt.Errorf("%s has no %s", filepath.Base(debs[0].path), lack)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.commit(k, x.files); err != nil {
		return err
	}
	if !keep {
		for _, d := range debs {
			os.Remove(d.path)
		}
	}
	x.finish()
	return nil
}

// required lists files without which an unpacked artefact is of no use.
func (s *store) required(k kind) []string {
	switch k {
	case kindVmlinux:
		return []string{"vmlinux-" + s.release}
	case kindImage:
		return []string{"vmlinuz-" + s.release}
	case kindModules:
		return []string{"modules.builtin"}
	case kindHeaders:
		h := "usr/src/linux-headers-" + s.release
		return []string{h + "/Makefile", h + "/.config"}
	case kindRoot:
		return []string{"bin/sh"}
	default:
		return []string{"Makefile", "kernel/sched/core.c"}
	}
}

// lacking is the first of them that is not there in what was unpacked, "" if all are.
func (s *store) lacking(k kind) string {
	for _, p := range s.required(k) {
		if existing(filepath.Join(s.tmpPath(k), p)) == "" {
			return p
		}
	}
	return ""
}

func (s *store) unpackDeb(ctx context.Context, k kind, x *extractor, deb string) error {
	read := func(r io.Reader) error {
		switch k {
		case kindRoot:
			return x.extract(r, rootFile, "")
		case kindVmlinux:
			x.noLinks = true
			return x.extract(r, s.debugFile, "vmlinux-"+s.release)
		case kindImage:
			return x.extract(r, s.imageFile, "")
		case kindModules:
			return x.extract(r, func(name string) string {
				_, rel, _ := strings.Cut(name, "lib/modules/"+s.release+"/")
				return rel
			}, "")
		case kindHeaders:
			return x.extract(r, func(name string) string {
				if strings.HasPrefix(name, "usr/share/") {
					return ""
				}
				return name
			}, "")
		default:
			return unpackSource(ctx, r, x)
		}
	}
	return pipe(ctx, nil, read, "unpack kernel packages", "dpkg-deb", "--fsys-tarfile", deb)
}

// debugFile keeps the vmlinux and its map. In Debian's 7.2 they are beside the
// modules, and /usr/lib/debug/boot has a link.
func (s *store) debugFile(name string) string {
	dir, file := path.Split(name)
	if path.Clean(dir) == "usr/lib/debug/lib/modules/"+s.release && (file == "vmlinux" || file == "System.map") {
		return file + "-" + s.release
	}
	return s.bootFile(name, "usr/lib/debug/boot", "System.map-", "vmlinux-")
}

// imageFile keeps the boot image and its configuration. In Debian's 7.3 they are beside the
// modules.
func (s *store) imageFile(name string) string {
	dir, file := path.Split(name)
	if path.Clean(dir) == "usr/lib/modules/"+s.release && (file == "vmlinuz" || file == "config") {
		return file + "-" + s.release
	}
	return s.bootFile(name, "boot", "config-", "vmlinuz-")
}

// bootFile keeps files of this release with one of the prefixes.
func (s *store) bootFile(name, dir string, prefixes ...string) string {
	d, f := path.Split(name)
	if path.Clean(d) != dir {
		return ""
	}
	for _, p := range prefixes {
		if f == p+s.release {
			return f
		}
	}
	return ""
}

// unpackSource finds the tar.xz inside a linux-source package.
func unpackSource(ctx context.Context, r io.Reader, x *extractor) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return errors.New("no source tar.xz inside")
		}
		if err != nil {
			return err
		}
		if strings.HasPrefix(path.Base(h.Name), "linux-source-") && strings.HasSuffix(h.Name, ".tar.xz") {
			return unpackTarXZ(ctx, tr, h.Size, x)
		}
	}
}

// unpackTarXZ extracts what a scheduler is built from. Decompression of the
// 1.36 GB takes 11 s on one core; Debian's archives have 55 blocks, which xz
// 5.4 and later decompress in parallel.
func unpackTarXZ(ctx context.Context, r io.Reader, size int64, x *extractor) error {
	x.total = size
	in := &countingReader{r, &x.done}
	return pipe(ctx, in, func(r io.Reader) error {
		return x.extract(r, sourceFile, "")
	}, "unpack the kernel source", "xz", "-dc", "-T0")
}

// CoreDirs are the directories of a kernel's source that a scheduler is built from; every
// Target.Source has them.
var CoreDirs = []string{"kernel", "io_uring", "arch", "include"}

// nearDirs lie near enough for somebody to change them together with the scheduler.
var nearDirs = []string{"block", "certs", "crypto", "fs", "init", "ipc", "lib", "mm", "net", "security", "virt", "drivers"}

// sourceDirs are the directories of the source that are kept.
var sourceDirs = slices.Concat(CoreDirs, []string{"scripts"}, nearDirs)

// CodeDirs are the directories of the source that have code of the kernel, headers last.
// A Source need not have all: parts of it are kept, or it was given by hand.
func (t *Target) CodeDirs() []string {
	return slices.Concat([]string{"kernel", "io_uring", filepath.Join("arch", t.KernelArch)}, nearDirs, []string{"include"})
}

// driverDirs are the parts of drivers that are kept.
var driverDirs = []string{"acpi", "base", "clocksource", "cpufreq", "cpuidle", "hv", "idle", "opp", "powercap", "thermal", "virt", "xen"}

// sourceFile keeps the scheduler, all it includes, and the scripts and
// top-level files that developers expect in a kernel tree.
func sourceFile(name string) string {
	_, rel, ok := strings.Cut(name, "/")
	if !ok || rel == "" {
		return ""
	}
	top, rest, below := strings.Cut(rel, "/")
	if !below {
		return rel
	}
	second, _, deeper := strings.Cut(rest, "/")
	switch {
	case top == "drivers":
		if !deeper || slices.Contains(driverDirs, second) {
			return rel
		}
	case top == "arch":
		if slices.ContainsFunc(arch.All, func(a *arch.Arch) bool { return a.Name == second }) {
			return rel
		}
	case slices.Contains(sourceDirs, top):
		return rel
	}
	return ""
}

// extractor writes parts of tar archives below a directory and cannot be led
// out of it by names or symbolic links in the archive.
type extractor struct {
	root *os.Root
	// noLinks leaves symbolic links out.
	noLinks bool
	files   []fileEntry
	rep     *reporter
	item    string
	// done and total are bytes of whatever best measures the work; total is 0
	// if the written bytes of the whole are not known beforehand.
	done  atomic.Int64
	total int64
	last  time.Time
	dirs  map[string]bool
	buf   []byte
}

// newExtractor begins in an empty directory: nothing is left of what was interrupted there.
func newExtractor(dir string, rep *reporter, item string) (*extractor, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &extractor{root: root, rep: rep, item: item, dirs: map[string]bool{".": true}, buf: make([]byte, 256<<10)}, nil
}

// extract writes the members for which dest returns a path. After the member
// written to last (if not empty) the rest of the archive is not read.
func (x *extractor) extract(r io.Reader, dest func(name string) string, last string) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			// Read the padding too, so that the program at the other end
			// finishes and its verdict counts.
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		if x.noLinks && h.Typeflag == tar.TypeSymlink {
			continue
		}
		to := dest(strings.TrimPrefix(path.Clean(h.Name), "./"))
		if to == "" || to == "." {
			continue
		}
		if h.Typeflag == tar.TypeLink {
			if h.Linkname = dest(strings.TrimPrefix(path.Clean(h.Linkname), "./")); h.Linkname == "" {
				return fmt.Errorf("%s: is a link to what is left out", h.Name)
			}
		}
		if err := x.member(tr, h, to); err != nil {
			return err
		}
		if to == last {
			return nil
		}
	}
}

func (x *extractor) member(r io.Reader, h *tar.Header, to string) error {
	if h.Typeflag == tar.TypeDir {
		return nil // made when something goes into it
	}
	if isSparse(h) {
		return fmt.Errorf("%s: archive member with holes (sparse)", h.Name)
	}
	if err := x.mkdir(path.Dir(to)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return x.regular(r, h, to)
	case tar.TypeSymlink:
		x.files = append(x.files, fileEntry{to, int64(len(h.Linkname))})
		return x.root.Symlink(h.Linkname, to)
	case tar.TypeLink:
		return x.root.Link(h.Linkname, to)
	default:
		return fmt.Errorf("%s: archive member of unexpected type %q", h.Name, h.Typeflag)
	}
}

// isSparse reports a member whose holes take no room in the archive: its size
// bounds nothing. Kernel packages have none.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

func (x *extractor) mkdir(dir string) error {
	if x.dirs[dir] {
		return nil
	}
	x.dirs[dir] = true
	return x.root.MkdirAll(dir, 0o755)
}

func (x *extractor) regular(r io.Reader, h *tar.Header, to string) error {
	f, err := x.root.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(h.Mode).Perm()|0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := io.Writer(f)
	counted := x.total == 0 && h.Size > 64<<20
	if counted {
		x.total = h.Size
	}
	if x.total > 0 {
		w = &progressWriter{f, x, counted}
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, r, x.buf); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	x.files = append(x.files, fileEntry{to, h.Size})
	return x.root.Chtimes(to, h.ModTime, h.ModTime)
}

func (x *extractor) tick() {
	if now := time.Now(); now.Sub(x.last) > 200*time.Millisecond {
		x.last = now
		x.rep.report(Progress{Step: "unpack", Item: x.item, Done: x.done.Load(), Total: x.total})
	}
}

func (x *extractor) finish() {
	x.rep.report(Progress{Step: "unpack", Item: x.item, Done: x.total, Total: x.total, Ended: true})
}

// progressWriter reports as bytes are written and, if it counts them, adds
// them up.
type progressWriter struct {
	w     io.Writer
	x     *extractor
	count bool
}

func (p *progressWriter) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if p.count {
		p.x.done.Add(int64(n))
	}
	p.x.tick()
	return n, err
}

// countingReader adds up what was read; exec reads from another goroutine.
type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}
