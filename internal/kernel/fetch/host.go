// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"plugsched/internal/kernel/arch"
)

// host is the machine this runs on. The zero value is the real one.
type host struct {
	root  string                           // prefix of all paths looked at
	uname func() (release, version string) // nil: ask the kernel
	arch  string                           // Debian's name of its architecture; "": this program's
}

// running returns uname -r and uname -v.
func (h *host) running() (release, version string) {
	if h.uname != nil {
		return h.uname()
	}
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "", ""
	}
	return unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:])
}

// architecture is Debian's name of the machine's, which is Go's, too, for all that are supported.
func (h *host) architecture() string { return cmp.Or(h.arch, runtime.GOARCH) }

// foreign is Debian's name of a release's architecture if it is another than the machine's, else "".
func (h *host) foreign(release string) string {
	a := arch.OfRelease(release)
	if a == nil || a.Package == h.architecture() {
		return ""
	}
	return a.Package
}

// codename is the name of the suite of Debian that the machine runs; empty if it is none.
func (h *host) codename() string {
	text, err := os.ReadFile(h.path("etc/os-release"))
	if err != nil {
		return ""
	}
	v := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, val, _ := strings.Cut(strings.TrimSpace(line), "=")
		v[key] = strings.Trim(val, `"'`)
	}
	if v["ID"] != "debian" {
		return ""
	}
	return v["VERSION_CODENAME"]
}

// installedVersion is the version of the release's debug package if that is
// installed: it is the largest download.
func (h *host) installedVersion(ctx context.Context, release string) string {
	if existing(h.path("usr/lib/debug/boot/vmlinux-"+release)) == "" {
		return ""
	}
	pkg := "linux-image-" + release + "-dbg"
	return h.versions(ctx, pkg)[pkg]
}

// locate finds artefacts among the installed packages of exactly this version.
func (h *host) locate(ctx context.Context, release, version string, want []kind, l *located) {
	sourceTar := sourcePackage(version)
	files := map[kind]struct{ pkg, path string }{
		kindVmlinux: {"linux-image-" + release + "-dbg", h.path("usr/lib/debug/boot/vmlinux-" + release)},
		kindImage:   {"linux-image-" + release, h.path("boot/vmlinuz-" + release)},
		kindHeaders: {"linux-headers-" + release, h.path("usr/src/linux-headers-" + release)},
		kindSource:  {sourceTar, h.path("usr/src/" + sourceTar + ".tar.xz")},
	}
	var pkgs []string
	for _, k := range want {
		if existing(files[k].path) != "" {
			pkgs = append(pkgs, files[k].pkg)
		}
	}
	if len(pkgs) == 0 {
		return
	}
	installed := h.versions(ctx, pkgs...)
	for _, k := range want {
		f := files[k]
		if installed[f.pkg] != version || existing(f.path) == "" {
			continue
		}
		switch k {
		case kindVmlinux:
			l.vmlinux = f.path
			l.systemMap = existing(h.path("usr/lib/debug/boot/System.map-" + release))
		case kindImage:
			l.vmlinuz = f.path
			l.config = existing(h.path("boot/config-" + release))
		case kindHeaders:
			l.headers = f.path
		case kindSource:
			l.source = f.path
		}
	}
}

// versions asks dpkg which versions of packages are installed. Where there is
// no dpkg nothing is.
func (h *host) versions(ctx context.Context, pkgs ...string) map[string]string {
	args := append([]string{"-W", "-f", `${Package} ${Version} ${db:Status-Status}\n`}, pkgs...)
	out, _ := output(ctx, "", "find installed kernel packages", "dpkg-query", args...)
	v := map[string]string{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "installed" {
			v[f[0]] = f[1]
		}
	}
	return v
}

func (h *host) path(p string) string {
	if h.root == "" {
		return "/" + p
	}
	return filepath.Join(h.root, p)
}
