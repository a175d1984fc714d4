// SPDX-License-Identifier: BSD-3-Clause

package arm64

import (
	"errors"
	"fmt"
	"io"
	"regexp"
)

// magicAt is where a boot image says what it is (Documentation/arm64/booting.rst).
const magicAt = 0x38

// IsBootImage reports what the first bytes of a boot image are.
func IsBootImage(head []byte) bool {
	return len(head) >= magicAt+4 && string(head[magicAt:magicAt+4]) == "ARM\x64"
}

// bannerRE finds linux_banner in a kernel: release, who built it, compiler and linker, version. One that is overridden
// and has stayed in the file lacks the number of the build (init/version.c).
var bannerRE = regexp.MustCompile(`Linux version (\S+) (\([^\n\0]*?\)) \([^\n\0]*\) (#\d[^\n\0]*)\n`)

// mostImage bounds what is read of a boot image.
const mostImage = 1 << 30

// BootVersion reads the version string of a boot image, which is the kernel as it is in memory.
func BootVersion(r io.ReaderAt) (string, error) {
	head := make([]byte, 64)
	if _, err := r.ReadAt(head, 0); err != nil || !IsBootImage(head) {
		return "", errors.New("not an arm64 boot image")
	}
	image, err := io.ReadAll(io.NewSectionReader(r, 0, mostImage))
	if err != nil {
		return "", err
	}
	m := bannerRE.FindSubmatch(image)
	if m == nil {
		return "", errors.New("boot image without a version string")
	}
	return fmt.Sprintf("%s %s %s", m[1], m[2], m[3]), nil
}

// BootPayload finds nothing: a boot image is the kernel as it is in memory, and no ELF file.
func BootPayload(io.ReaderAt) (*io.SectionReader, error) {
	return nil, errors.New("an arm64 boot image has no ELF file in it whose build-id could be read: name the vmlinux with --vmlinux")
}
