// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"fmt"

	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/folder"
	"plugsched/internal/kernel/image"
)

const structsFile = "structs.json"

// Structs returns who uses the scheduler's structures. It reads the vmlinux, the
// first time.
func (p *Project) Structs(ctx context.Context) ([]*image.Structure, error) {
	t, err := p.Target()
	if err != nil {
		return nil, err
	}
	self, err := p.selfHash()
	if err != nil {
		return nil, err
	}
	key, err := hashOf([]string{t.BuildID, self}, p.path(ConfigFile))
	if err != nil {
		return nil, err
	}
	err = p.stage("structs", "reading who uses structures", key, func() (string, error) {
		if !folder.Exists(t.Vmlinux) {
			return "", Errorf("%s: is gone: run `plugsched init` for this directory again", t.Vmlinux)
		}
		cfg, err := boundary.LoadConfig(p.path(ConfigFile))
		if err != nil {
			return "", &Error{err.Error()}
		}
		list, err := image.ReadStructs(ctx, t.Vmlinux, image.Options{SourceDirs: cfg.Sources})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d structures", len(list)), writeJSON(p.state(structsFile), list)
	})
	if err != nil {
		return nil, err
	}
	var list []*image.Structure
	return list, readJSON(p.state(structsFile), &list)
}
