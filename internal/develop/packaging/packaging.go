// SPDX-License-Identifier: BSD-3-Clause

package packaging

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"

	"plugsched"
	"plugsched/internal/artefact/installed"
	"plugsched/internal/durable"
)

// Scheduler is what a package is made of, a module or a scheduler in BPF. Name, Version, Maintainer and Summary of
// Config have to be there.
type Scheduler struct {
	Config
	Release, BuildID string // of the kernel
	Arch             string // its architecture, as Debian calls it
	ModuleName       string // once it is loaded
	Commit, Tool     string
	Signed           bool
	Replaced         []string  // functions that it redirects
	Changes          []string  // subjects of the developer's commits, the newest first
	Time             time.Time // of everything in the package

	// Files of this machine.
	Module, Description, Boundary, Installer string
	// Debug is that of the module's debug information, ModuleID the build-id of both, hex.
	Debug, ModuleID string
	// BPF, when set, is that of a scheduler in BPF, and Object its file. What is of a module is not there then, nor a kernel.
	BPF    *installed.BPF
	Object string
	// Documents are man pages (man/NAME.8) and completions (completions/bash, zsh and
	// fish): their contents by their path in the package's directory. Pages are
	// compressed.
	Documents map[string][]byte
}

// format is dpkg's or rpm's.
type format struct {
	packager nfpm.Packager
	release  string // rpm has to have one
	debug    string // what names of packages of debug information end with
}

