// SPDX-License-Identifier: BSD-3-Clause

package packaging

import (
	"io/fs"
	"path"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/files"
)

// debugDir is where debuggers look for the debug information of a build-id: its first byte is a
// directory, the rest the file's name.
const debugDir = "/usr/lib/debug/.build-id"

// debugInfo describes the package of the module's debug information, which takes its name's end from
// the distribution: -dbgsym or -debuginfo. It is of the very module of the scheduler's package.
func (s *Scheduler) debugInfo(f format) *nfpm.Info {
	info := &nfpm.Info{
		Name: s.name() + f.debug, Version: s.Version, VersionSchema: "none", Arch: s.Arch, Platform: "linux", Release: f.release,
		Section: "debug", Priority: "optional", Maintainer: s.Maintainer, MTime: s.Time,
		Description: "debug symbols for " + s.name(),
		Overridables: nfpm.Overridables{
			Umask: 0o022,
			RPM:   nfpm.RPM{BuildHost: "localhost", Summary: "debug symbols for " + s.name(), Group: "Development/Debug"},
			Deb:   nfpm.Deb{Fields: map[string]string{"Auto-Built-Package": "debug-symbols", "Build-Ids": s.ModuleID, "Source": s.name()}},
		},
	}
	owned := func(mode fs.FileMode) *files.ContentFileInfo {
		return &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: s.Time}
	}
	below := path.Join(debugDir, s.ModuleID[:2])
	dirs := []string{"/usr/lib/debug", debugDir, below}
	info.Contents = append(info.Contents, &files.Content{Source: s.Debug, Destination: path.Join(below, s.ModuleID[2:]+".debug"),
		FileInfo: owned(0o644)})
	if f.release == "" {
		info.Depends = []string{s.name() + " (= " + s.Version + ")"}
		// Debian has nothing but debug information in them: the documents are the other package's.
		info.Contents = append(info.Contents, &files.Content{Type: files.TypeSymlink, Source: s.name(),
			Destination: path.Join("/usr/share/doc", info.Name), FileInfo: owned(0)})
	} else {
		info.License = "GPL-2.0-only"
		info.Depends = []string{s.name() + " = " + s.Version}
	}
	for _, dir := range dirs {
		info.Contents = append(info.Contents, &files.Content{Type: files.TypeDir, Destination: dir, FileInfo: owned(0o755)})
	}
	return info
}
