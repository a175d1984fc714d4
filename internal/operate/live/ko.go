// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"plugsched/internal/artefact/desc"
	"plugsched/internal/elffile"

	"golang.org/x/sys/unix"
)

// maxModule bounds what is read as a module, in bytes.
const maxModule = 256 << 20

// Module is a scheduler module read from a file.
type Module struct {
	Path   string
	Desc   *desc.Description
	Signed bool // has a signature; the kernel decides what it is worth

	image []byte
}

// Open reads and checks a module. The file is read once: what was checked is
// what is loaded.
func Open(path string) (*Module, error) {
	// Without O_NONBLOCK a FIFO would keep us here.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &PreconditionError{Err: err}
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, precondition("%s: not a regular file", path)
	}
	image, err := io.ReadAll(io.LimitReader(f, maxModule+1))
	if err != nil {
		return nil, &PreconditionError{Err: err}
	}
	if len(image) > maxModule {
		return nil, precondition("%s: larger than %d MiB, not a scheduler module", path, maxModule>>20)
	}
	m, err := parse(image)
	if err != nil {
		return nil, precondition("%s: %v", path, err)
	}
	m.Path = path
	return m, nil
}

func parse(image []byte) (*Module, error) {
	size, err := unsignedSize(image)
	if err != nil {
		return nil, err
	}
	f, err := elffile.NewFile(bytes.NewReader(image[:size]), int64(size))
	if err != nil {
		return nil, fmt.Errorf("not a kernel module (%v): the file is truncated or something else", err)
	}
	if f.Type != elf.ET_REL || f.Class != elf.ELFCLASS64 || f.ByteOrder != binary.LittleEndian {
		return nil, fmt.Errorf("not a 64-bit kernel module")
	}
	s := f.Section(desc.Section)
	if s == nil {
		return nil, fmt.Errorf("not made by `plugsched build` (it has no %s section)", desc.Section)
	}
	text, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("truncated: %v", err)
	}
	m := &Module{image: image, Desc: &desc.Description{}, Signed: size < len(image)}
	if err := json.Unmarshal(text, m.Desc); err != nil {
		return nil, fmt.Errorf("its description is damaged: %v", err)
	}
	if m.Desc.Format != desc.Version {
		return nil, fmt.Errorf("its description has format %d, this plugsched reads %d: build the module again", m.Desc.Format, desc.Version)
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_NOBITS && s.Type != elf.SHT_NULL && (s.Offset > uint64(size) || s.FileSize > uint64(size)-s.Offset) {
			return nil, fmt.Errorf("truncated: section %s ends behind the end of the file", s.Name)
		}
	}
	return m, nil
}

// signatureMark ends a signed module (include/linux/module_signature.h).
const signatureMark = "~Module signature appended~\n"

// unsignedSize returns the size of a module without its signature: the signature, struct
// module_signature and the mark (kernel/module_signature.c, mod_check_sig).
func unsignedSize(image []byte) (int, error) {
	rest, ok := bytes.CutSuffix(image, []byte(signatureMark))
	if !ok {
		return len(image), nil
	}
	const size, idType, pkcs7, length = 12, 2, 2, 8
	if len(rest) < size {
		return 0, fmt.Errorf("its signature is damaged")
	}
	rest, info := rest[:len(rest)-size], rest[len(rest)-size:]
	n := binary.BigEndian.Uint32(info[length:])
	if info[idType] != pkcs7 || n == 0 || uint64(n) >= uint64(len(rest)) {
		return 0, fmt.Errorf("its signature is damaged")
	}
	return len(rest) - int(n), nil
}
