// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cavaliergopher/cpio"
	"github.com/cavaliergopher/rpm"

	"plugsched/internal/outcome"
)

// originRPM is the Target.Origin of a kernel from RPM packages.
const originRPM = "rpm"

// rpms are the packages of a kernel as Fedora and its kin part it: kernel-core has the boot image, kernel-devel
// the headers, kernel-debuginfo the vmlinux, and the source package the source, with patches. What a
// package has is told by its files, not by its name.
type rpms struct {
	paths []string
	has   map[kind]string // the package with each artefact
}

func (*rpms) name() string { return originRPM }

// partRE finds a kernel's artefacts among the files of a package; the group is the release.
var partRE = map[kind]*regexp.Regexp{
	kindImage:   regexp.MustCompile(`^/(?:usr/)?lib/modules/([^/]+)/vmlinuz$`),
	kindVmlinux: regexp.MustCompile(`^/usr/lib/debug/(?:usr/)?lib/modules/([^/]+)/vmlinux$`),
	kindHeaders: regexp.MustCompile(`^/usr/src/kernels/([^/]+)/Makefile$`),
}

// archiveRE is the name of the upstream source in a source package.
var archiveRE = regexp.MustCompile(`^linux-\d[^/]*\.tar\.xz$`)

func (r *rpms) identify(f *fetcher) error {
	r.has = map[kind]string{}
	id := sha256.New()
	releases := map[string]string{}
	for i, p := range r.paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return err
		}
		r.paths[i] = abs
		st, err := os.Stat(abs)
		if err == nil && !st.Mode().IsRegular() {
			err = fmt.Errorf("%s is no file", abs)
		}
		if err != nil {
			return outcome.With(outcome.Precondition, fmt.Errorf("--rpm: %w", err))
		}
		fmt.Fprintf(id, "%s %d %d\n", abs, st.Size(), st.ModTime().UnixNano())
		if err := r.classify(abs, releases); err != nil {
			return err
		}
	}
	for _, release := range releases {
		for path, other := range releases {
			if release != other {
				return &MismatchError{What: "kernel release", Path: path, Want: release, Got: other, Fix: "name packages of one kernel"}
			}
		}
		if f.release != "" && f.release != release {
			return &MismatchError{What: "kernel release", Path: r.paths[0], Want: f.release, Got: release, Fix: "name the packages of that release"}
		}
		f.release = release
	}
	f.origin = originRPM
	f.storeID = fmt.Sprintf("rpm-%.6x", id.Sum(nil))
	return nil
}

// classify finds out what of a kernel a package has.
func (r *rpms) classify(path string, releases map[string]string) error {
	pkg, err := rpm.Open(path)
	if err != nil {
		return &MismatchError{What: "format", Path: path, Want: "an RPM package", Got: err.Error()}
	}
	found := false
	note := func(k kind) error {
		if was := r.has[k]; was != "" && was != path {
			return &MismatchError{What: titles[k], Path: path, Want: "one package with it", Got: "in " + was + " too", Fix: "name one of them"}
		}
		r.has[k], found = path, true
		return nil
	}
	for _, file := range pkg.Files() {
		name := rooted(file.Name())
		if pkg.SourceRPM() == "" && archiveRE.MatchString(strings.TrimPrefix(name, "/")) {
			if err := note(kindSource); err != nil {
				return err
			}
		}
		for k, re := range partRE {
			if m := re.FindStringSubmatch(name); m != nil {
				if err := note(k); err != nil {
					return err
				}
				releases[path] = m[1]
			}
		}
	}
	if !found {
		return &MismatchError{What: "part of a kernel", Path: path,
			Want: "a package with boot image (kernel-core), headers (kernel-devel), vmlinux (kernel-debuginfo) or source (kernel-….src.rpm)"}
	}
	return nil
}

func rooted(name string) string { return path.Clean("/" + name) }

func (r *rpms) provide(ctx context.Context, f *fetcher, want []kind) error {
	for _, k := range want {
		if f.store.locate(k, &f.files) || r.has[k] == "" {
			continue
		}
		if err := f.store.unpackRPM(ctx, k, r.has[k]); err != nil {
			return fmt.Errorf("unpack %s: %w", r.has[k], err)
		}
		if !f.store.locate(k, &f.files) {
			return incomplete(f.store.dir, k)
		}
	}
	return nil
}

func (*rpms) fix(k kind, _, _ string) string {
	return map[kind]string{
		kindVmlinux: "name the kernel-debuginfo package of the same build with --rpm, or its vmlinux with --vmlinux",
		kindImage:   "name the kernel-core package of the same build with --rpm, or the boot image with --vmlinuz",
		kindHeaders: "name the kernel-devel package of the same build with --rpm, or its directory with --headers",
		kindSource:  "name the source package (kernel-….src.rpm) of the same build with --rpm, or the patched source with --source",
	}[k]
}

