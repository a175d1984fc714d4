// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"os"

	"plugsched/internal/artefact/desc"
)

// unnamed stands in for the name of a module until its contents are final.
const unnamed = desc.NamePrefix + "00000000"

// nameSize is MODULE_NAME_LEN of a 64-bit kernel (include/linux/moduleparam.h).
const nameSize = 64 - 8

// A GNU build-id note: its header with the owner's name, and the linker's SHA-1.
const (
	noteHeader  = 16
	buildIDSize = 20
)

// setName gives a finished module, in place, a name by its contents, so that the
// kernel can have two different ones at the same time. It returns the name.
func setName(image []byte) (string, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return "", err
	}
	// The loader copies the name from struct module.
	this, err := find(f, image, ".gnu.linkonce.this_module", field(Name))
	if err != nil {
		return "", err
	}
	copy(this, unnamed)
	described, err := find(f, image, desc.Section, []byte(unnamed))
	if err != nil {
		return "", err
	}
	// Messages that the kernel prints before it has struct module would use this one;
	// without it they use the same.
	if info, err := find(f, image, ".modinfo", []byte("name="+Name+"\x00")); err == nil {
		clear(info)
	}
	// The linker's build-id covers the debug information, which is gone, and with it
	// the names of directories.
	id := buildID(image)
	clear(id)
	sum := sha256.Sum256(image)
	copy(id, sum[:])
	name := fmt.Sprintf("%s%x", desc.NamePrefix, sum[:4])
	copy(this, name)
	copy(described, name)
	return name, nil
}

// ID is the build-id of a finished module, hex.
func ID(ko string) (string, error) {
	image, err := os.ReadFile(ko)
	if err != nil {
		return "", err
	}
	id := buildID(image)
	if id == nil {
		return "", fmt.Errorf("%s: has no build-id", ko)
	}
	return hex.EncodeToString(id), nil
}

// buildID is where an ELF file has its build-id, nil if it has none.
func buildID(image []byte) []byte {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil
	}
	s := f.Section(".note.gnu.build-id")
	if s == nil || s.FileSize != noteHeader+buildIDSize || s.Offset+s.FileSize > uint64(len(image)) {
		return nil
	}
	return image[s.Offset+noteHeader:][:buildIDSize]
}

// field is a name as struct module has it, to the field's end.
func field(name string) []byte { return append([]byte(name), make([]byte, nameSize-len(name))...) }

// find returns the only place in a section with the given contents.
func find(f *elf.File, image []byte, section string, contents []byte) ([]byte, error) {
	s := f.Section(section)
	if s == nil || s.Type == elf.SHT_NOBITS {
		return nil, fmt.Errorf("has no section %s", section)
	}
	data, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", section, err)
	}
	if n := bytes.Count(data, contents); n != 1 {
		return nil, fmt.Errorf("section %s has %d times %q instead of once", section, n, bytes.TrimRight(contents, "\x00"))
	}
	at := s.Offset + uint64(bytes.Index(data, contents))
	return image[at : at+uint64(len(contents))], nil
}
