// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"plugsched/internal/elffile"
	"plugsched/internal/kernel/arch"
)

// vmlinuxInfo is what a vmlinux says about itself.
type vmlinuxInfo struct {
	arch    *arch.Arch
	buildID string
	banner  banner
}

// banner is the parsed linux_banner of init/version.c (version-timestamp.c
// since 6.1):
// "Linux version RELEASE (BUILDER) (COMPILER, LINKER) VERSION".
type banner struct {
	release  string
	compiler string // "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"
	toolset  string // compiler and linker, as LINUX_COMPILER has them
	version  string // uname -v: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)"
}

// debian is the package version, empty for kernels not built by Debian.
func (b banner) debian() string { return debianVersion(b.version) }

var bannerRE = regexp.MustCompile(`^Linux version (\S+) \(\S+\) \((.*)\) (#.*)$`)

// parseBanner relies on the version starting with '#' and on no compiler's
// name having ") #" in it.
func parseBanner(s string) (banner, error) {
	m := bannerRE.FindStringSubmatch(oneLine(s))
	if m == nil {
		return banner{}, fmt.Errorf("kernel banner %q not understood", oneLine(s))
	}
	b := banner{release: m[1], toolset: m[2], version: m[3]}
	b.compiler = b.toolset
	// LINUX_COMPILER is "CC_VERSION, LD_VERSION" (scripts/mkcompile_h).
	if i := lastComma(b.toolset); i >= 0 {
		b.compiler = b.toolset[:i]
	}
	return b, nil
}

// lastComma finds the comma between compiler and linker, outside parentheses.
func lastComma(s string) int {
	depth := 0
	for i := len(s) - 1; i >= 0; i-- {
		switch s[i] {
		case ')':
			depth++
		case '(':
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

// readVmlinux opens a vmlinux and checks that it is whole and has symbols and
// debug information. Errors say what to do.
func readVmlinux(path, fix string) (*vmlinuxInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	bad := func(what, want, got string) error {
		return &MismatchError{What: what, Path: path, Want: want, Got: got, Fix: fix}
	}
	if !st.Mode().IsRegular() {
		return nil, bad("file type", "an uncompressed ELF vmlinux", st.Mode().Type().String())
	}
	e, err := elffile.NewFile(f, st.Size())
	if err != nil {
		return nil, bad("format", "an uncompressed ELF vmlinux", elfFault(err))
	}
	if err := wholeELF(e, st.Size()); err != nil {
		return nil, bad("size", err.Error(), fmt.Sprintf("%d bytes", st.Size()))
	}
	info := &vmlinuxInfo{}
	if info.arch, err = arch.Of(e.Machine); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if e.Section(".debug_info") == nil {
		return nil, bad("debug information", "a .debug_info section", "")
	}
	if info.buildID, err = buildID(e); err != nil || info.buildID == "" {
		return nil, bad("build-id", "a GNU build-id note", "")
	}
	text, err := symbolString(e, "linux_banner")
	if err != nil {
		return nil, bad("symbol linux_banner", "a kernel's own vmlinux with symbols", "")
	}
	if info.banner, err = parseBanner(text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return info, nil
}

// elfFault says in a user's words what debug/elf found.
func elfFault(err error) string {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "a truncated file"
	case strings.Contains(err.Error(), "bad magic number"):
		return "not an ELF file"
	default:
		return err.Error()
	}
}

// wholeELF finds a file that was cut off although its section headers, which
// need not come last, are there.
func wholeELF(e *elf.File, size int64) error {
	for _, s := range e.Sections {
		if s.Type == elf.SHT_NOBITS || s.Type == elf.SHT_NULL {
			continue
		}
		if end := s.Offset + s.FileSize; end > uint64(size) {
			return fmt.Errorf("at least %d bytes", end)
		}
	}
	if len(e.Sections) == 0 {
		return fmt.Errorf("a file with sections")
	}
	return nil
}

// buildID finds the NT_GNU_BUILD_ID note. The linker script puts all notes
// into .notes (include/asm-generic/vmlinux.lds.h, NOTES); other ELF files have
// a section of their own for it.
func buildID(e *elf.File) (string, error) {
	for _, s := range e.Sections {
		if s.Type != elf.SHT_NOTE {
			continue
		}
		b, err := s.Data()
		if err != nil {
			return "", err
		}
		if id, ok := elffile.BuildID(b, e.ByteOrder); ok {
			return id, nil
		}
	}
	return "", nil
}

// symbolString reads the C string a data symbol stands for.
func symbolString(e *elf.File, name string) (string, error) {
	syms, err := e.Symbols()
	if err != nil {
		return "", err
	}
	for _, s := range syms {
		if s.Name != name || int(s.Section) >= len(e.Sections) || s.Section == elf.SHN_UNDEF {
			continue
		}
		sec := e.Sections[s.Section]
		if sec.Type == elf.SHT_NOBITS || s.Value < sec.Addr || s.Value-sec.Addr >= sec.FileSize {
			continue
		}
		b := make([]byte, min(1024, sec.FileSize-(s.Value-sec.Addr)))
		if _, err := sec.ReadAt(b, int64(s.Value-sec.Addr)); err != nil {
			return "", err
		}
		if i := bytes.IndexByte(b, 0); i >= 0 {
			b = b[:i]
		}
		return string(b), nil
	}
	return "", elf.ErrNoSymbols
}
