// SPDX-License-Identifier: BSD-3-Clause

package project

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"plugsched/internal/develop/folder"
)

// poll is how often the tree is looked at. A look is a stat of some 900 files; events of the file system would be
// none on those that are on a network.
const poll = 300 * time.Millisecond

// Saved tells of each change of what a build reads of the developer's tree, once it has come to rest for a moment: an
// editor, or git, writes several files. It ends with ctx. A change that nobody has taken yet is told once. What could not
// be looked at counts as changed: a build says in its own words what is wrong with it.
func (p *Project) Saved(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	dirs := []string{SchedDir}
	if b, err := p.Boundary(); err == nil {
		dirs = sourceDirs(b)
	}
	was := p.stamp(dirs) // before it returns: what is saved from now on is told
	go func() {
		tick := time.NewTicker(poll)
		defer tick.Stop()
		for last := was; ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			is := p.stamp(dirs)
			if is == last && is != was {
				was = is
				select {
				case c <- struct{}{}:
				default:
				}
			}
			last = is
		}
	}()
	return c
}

// stamp differs when a file of source differs, by size and time, or by which files there are.
func (p *Project) stamp(dirs []string) string {
	var b strings.Builder
	note := func(path string) {
		st, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", path, err)
			return
		}
		fmt.Fprintf(&b, "%s %d %d\n", path, st.Size(), st.ModTime().UnixNano())
	}
	note(p.path(ConfigFile))
	for _, dir := range dirs {
		files, err := folder.Files(p.path(dir))
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", dir, err)
		}
		for _, path := range files {
			if isSource(filepath.Base(path)) {
				note(path)
			}
		}
	}
	return b.String()
}

// isSource tells what is compiled or configures that from what editors put beside it.
func isSource(name string) bool {
	return !strings.HasPrefix(name, ".") && slices.Contains([]string{".c", ".h", ".S", ""}, filepath.Ext(name))
}
