// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"bytes"
	"compress/bzip2"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"plugsched/internal/elffile"
	"plugsched/internal/kernel/arch"
)

// compressions are told by what they begin with. xz and lzma are left to the program, which uses several
// CPUs.
var compressions = []struct {
	name, magic string
	open        func(ctx context.Context, in io.Reader, read func(io.Reader) error) error
}{
	{"gzip", "\x1f\x8b", func(_ context.Context, in io.Reader, read func(io.Reader) error) error {
		r, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		return read(r)
	}},
	{"zstd", "\x28\xb5\x2f\xfd", func(_ context.Context, in io.Reader, read func(io.Reader) error) error {
		r, err := zstd.NewReader(in)
		if err != nil {
			return err
		}
		defer r.Close()
		return read(r)
	}},
	{"xz", "\xfd7zXZ\x00", func(ctx context.Context, in io.Reader, read func(io.Reader) error) error {
		return pipe(ctx, in, read, "unpack what xz has compressed", "xz", "-dc", "-T0")
	}},
	{"lzma", "\x5d\x00\x00", func(ctx context.Context, in io.Reader, read func(io.Reader) error) error {
		return pipe(ctx, in, read, "unpack what xz has compressed", "xz", "-dc", "--format=lzma")
	}},
	{"lz4", lz4Magic, func(_ context.Context, in io.Reader, read func(io.Reader) error) error {
		r, err := newLZ4(in)
		if err != nil {
			return err
		}
		return read(r)
	}},
	{"bzip2", "BZh", func(_ context.Context, in io.Reader, read func(io.Reader) error) error {
		return read(bzip2.NewReader(in))
	}},
}

// uncompressed hands read what a stream holds. One that begins like none that is known is
// handed over as it is, if plain says that this can be.
func uncompressed(ctx context.Context, in io.Reader, plain string, read func(io.Reader) error) error {
	head := make([]byte, 6)
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	in = io.MultiReader(bytes.NewReader(head[:n]), in)
	for _, c := range compressions {
		if bytes.HasPrefix(head[:n], []byte(c.magic)) {
			return c.open(ctx, in, read)
		}
	}
	if plain != "" && bytes.HasPrefix(head[:n], []byte(plain)) {
		return read(in)
	}
	return fmt.Errorf("compressed in a way that is not known (it begins with %q)", head[:n])
}

// mostKernel bounds what a boot image may unpack to.
const mostKernel = 1 << 30

// imageBuildID reads the build-id of the kernel in a boot image.
func imageBuildID(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 4096)
	if _, err := f.ReadAt(head, 0); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	a := arch.Booting(head)
	if a == nil {
		return "", fmt.Errorf("%s: not a boot image that is known", path)
	}
	payload, err := a.BootPayload(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	id := ""
	read := func(r io.Reader) error {
		kernel, err := io.ReadAll(io.LimitReader(r, mostKernel))
		// Behind the stream is its size, which is no part of it; what is there of the kernel is looked at all the same.
		e, elfErr := elffile.NewFile(bytes.NewReader(kernel), int64(len(kernel)))
		if elfErr != nil {
			return errors.Join(err, elfErr)
		}
		id, err = elfBuildID(e)
		return err
	}
	size := payload.Size()
	if gzipped := make([]byte, 2); readsAt(payload, gzipped) && !bytes.Equal(gzipped, []byte(compressions[0].magic)) {
		size -= 4
	}
	if err := uncompressed(ctx, io.NewSectionReader(payload, 0, size), elf.ELFMAG, read); err != nil {
		return "", fmt.Errorf("%s: the kernel in it: %w", path, err)
	}
	if id == "" {
		return "", fmt.Errorf("%s: the kernel in it has no build-id", path)
	}
	return id, nil
}

func readsAt(r io.ReaderAt, b []byte) bool {
	_, err := r.ReadAt(b, 0)
	return err == nil
}

// elfBuildID is buildID of a file that may have no sections left: then the notes are a segment.
func elfBuildID(e *elf.File) (string, error) {
	if id, err := buildID(e); err != nil || id != "" {
		return id, err
	}
	for _, p := range e.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		notes, err := io.ReadAll(io.LimitReader(p.Open(), 1<<20))
		if err != nil {
			return "", err
		}
		if id, ok := elffile.BuildID(notes, e.ByteOrder); ok {
			return id, nil
		}
	}
	return "", nil
}