// unpackRPM turns a package into a cached artefact.
func (s *store) unpackRPM(ctx context.Context, k kind, file string) error {
	tmp := s.tmpPath(k)
	x, err := newExtractor(tmp, s.rep, string(k))
	if err != nil {
		return err
	}
	defer x.root.Close()
	src := &sourceRPM{x: x}
	member := func(h *tar.Header, body io.Reader) error {
		if k == kindSource {
			return src.member(ctx, h, body)
		}
		if to := s.rpmFile(k, h.Name); to != "" {
			return x.member(body, h, to)
		}
		return nil
	}
	if err := readRPM(ctx, file, member); err != nil {
		return err
	}
	if k == kindSource {
		if err := src.finish(ctx, tmp); err != nil {
			return err
		}
	}
	if lack := s.lacking(k); lack != "" {
		return fmt.Errorf("it has no %s", lack)
	}
	if err := s.commit(k, x.files); err != nil {
		return err
	}
	x.finish()
	return nil
}

// rpmFile keeps what is wanted of a package, under the names that the cache has for it.
func (s *store) rpmFile(k kind, name string) string {
	rest, _ := strings.CutPrefix(name, "usr/")
	switch k {
	case kindImage:
		if dir, file := path.Split(rest); path.Clean(dir) == "lib/modules/"+s.release && (file == "vmlinuz" || file == "config") {
			return file + "-" + s.release
		}
	case kindVmlinux:
		rest, _ = strings.CutPrefix(rest, "lib/debug/")
		rest, _ = strings.CutPrefix(rest, "usr/")
		if rest == "lib/modules/"+s.release+"/vmlinux" {
			return "vmlinux-" + s.release
		}
	case kindHeaders:
		if below, ok := strings.CutPrefix(name, "usr/src/kernels/"+s.release+"/"); ok {
			return "usr/src/linux-headers-" + s.release + "/" + below
		}
	}
	return ""
}

// tagPayloadDigest and tagPayloadDigestAlgo are RPM's, the latter 8 for SHA-256 (rpmtag.h).
const tagPayloadDigest, tagPayloadDigestAlgo = 5092, 5093

// readRPM yields the files of a package. One that is not what its header says ends with an error, also after
// all of its files were yielded.
func readRPM(ctx context.Context, file string, member func(h *tar.Header, body io.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	pkg, err := rpm.Read(f)
	if err != nil {
		return err
	}
	if format := pkg.PayloadFormat(); format != "cpio" {
		return fmt.Errorf("its payload is %q, not cpio", format)
	}
	sum := sha256.New()
	in := io.TeeReader(f, sum)
	err = uncompressed(ctx, in, "070701", func(r io.Reader) error {
		if err := readCPIO(cpio.NewReader(r), member); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if err != nil {
		return err
	}
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	return checkDigest(pkg, sum)
}

func checkDigest(pkg *rpm.Package, sum hash.Hash) error {
	algo, want := pkg.Header.GetTag(tagPayloadDigestAlgo), pkg.Header.GetTag(tagPayloadDigest)
	if algo == nil || want == nil || algo.Int64() != 8 {
		return nil // of older packages what decompresses vouches for it
	}
	if got, list := hex.EncodeToString(sum.Sum(nil)), want.StringSlice(); len(list) > 0 && got != list[0] {
		return fmt.Errorf("damaged: the SHA-256 sum of its payload is %s, not %s as its header says", got, list[0])
	}
	return nil
}

// readCPIO hands over files as tar has them. Of files that are one under several names only the last has
// contents.
func readCPIO(r *cpio.Reader, member func(h *tar.Header, body io.Reader) error) error {
	type file struct {
		device int
		inode  int64
	}
	waiting := map[file][]string{}
	for {
		c, err := r.Next()
		if errors.Is(err, io.EOF) {
			for _, names := range waiting { // all that are left are empty
				for _, name := range names {
					if err := member(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, strings.NewReader("")); err != nil {
						return err
					}
				}
			}
			return nil
		}
		if err != nil {
			return err
		}
		h := &tar.Header{Name: strings.TrimPrefix(rooted(c.Name), "/"), Size: c.Size, Mode: int64(c.Mode & cpio.ModePerm), ModTime: c.ModTime}
		switch c.Mode &^ cpio.ModePerm {
		case cpio.TypeDir:
			continue
		case cpio.TypeSymlink:
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, c.Linkname, 0
		case cpio.TypeReg:
			h.Typeflag = tar.TypeReg
		default:
			if c.Mode.IsRegular() { // set-user-ID and the like
				h.Typeflag = tar.TypeReg
				break
			}
			return fmt.Errorf("%s: is of an unexpected type", c.Name)
		}
		id := file{c.DeviceID, c.Inode}
		if h.Typeflag == tar.TypeReg && c.Links > 1 && c.Size == 0 {
			waiting[id] = append(waiting[id], h.Name)
			continue
		}
		names := append(waiting[id], h.Name)
		if len(names) > 1 {
			text, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			for _, h.Name = range names {
				if err := member(h, bytes.NewReader(text)); err != nil {
					return err
				}
			}
			delete(waiting, id)
			continue
		}
		if err := member(h, r); err != nil {
			return err
		}
	}
}

// sourceRPM is what is read of a source package: the upstream source, and patches to it.
type sourceRPM struct {
	x       *extractor
	spec    string
	patches map[string]string
}

// mostPatch bounds files that are kept in memory.
const mostPatch = 256 << 20

func (s *sourceRPM) member(ctx context.Context, h *tar.Header, body io.Reader) error {
	name := path.Base(h.Name)
	switch {
	case archiveRE.MatchString(name):
		return unpackTarXZ(ctx, body, h.Size, s.x)
	case strings.HasSuffix(name, ".patch") || strings.HasSuffix(name, ".spec"):
		if h.Size > mostPatch {
			return fmt.Errorf("%s: has %d bytes", name, h.Size)
		}
		text, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, ".spec") {
			s.spec = string(text)
			return nil
		}
		if s.patches == nil {
			s.patches = map[string]string{}
		}
		s.patches[name] = string(text)
	}
	return nil
}

// finish applies the patches.
func (s *sourceRPM) finish(ctx context.Context, dir string) error {
	for _, name := range s.order() {
		text := keptParts(s.patches[name])
		if text == "" {
			continue
		}
		cmd := exec.CommandContext(ctx, "git", "apply", "--whitespace=nowarn", "-p1", "-")
		cmd.Dir = dir
		// In somebody's repository git would only look at files that are below the place in the patch.
		cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%s: does not apply: %s", name, oneLine(string(out)))
		}
	}
	// Patches change sizes.
	s.x.files = nil
	return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		s.x.files = append(s.x.files, fileEntry{rel, st.Size()})
		return err
	})
}

