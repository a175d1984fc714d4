// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"errors"

	"golang.org/x/sys/unix"
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

func (h Host) lock() (unlock func(), err error) {
	fd, err := unix.Open(h.path(lockFile), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, precondition("%s: %v", lockFile, err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, precondition("another plugsched is installing or removing a scheduler right now")
		}
		return nil, precondition("%s: %v", lockFile, err)
	}
	return func() { unix.Close(fd) }, nil
}
