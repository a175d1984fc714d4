// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/durable"
)

// store is the cache directory of one release and version. Each kind of
// artefact is a directory there, valid only with its marker, which is written
// last.
type store struct {
	dir, release, version string
	rep                   *reporter
	sourceDirs            []string // that the source has to have
}

// marker lists what was unpacked, so that a damaged cache is noticed without
// reading it all.
type marker struct {
	Format  int         `json:"format"`
	Version string      `json:"version"`
	BuildID string      `json:"build_id,omitempty"`
	Files   []fileEntry `json:"files"`
}

type fileEntry struct {
	Path string `json:"p"`
	Size int64  `json:"s"`
}

const markerFormat = 1

func (s *store) path(k kind) string       { return filepath.Join(s.dir, string(k)) }
func (s *store) tmpPath(k kind) string    { return filepath.Join(s.dir, string(k)+tmpSuffix) }
func (s *store) markerPath(k kind) string { return filepath.Join(s.dir, string(k)+".json") }
func (s *store) debDir() string           { return filepath.Join(s.dir, "deb") }

const tmpSuffix = durable.Suffix

// lock waits until no other process works in the directory.
func (s *store) lock(ctx context.Context) (unlock func(), err error) {
	return durable.WaitLock(ctx, filepath.Join(s.dir, "lock"), 0o644, func(held *durable.HeldError) {
		s.rep.report(Progress{Step: "wait", Item: held.By + " uses " + s.dir})
	})
}

// clean removes what an interrupted run left half-made. Call it locked.
func (s *store) clean() error {
	left, err := filepath.Glob(filepath.Join(s.dir, "*"+tmpSuffix))
	if err != nil {
		return err
	}
	for _, p := range left {
		if err := os.RemoveAll(p); err != nil {
			return err
		}
	}
	return nil
}

// commit makes an unpacked tree valid.
func (s *store) commit(k kind, files []fileEntry) error {
	m := marker{Format: markerFormat, Version: s.version, Files: files}
	if k == kindVmlinux {
		e, err := elf.Open(filepath.Join(s.tmpPath(k), "vmlinux-"+s.release))
		if err != nil {
			return err
		}
		defer e.Close()
		if m.BuildID, err = buildID(e); err != nil {
			return err
		}
	}
	if err := s.discard(k); err != nil {
		return err
	}
	if err := durable.ReplaceTree(s.tmpPath(k), s.path(k)); err != nil {
		return err
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return durable.WriteFile(s.markerPath(k), b, 0o644)
}

// discard removes an artefact, its marker first.
func (s *store) discard(k kind) error {
	if err := os.Remove(s.markerPath(k)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(s.path(k))
}

// intact tells whether an artefact is there as it was unpacked.
func (s *store) intact(k kind) bool {
	b, err := os.ReadFile(s.markerPath(k))
	if err != nil {
		return false
	}
	var m marker
	if json.Unmarshal(b, &m) != nil || m.Format != markerFormat || m.Version != s.version || len(m.Files) == 0 {
		return false
	}
	for _, f := range m.Files {
		if _, compressed := plainModule(f.Path); compressed && k == kindModules {
			return false // by an earlier version
		}
		st, err := os.Lstat(filepath.Join(s.path(k), f.Path))
		if err != nil || st.Size() != f.Size {
			return false
		}
	}
	if k != kindVmlinux {
		return true
	}
	e, err := elf.Open(filepath.Join(s.path(k), "vmlinux-"+s.release))
	if err != nil {
		return false
	}
	defer e.Close()
	id, err := buildID(e)
	return err == nil && id == m.BuildID
}

// locate fills in the paths of an artefact if the cache has it.
func (s *store) locate(k kind, l *located) bool {
	if !s.intact(k) {
		return false
	}
	d := s.path(k)
	switch k {
	case kindVmlinux:
		l.vmlinux = filepath.Join(d, "vmlinux-"+s.release)
		l.systemMap = existing(filepath.Join(d, "System.map-"+s.release))
	case kindImage:
		l.vmlinuz = filepath.Join(d, "vmlinuz-"+s.release)
		l.config = existing(filepath.Join(d, "config-"+s.release))
	case kindHeaders:
		l.headers = filepath.Join(d, "usr/src/linux-headers-"+s.release)
	case kindSource:
		if s.narrow(d) {
			return false
		}
		l.source = d
	}
	return true
}

// narrow reports a source that an earlier version unpacked less of than is wanted
// now.
func (s *store) narrow(dir string) bool {
	return slices.ContainsFunc(s.sourceDirs, func(top string) bool {
		return slices.Contains(sourceDirs, top) && existing(filepath.Join(dir, top)) == ""
	})
}

// cachedVersion is the newest version of a release that the cache has begun to
// hold, empty if none.
func cachedVersion(cache, release string) string {
	best := ""
	ents, err := os.ReadDir(cache)
	if err != nil {
		return ""
	}
	for _, e := range ents {
		v, ok := strings.CutPrefix(e.Name(), release+"_")
		if !ok || v == "" || !isDigit(v[0]) {
			continue
		}
		s := store{dir: filepath.Join(cache, e.Name())}
		for _, k := range allKinds {
			if existing(s.markerPath(k)) != "" && (best == "" || compareVersions(v, best) > 0) {
				best = v
			}
		}
	}
	return best
}

// existing returns the path if something is there.
func existing(path string) string {
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}
