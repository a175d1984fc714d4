// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"plugsched/internal/durable"
)

// Debian's linux-headers-R/Makefile includes the common headers' Makefile by
// an absolute path below /usr/src.
var commonIncludeRE = regexp.MustCompile(`(?m)^include\s+(/\S*/linux-headers-\S+-common\S*)/Makefile\s*$`)

// findHeaders accepts a headers directory or a root it was unpacked into.
func findHeaders(path, release string) (string, error) {
	for _, d := range []string{path, filepath.Join(path, "usr/src/linux-headers-"+release)} {
		if existing(filepath.Join(d, "Makefile")) != "" && existing(filepath.Join(d, "include/generated")) != "" {
			return d, nil
		}
	}
	return "", &MismatchError{
		What: "kernel headers", Path: path, Want: "a linux-headers-" + release + " directory, or a root with it in usr/src",
	}
}

// commonHeaders finds the headers the flavours share: beside the headers
// directory, which is right for installed and for unpacked packages, or else
// where its Makefile says. A directory without such an include is a complete
// build directory.
func commonHeaders(headers string) (common, named string, err error) {
	mk, err := os.ReadFile(filepath.Join(headers, "Makefile"))
	if err != nil {
		return "", "", err
	}
	m := commonIncludeRE.FindSubmatch(mk)
	if m == nil {
		return sourceOf(headers, mk)
	}
	named = string(m[1])
	for _, d := range []string{filepath.Join(filepath.Dir(headers), filepath.Base(named)), named} {
		if existing(filepath.Join(d, "Makefile")) != "" {
			return d, named, nil
		}
	}
	return "", "", &MismatchError{
		What: "common headers", Path: headers, Want: filepath.Base(named) + " beside it",
		Fix: "unpack package " + filepath.Base(named) + " into the same root",
	}
}

// beside is the Makefile that kbuild writes into the directory of a build beside its source (make O=DIR;
// Makefile, outputmakefile), which it names from the root or from there.
var beside = regexp.MustCompile(`(?m)^include\s+(\S+)/Makefile\s*$`)

// sourceOf finds the source of a complete build directory, which is itself unless it was built beside it.
func sourceOf(build string, makefile []byte) (common, named string, err error) {
	m := beside.FindSubmatch(makefile)
	if m == nil || bytes.Contains(makefile, []byte("\nPATCHLEVEL")) {
		return build, build, nil
	}
	src := string(m[1])
	if !filepath.IsAbs(src) {
		src = filepath.Join(build, src)
	}
	if real, err := filepath.EvalSymlinks(src); err == nil {
		src = real
	}
	if existing(filepath.Join(src, "Makefile")) == "" {
		return "", "", &MismatchError{What: "source", Path: build, Want: src + ", beside which it was built",
			Fix: "bring it back, or build the kernel again: `make -C SOURCE O=" + build + "`"}
	}
	return src, src, nil
}

// buildDir returns a directory for make -C. Headers that lie where their
// Makefile expects them are one; for others a directory is made at out with a
// Makefile for where they are and links to all else.
func buildDir(headers, out string) (build, common string, err error) {
	common, named, err := commonHeaders(headers)
	if err != nil {
		return "", "", err
	}
	for _, d := range []string{"scripts", "include", "arch"} {
		if existing(filepath.Join(headers, d)) == "" {
			return "", "", &MismatchError{
				What: d, Path: headers, Want: "a directory " + d,
				Fix: "unpack the linux-kbuild package that linux-headers depends on into the same root",
			}
		}
	}
	if common == named {
		return headers, common, nil
	}
	mk, err := os.ReadFile(filepath.Join(headers, "Makefile"))
	if err != nil {
		return "", "", err
	}
	mk = bytes.ReplaceAll(mk, []byte(named), []byte(common))
	// In Debian's 7.3 it also says where it is itself.
	mk = bytes.ReplaceAll(mk, []byte(filepath.Join(filepath.Dir(named), filepath.Base(headers))), []byte(out))
	if builtFor(out, headers, mk) {
		return out, common, nil
	}
	if err := makeBuildDir(headers, out, mk); err != nil {
		return "", "", err
	}
	return out, common, nil
}

// builtFor tells whether out was already made for these headers. The Makefile
// is written last.
func builtFor(out, headers string, mk []byte) bool {
	have, err := os.ReadFile(filepath.Join(out, "Makefile"))
	if err != nil || !bytes.Equal(have, mk) {
		return false
	}
	ents, err := os.ReadDir(headers)
	if err != nil {
		return false
	}
	for _, e := range ents {
		to, err := os.Readlink(filepath.Join(out, e.Name()))
		if e.Name() != "Makefile" && (err != nil || to != filepath.Join(headers, e.Name())) {
			return false
		}
	}
	return true
}

func makeBuildDir(headers, out string, mk []byte) error {
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	ents, err := os.ReadDir(headers)
	if err != nil {
		return err
	}
	for _, e := range ents {
		if e.Name() == "Makefile" {
			continue
		}
		if err := os.Symlink(filepath.Join(headers, e.Name()), filepath.Join(out, e.Name())); err != nil {
			return err
		}
	}
	return durable.WriteFile(filepath.Join(out, "Makefile"), mk, 0o644)
}

// defined reads the string a header defines a macro as.
func defined(path, macro string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "#define "+macro)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '\t' {
			continue
		}
		return strings.Trim(strings.TrimSpace(rest), `"`)
	}
	return ""
}

// makefileVersion reads VERSION, PATCHLEVEL and SUBLEVEL from a kernel's
// top-level Makefile.
func makefileVersion(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	v := map[string]string{}
	sc := bufio.NewScanner(f)
	for n := 0; n < 50 && sc.Scan(); n++ {
		if key, val, ok := strings.Cut(sc.Text(), "="); ok {
			v[strings.TrimSpace(key)] = strings.TrimSpace(val)
		}
	}
	if v["VERSION"] == "" || v["PATCHLEVEL"] == "" || v["SUBLEVEL"] == "" {
		return "", fmt.Errorf("%s: not the Makefile of a kernel tree", path)
	}
	return v["VERSION"] + "." + v["PATCHLEVEL"] + "." + v["SUBLEVEL"], nil
}
