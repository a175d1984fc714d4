// SPDX-License-Identifier: BSD-3-Clause

package boot

import (
	"context"
	"os"
	"path/filepath"

	"plugsched/internal/durable"
)

// lockFile keeps a package manager and the boot apart. It is held all through a
// trial; the kernel's own steps have a lock of their own (internal/operate/live).
const lockFile = "/run/plugsched-package.lock"

// lock waits for its turn: what another one is about is over in minutes, even if the
// scheduler is bad.
func (r *Runner) lock(ctx context.Context) (unlock func(), err error) {
	path := filepath.Join(r.Root, lockFile)
	// Where an image is made there may be no /run.
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return durable.WaitLock(ctx, path, 0o600, func(held *durable.HeldError) { r.say("waiting: %v", held) })
}
