// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"plugsched/internal/kernel/needs"
)

// Check finds out whether the artefacts belong to one kernel. What does not fit is a
// *MismatchError.
func Check(t *Target) error {
	fix := func(k kind) string { return adviser(t.Origin).fix(k, t.Release, t.Version) }
	if err := needs.Check(t.Config); err != nil {
		return err
	}
	info, err := readVmlinux(t.Vmlinux, fix(kindVmlinux))
	if err != nil {
		return err
	}
	if info.banner.release != t.Release {
		return &MismatchError{What: "kernel release", Path: t.Vmlinux, Want: t.Release, Got: info.banner.release, Fix: fix(kindVmlinux)}
	}
	if info.buildID != t.BuildID {
		return &MismatchError{What: "build-id", Path: t.Vmlinux, Want: t.BuildID, Got: info.buildID, Fix: fix(kindVmlinux)}
	}
	if t.Vmlinuz != "" {
		if err := checkImage(t.Vmlinuz, info, fix(kindImage)); err != nil {
			return err
		}
	}
	if err := checkHeaders(t, info, fix(kindHeaders)); err != nil {
		return err
	}
	return checkSource(t, fix(kindSource))
}

// checkImage compares release and version, which has the time of the build
// (or Debian's version and date), of boot image and vmlinux.
func checkImage(path string, info *vmlinuxInfo, fix string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	v, err := info.arch.BootVersion(f)
	if err != nil {
		return &MismatchError{What: "format", Path: path, Want: "the boot image of " + info.banner.release, Got: err.Error(), Fix: fix}
	}
	release, _, _ := strings.Cut(v, " ")
	if release != info.banner.release {
		return &MismatchError{What: "kernel release", Path: path, Want: info.banner.release, Got: release, Fix: fix}
	}
	version := ""
	if i := strings.IndexByte(v, '#'); i >= 0 {
		version = oneLine(v[i:]) // as the banner is: dates have two blanks before a day of one digit
	}
	if version != info.banner.version {
		return &MismatchError{What: "kernel version", Path: path, Want: info.banner.version, Got: version, Fix: fix}
	}
	return nil
}

var plainVersionRE = regexp.MustCompile(`^\d+\.\d+(\.\d+)?$`)

// checkHeaders compares what the headers were generated for with the vmlinux
// and the configuration.
func checkHeaders(t *Target, info *vmlinuxInfo, fix string) error {
	gen := filepath.Join(t.KernelBuild, "include/generated")
	uts := filepath.Join(gen, "utsrelease.h")
	if got := defined(uts, "UTS_RELEASE"); got != t.Release {
		return &MismatchError{What: "kernel release", Path: uts, Want: t.Release, Got: got, Fix: fix}
	}
	compile := filepath.Join(gen, "compile.h")
	// scripts/mkcompile_h; where UTS_VERSION is depends on the series.
	if got := defined(compile, "LINUX_COMPILER"); got != "" && got != info.banner.toolset {
		return &MismatchError{What: "compiler", Path: compile, Want: info.banner.toolset, Got: got, Fix: fix}
	}
	mk := filepath.Join(t.HeadersCommon, "Makefile")
	if want := upstreamVersion(t.Version); want != "" {
		got, err := makefileVersion(mk)
		if err != nil {
			return err
		}
		if got != want {
			return &MismatchError{What: "kernel version", Path: mk, Want: want, Got: got, Fix: "use common headers of version " + t.Version}
		}
	}
	return checkConfig(t, fix)
}

// upstreamVersion turns "6.1.192-2" into "6.1.192"; it is empty for what a
// Makefile would spell differently.
func upstreamVersion(debian string) string {
	_, up, _ := splitVersion(debian)
	if !plainVersionRE.MatchString(up) {
		return ""
	}
	if strings.Count(up, ".") == 1 {
		up += ".0"
	}
	return up
}

// unshippedOptions are removed from, or set differently in, the configuration
// that Debian ships in the image package: they concern signing and the build.
var unshippedOptions = []string{
	"CONFIG_BUILD_SALT", "CONFIG_MODULE_SIG_ALL", "CONFIG_MODULE_SIG_KEY", "CONFIG_SYSTEM_TRUSTED_KEYS",
}

func checkConfig(t *Target, fix string) error {
	path := filepath.Join(t.KernelBuild, ".config")
	got, err := needs.ReadConfig(path)
	if err != nil {
		return err
	}
	want, err := needs.ReadConfig(t.Config)
	if err != nil {
		return err
	}
	var keys []string
	for k := range got {
		keys = append(keys, k)
	}
	for k := range want {
		if _, ok := got[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if got[k] != want[k] && !slices.Contains(unshippedOptions, k) {
			return &MismatchError{What: k, Path: path, Want: orUnset(want[k]), Got: orUnset(got[k]), Fix: fix}
		}
	}
	return nil
}

func orUnset(v string) string {
	if v == "" {
		return "not set"
	}
	return v
}

// checkSource compares the tree's version and the headers it has in common with
// the headers package: two uploads of one upstream version differ there, if at
// all in anything that changes declarations.
func checkSource(t *Target, fix string) error {
	for _, p := range []string{"kernel/sched/core.c", "kernel/sched/sched.h", "include/linux/sched.h", "arch/" + t.KernelArch} {
		if existing(filepath.Join(t.Source, p)) == "" {
			return &MismatchError{What: p, Path: t.Source, Want: "the source tree of " + t.Release, Fix: fix}
		}
	}
	want, err := makefileVersion(filepath.Join(t.HeadersCommon, "Makefile"))
	if err != nil {
		return err
	}
	mk := filepath.Join(t.Source, "Makefile")
	got, err := makefileVersion(mk)
	if err != nil {
		return err
	}
	if got != want {
		return &MismatchError{What: "kernel version", Path: mk, Want: want, Got: got, Fix: fix}
	}
	if path := firstDifference(t.Source, t.HeadersCommon); path != "" {
		return &MismatchError{
			What: "content", Path: filepath.Join(t.Source, path),
			Want: "that of " + filepath.Join(t.HeadersCommon, path), Got: "different", Fix: fix,
		}
	}
	return nil
}

// firstDifference compares headers that are in both trees.
func firstDifference(source, headers string) string {
	if source == headers {
		return ""
	}
	for _, dir := range []string{"include/linux/sched", "include/linux", "include/uapi/linux"} {
		ents, err := os.ReadDir(filepath.Join(headers, dir))
		if err != nil {
			continue
		}
		for _, e := range ents {
			rel := filepath.Join(dir, e.Name())
			if !e.Type().IsRegular() || filepath.Ext(rel) != ".h" {
				continue
			}
			a, err := os.ReadFile(filepath.Join(source, rel))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			b, berr := os.ReadFile(filepath.Join(headers, rel))
			if err != nil || berr != nil || !bytes.Equal(a, b) {
				return rel
			}
		}
	}
	return ""
}
