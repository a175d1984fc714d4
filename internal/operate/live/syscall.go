// SPDX-License-Identifier: BSD-3-Clause

package live

import "golang.org/x/sys/unix"

// initModule loads a module. The system call is about this machine, whatever files are
// looked at.
func (h Host) initModule(image []byte) error {
	if h.Root != "" {
		return unix.EPERM
	}
	return unix.InitModule(image, "")
}

// deleteModule unloads a module that nothing uses.
func (h Host) deleteModule(name string) error {
	if h.Root != "" {
		return unix.EPERM
	}
	return unix.DeleteModule(name, unix.O_NONBLOCK)
}
