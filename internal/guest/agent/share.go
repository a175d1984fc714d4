// SPDX-License-Identifier: BSD-3-Clause

package agent

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountShares mounts the host's directories (wire.EnvShares).
func mountShares(list string) error {
	if list == "" {
		return nil
	}
	if err := loadModules(); err != nil {
		return err
	}
	for text := range strings.SplitSeq(list, ";") {
		fields := strings.Split(text, ",")
		if len(fields) != 4 {
			return fmt.Errorf("a share of the form %q", text)
		}
		dir, err := url.PathUnescape(fields[3])
		if err != nil {
			return fmt.Errorf("a share of the form %q", text)
		}
		if err := mountShare(fields[0], fields[1], fields[2] == "ro", dir); err != nil {
			return fmt.Errorf("share %s: %w", dir, err)
		}
	}
	return nil
}

func mountShare(fstype, tag string, readOnly bool, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var flags uintptr
	if readOnly {
		flags = unix.MS_RDONLY
	}
	options := ""
	if fstype == "9p" {
		options = "trans=virtio,version=9p2000.L,msize=131072"
	}
	for end := time.Now().Add(diskPatience); ; time.Sleep(10 * time.Millisecond) {
		// An unknown tag is EINVAL for virtiofs, ENOENT for 9p: the driver may still be at it.
		err := unix.Mount(tag, dir, fstype, flags, options)
		if err == nil || err != unix.EINVAL && err != unix.ENOENT || time.Now().After(end) {
			return err
		}
	}
}
