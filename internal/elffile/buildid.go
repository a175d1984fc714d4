// SPDX-License-Identifier: BSD-3-Clause

package elffile

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
)

const ntGNUBuildID = 3 // NT_GNU_BUILD_ID, <elf.h>

// BuildID returns the GNU build-id in a sequence of ELF notes, in lower-case hex: by it a
// kernel, its vmlinux and the modules built for it know each other.
func BuildID(notes []byte, order binary.ByteOrder) (string, bool) {
	align := func(n uint64) uint64 { return (n + 3) &^ 3 }
	for len(notes) >= 12 {
		name, desc, kind := uint64(order.Uint32(notes)), uint64(order.Uint32(notes[4:])), order.Uint32(notes[8:])
		notes = notes[12:]
		size := uint64(len(notes))
		if align(name) > size || desc > size-align(name) {
			break
		}
		if kind == ntGNUBuildID && bytes.Equal(notes[:name], []byte("GNU\x00")) {
			return hex.EncodeToString(notes[align(name) : align(name)+desc]), true
		}
		notes = notes[min(align(name)+align(desc), size):]
	}
	return "", false
}