// patchRE finds the patches in a spec file, macroRE the macros in their names.
var (
	patchRE = regexp.MustCompile(`(?m)^Patch(\d*):\s*(\S+)`)
	macroRE = regexp.MustCompile(`%(\{[^}]*\}|\w+)`)
)

// order is that of the numbers that the spec file gives the patches. Those that it does not name are not applied, but for
// a package without a spec file.
func (s *sourceRPM) order() (list []string) {
	names := slices.Sorted(func(yield func(string) bool) {
		for n := range s.patches {
			if !yield(n) {
				return
			}
		}
	})
	if s.spec == "" {
		return names
	}
	type numbered struct {
		n    int
		name *regexp.Regexp
	}
	var specs []numbered
	for i, m := range patchRE.FindAllStringSubmatch(s.spec, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			n = i
		}
		var pattern strings.Builder
		rest := path.Base(m[2])
		for at := macroRE.FindStringIndex(rest); at != nil; at = macroRE.FindStringIndex(rest) {
			pattern.WriteString(regexp.QuoteMeta(rest[:at[0]]) + ".*")
			rest = rest[at[1]:]
		}
		specs = append(specs, numbered{n, regexp.MustCompile("^" + pattern.String() + regexp.QuoteMeta(rest) + "$")})
	}
	slices.SortStableFunc(specs, func(a, b numbered) int { return cmp.Compare(a.n, b.n) })
	for _, p := range specs {
		for _, name := range names {
			if p.name.MatchString(name) && !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
	}
	return list
}

// headRE finds where the part of a patch for one file begins, and the file: git's way, or diff's alone.
var (
	gitHeadRE = regexp.MustCompile(`^diff --git a/(\S+) b/(\S+)$`)
	oldFileRE = regexp.MustCompile(`^--- (?:[^/\s]+/)?(\S+)`)
	hunkRE    = regexp.MustCompile(`^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@`)
	newFileRE = regexp.MustCompile(`^\+\+\+ (?:[^/\s]+/)?(\S+)`)
)

// keptParts leaves out what a patch does to files that are not kept.
func keptParts(text string) string {
	var out strings.Builder
	lines := strings.SplitAfter(text, "\n")
	keep, git := false, false
	before, after := 0, 0 // lines of the hunk that are still to come
	for i, whole := range lines {
		l := strings.TrimRight(whole, "\r\n")
		switch {
		case before > 0 || after > 0:
			if l == "" || l[0] == ' ' || l[0] == '-' {
				before--
			}
			if l == "" || l[0] == ' ' || l[0] == '+' {
				after--
			}
		case strings.HasPrefix(l, "@@ "):
			if m := hunkRE.FindStringSubmatch(l); m != nil {
				before, after = count(m[1]), count(m[2])
			}
		case strings.HasPrefix(l, "diff --git "):
			git, keep = true, false
			if m := gitHeadRE.FindStringSubmatch(l); m != nil {
				keep = sourceFile("linux/"+m[1]) != "" || sourceFile("linux/"+m[2]) != ""
			}
		case strings.HasPrefix(l, "From ") || l == "-- ": // a mail, and its end
			git, keep = false, false
		case strings.HasPrefix(l, "--- ") && !git && i+1 < len(lines):
			m, n := oldFileRE.FindStringSubmatch(l), newFileRE.FindStringSubmatch(lines[i+1])
			keep = m != nil && n != nil && (sourceFile("linux/"+m[1]) != "" || sourceFile("linux/"+n[1]) != "")
		}
		if keep {
			out.WriteString(whole)
		}
	}
	return out.String()
}

// count is a number of lines in a hunk's head, where 1 is left out.
func count(text string) int {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	return 1
}
