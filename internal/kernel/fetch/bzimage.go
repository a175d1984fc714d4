// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// bzImageVersion reads the version string of an x86 boot image: the setup
// header's magic is at 0x202 and kernel_version, an offset less 0x200, at
// 0x20e (Documentation/arch/x86/boot.rst).
func bzImageVersion(r io.ReaderAt) (string, error) {
	hdr := make([]byte, 0x210)
	if _, err := r.ReadAt(hdr, 0); err != nil || string(hdr[0x202:0x206]) != "HdrS" {
		return "", fmt.Errorf("not an x86 boot image")
	}
	off := int64(binary.LittleEndian.Uint16(hdr[0x20e:]))
	if off == 0 {
		return "", fmt.Errorf("boot image without a version string")
	}
	b := make([]byte, 512)
	n, err := r.ReadAt(b, off+0x200)
	end := bytes.IndexByte(b[:n], 0)
	if end < 0 {
		if err == nil {
			err = fmt.Errorf("unterminated")
		}
		return "", fmt.Errorf("boot image version string: %w", err)
	}
	return string(b[:end]), nil
}
