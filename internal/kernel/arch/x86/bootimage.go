// SPDX-License-Identifier: BSD-3-Clause

package x86

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// setupHeader is the size of a boot image's beginning that holds what is read of its setup
// header: the magic at 0x202, and kernel_version at 0x20e
// (Documentation/arch/x86/boot.rst).
const setupHeader = 0x210

// IsBootImage reports what the first bytes of a boot image are.
func IsBootImage(head []byte) bool { return len(head) > 0x206 && string(head[0x202:0x206]) == "HdrS" }

// BootVersion reads the version string of a boot image: kernel_version is its offset less
// 0x200.
func BootVersion(r io.ReaderAt) (string, error) {
	hdr := make([]byte, setupHeader)
	if _, err := r.ReadAt(hdr, 0); err != nil || !IsBootImage(hdr) {
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

// BootPayload finds the compressed kernel in a boot image, with the size that the kernel's build puts behind
// whatever gzip did not compress (Documentation/x86/boot.rst, payload_offset; scripts/Makefile.lib,
// size_append).
func BootPayload(r io.ReaderAt) (*io.SectionReader, error) {
	hdr := make([]byte, 0x250)
	if _, err := r.ReadAt(hdr, 0); err != nil || !IsBootImage(hdr) {
		return nil, fmt.Errorf("not an x86 boot image")
	}
	sectors := int64(hdr[0x1f1])
	if sectors == 0 {
		sectors = 4
	}
	off, size := binary.LittleEndian.Uint32(hdr[0x248:]), binary.LittleEndian.Uint32(hdr[0x24c:])
	if version := binary.LittleEndian.Uint16(hdr[0x206:]); version < 0x208 || size == 0 {
		return nil, fmt.Errorf("boot image that does not say where the kernel is in it")
	}
	return io.NewSectionReader(r, (sectors+1)*512+int64(off), int64(size)), nil
}
