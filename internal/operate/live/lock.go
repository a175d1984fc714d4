// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"errors"

	"plugsched/internal/durable"
)

// lockFile keeps two installers apart. /run is root's alone, and empty at boot.
const lockFile = "/run/plugsched.lock"

// begin is the beginning of whatever changes schedulers: it takes the right to, and
// nobody else meanwhile.
func (h Host) begin(doing string) (end func(), err error) {
	if !h.MaySysModule() {
		return nil, precondition("%s a scheduler needs root (CAP_SYS_MODULE)", doing)
	}
	return h.lock()
}

// Alone keeps others from changing the machine's scheduler until end is called, for who does that by other means than a
// module.
func (h Host) Alone() (end func(), err error) { return h.begin("changing") }

func (h Host) lock() (unlock func(), err error) {
	unlock, err = durable.TryLock(h.path(lockFile), 0o600)
	var held *durable.HeldError
	if errors.As(err, &held) {
		return nil, precondition("%s (%s)", otherCommand, held.By)
	}
	if err != nil {
		return nil, &PreconditionError{err}
	}
	return unlock, nil
}

const otherCommand = "another plugsched is installing or removing a scheduler right now"
