// SPDX-License-Identifier: BSD-3-Clause

package elffile

import (
	"encoding/binary"
	"encoding/hex"
	"testing"

	"plugsched/internal/fuzzing"
)

// note encodes one ELF note.
func note(name string, kind uint32, desc []byte) []byte {
	var b []byte
	for _, v := range []uint32{uint32(len(name)), uint32(len(desc)), kind} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for _, part := range []string{name, string(desc)} {
		b = append(b, part...)
		b = append(b, make([]byte, -len(part)&3)...)
	}
	return b
}

// FuzzBuildID: any bytes are read; a build-id behind another whole note is found.
func FuzzBuildID(f *testing.F) {
	f.Add(note("GNU\x00", ntGNUBuildID, []byte{1, 2, 3}), []byte{1, 2, 3})
	f.Add(append(note("Xen\x00", 7, []byte{1}), note("GNU\x00", ntGNUBuildID, []byte{4})...), []byte{})
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\x03\x00\x00\x00GNU\x00"), make([]byte, 20))
	f.Fuzz(func(t *testing.T, notes, id []byte) {
		fuzzing.Bounded(t, func() {
			if got, ok := BuildID(notes, binary.LittleEndian); len(got) > 2*len(notes) || !ok && got != "" {
				t.Errorf("%q, %v", got, ok)
			}
			both := append(note("other\x00", ntGNUBuildID, notes), note("GNU\x00", ntGNUBuildID, id)...)
			if got, ok := BuildID(both, binary.LittleEndian); !ok || got != hex.EncodeToString(id) {
				t.Errorf("%q, %v, want %x", got, ok, id)
			}
		})
	})
}
