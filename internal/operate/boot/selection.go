// SPDX-License-Identifier: BSD-3-Clause

package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/durable"
	"plugsched/internal/operate/live"
)

// selected complains unless the package is the selected one. It is asked under the lock: a switch
// may have come first.
func (r *Runner) selected() error {
	now, err := installed.Selected(r.Root, r.Package.Kernels())
	switch {
	case err != nil:
		return err
	case now == r.Package.Scheduler:
		return nil
	case now == "":
		now = "no scheduler"
	}
	return &live.PreconditionError{Err: fmt.Errorf("%s is selected for this kernel: `plugsched switch %s` makes it this one",
		now, r.Package.Scheduler)}
}

// SelectLater selects the package without having its scheduler run now.
func (r *Runner) SelectLater(ctx context.Context) error {
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	choice, err := choose(r.Root, r.Package)
	if err != nil {
		return err
	}
	defer choice.drop()
	return choice.take()
}

// Unselect has no scheduler loaded at boot for a kernel any more, if it was the package's.
func (r *Runner) Unselect(ctx context.Context) error {
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if now, err := installed.Selected(r.Root, r.Package.Kernels()); err != nil || now != r.Package.Scheduler {
		return err
	}
	if err := os.Remove(filepath.Join(r.Root, installed.Selection(r.Package.Kernels()))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Join(r.Root, installed.SelectionDir)
	if err := durable.SyncDir(dir); err != nil {
		return err
	}
	os.Remove(dir) // unless other kernels have a selection
	return nil
}

// choice is a selection that is not made yet, but for which there is room on the disk.
type choice struct{ link, beside string }

// choose prepares the selection of a package.
func choose(root string, p *installed.Package) (*choice, error) {
	c := &choice{link: filepath.Join(root, installed.Selection(p.Kernels()))}
	c.beside = c.link + durable.Suffix
	if err := os.MkdirAll(filepath.Dir(c.link), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(c.beside); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one that was killed
		return nil, err
	}
	if st, err := os.Lstat(c.link); err == nil && st.IsDir() {
		return nil, fmt.Errorf("%s is a directory", c.link)
	}
	return c, os.Symlink(installed.PackageDir(p.Kernels(), p.Scheduler), c.beside)
}

// take makes the selection: whatever happens, the one before or this one is there.
func (c *choice) take() error {
	if err := os.Rename(c.beside, c.link); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(c.link))
}

// drop forgets a selection that was not made.
func (c *choice) drop() {
	os.Remove(c.beside)
	os.Remove(filepath.Dir(c.link)) // unless there is one for some kernel
}