// Build makes both packages in a directory, and those of a module's debug information, and returns
// their paths in this order. The same scheduler makes the same bytes.
func Build(dir string, s *Scheduler) (paths []string, err error) {
	tmp, err := os.MkdirTemp(dir, ".package-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	contents, err := s.stage(tmp)
	if err != nil {
		return nil, err
	}
	formats := []format{{deb.Default, "", "-dbgsym"}, {rpm.DefaultRPM, "1", "-debuginfo"}}
	var infos []*nfpm.Info
	for _, f := range formats {
		info := s.info(tmp, contents)
		info.Release = f.release
		if f.release == "" {
			info.License = "" // dpkg has no such field, the file copyright says it
		}
		infos = append(infos, info)
	}
	if s.BPF == nil {
		for _, f := range formats {
			infos = append(infos, s.debugInfo(f))
		}
	}
	for i, info := range infos {
		packager := formats[i%len(formats)].packager
		name := packager.ConventionalFileName(info)
		if err := write(packager, info, filepath.Join(tmp, name)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		paths = append(paths, name)
	}
	// All are complete before any takes the place of an older one.
	for i, name := range paths {
		paths[i] = filepath.Join(dir, name)
		if err := durable.Replace(filepath.Join(tmp, name), paths[i]); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

func write(p nfpm.Packager, info *nfpm.Info, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.Package(info, f); err != nil {
		return err
	}
	return f.Close()
}

// name is the package's.
func (s *Scheduler) name() string { return installed.PackageName(s.Name, s.kernels()) }

// kernels is the release of the kernel that it is for, or what stands for all of them.
func (s *Scheduler) kernels() string {
	if s.BPF != nil {
		return installed.AnyKernel
	}
	return s.Release
}

func (s *Scheduler) info(scripts string, contents files.Contents) *nfpm.Info {
	info := &nfpm.Info{
		Name: s.name(), Version: s.Version, VersionSchema: "none", Arch: s.Arch, Platform: "linux",
		Section: "kernel", Priority: "optional", Maintainer: s.Maintainer, License: "GPL-2.0-only AND BSD-3-Clause",
		Description: s.description(),
		MTime:       s.Time,
		Overridables: nfpm.Overridables{
			Umask: 0o022,
			// Others can depend on one of the kernel's schedulers, whichever.
			Provides: []string{installed.PackageName("plugsched-scheduler", s.kernels())},
			Scripts: nfpm.Scripts{
				PreInstall:  filepath.Join(scripts, "preinst"),
				PostInstall: filepath.Join(scripts, "postinst"),
				PreRemove:   filepath.Join(scripts, "prerm"),
				PostRemove:  filepath.Join(scripts, "postrm"),
			},
			RPM: nfpm.RPM{BuildHost: "localhost", Summary: s.Summary, Group: "System Environment/Kernel"},
		},
	}
	for _, c := range contents {
		c := *c // nfpm fills them in
		info.Contents = append(info.Contents, &c)
	}
	return info
}

//go:embed files
var templates embed.FS

// stage writes what has to be made into a directory, and returns the package's files.
func (s *Scheduler) stage(tmp string) (files.Contents, error) {
	for _, name := range []string{"preinst", "postinst", "prerm", "postrm", "unit", "copyright", "overrides"} {
		if err := s.render(name, filepath.Join(tmp, name)); err != nil {
			return nil, err
		}
	}
	about, err := json.MarshalIndent(installed.Package{Name: s.name(), Scheduler: s.Name, Version: s.Version, Release: s.Release,
		BuildID: s.BuildID, Module: s.ModuleName, BPF: s.BPF, Commit: s.Commit, Tool: s.Tool}, "", "  ")
	if err != nil {
		return nil, err
	}
	made := map[string][]byte{installed.About: append(about, '\n')}
	if s.BPF == nil {
		boundary, err := os.ReadFile(s.Boundary)
		if err != nil {
			return nil, err
		}
		if made[installed.Boundary], err = compress(boundary); err != nil {
			return nil, err
		}
	}
	if err := fs.WalkDir(plugsched.Licences, ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			made[name], err = plugsched.Licences.ReadFile(name)
		}
		return err
	}); err != nil {
		return nil, err
	}
	changelog, err := compress(s.changelog())
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(tmp, "changelog.gz"), changelog, 0o644); err != nil {
		return nil, err
	}
	for name, text := range s.Documents {
		if strings.HasPrefix(name, "man/") {
			if text, err = compress(text); err != nil {
				return nil, err
			}
			name += ".gz"
		}
		made[name] = text
	}
	var list files.Contents
	add := func(from, to string, mode fs.FileMode) {
		list = append(list, &files.Content{Source: from, Destination: to, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root",
			Mode: mode, MTime: s.Time}})
	}
	to := s.dir()
	for name, text := range made {
		from := filepath.Join(tmp, "made", name)
		if err := os.MkdirAll(filepath.Dir(from), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(from, text, 0o644); err != nil {
			return nil, err
		}
		add(from, path.Join(to, name), 0o644)
	}
	if s.BPF != nil {
		add(s.Object, path.Join(to, installed.Object), 0o644)
	} else {
		add(s.Module, path.Join(to, installed.Module), 0o644)
		add(s.Description, path.Join(to, installed.Description), 0o644)
	}
	add(s.Installer, path.Join(to, installed.Installer), 0o755)
	add(filepath.Join(tmp, "unit"), path.Join(to, installed.UnitText), 0o644)
	doc := path.Join("/usr/share/doc", s.name())
	add(filepath.Join(tmp, "copyright"), path.Join(doc, "copyright"), 0o644)
	add(filepath.Join(tmp, "changelog.gz"), path.Join(doc, "changelog.gz"), 0o644)
	add(filepath.Join(tmp, "overrides"), "/usr/share/lintian/overrides/"+s.name(), 0o644)
	list[len(list)-1].Packager = "deb" // whose checker it is for
	for _, dir := range append(directories(to, made), doc) {
		list = append(list, &files.Content{Type: files.TypeDir, Destination: dir, FileInfo: &files.ContentFileInfo{Owner: "root",
			Group: "root", Mode: 0o755, MTime: s.Time}})
	}
	return list, nil
}

func (s *Scheduler) dir() string { return installed.PackageDir(s.kernels(), s.Name) }

// directories are those that belong to a package: rpm leaves behind any other.
func directories(to string, made map[string][]byte) []string {
	set := map[string]bool{installed.Dir: true, path.Dir(to): true, to: true}
	for name := range made {
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			set[path.Join(to, d)] = true
		}
	}
	var list []string
	for d := range set {
		list = append(list, d)
	}
	return list
}

// compress makes the same bytes each time.
func compress(text []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w.Write(text) // a bytes.Buffer takes everything
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// render fills in one of the embedded files.
func (s *Scheduler) render(name, to string) error {
	t, err := template.ParseFS(templates, "files/"+name)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"Name": s.name(), "Version": s.Version, "Release": s.Release, "BuildID": s.BuildID, "Module": s.ModuleName, "Signed": s.Signed,
		"Replaced": s.Replaced, "Dir": s.dir(), "Kernel": path.Dir(s.dir()), "UnitFile": installed.UnitFile(s.kernels()),
		"Guard": installed.GuardFile(s.name()), "Selection": installed.Selection(s.kernels()), "State": installed.StateDir, "Scheduler": s.Name,
		"BPF": s.BPF, "Nobody": strings.HasSuffix(s.Maintainer, "@localhost>"),
	})
	if err != nil {
		return err
	}
	return os.WriteFile(to, b.Bytes(), 0o644)
}
