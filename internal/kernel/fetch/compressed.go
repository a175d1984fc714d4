// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// plainModule is the name that the file of a compressed module has without its ending
// (scripts/Makefile.modinst, suffix-y); ok is false for other files.
func plainModule(name string) (plain string, ok bool) {
	plain = strings.TrimSuffix(name, path.Ext(name))
	return plain, path.Ext(plain) == ".ko" && slices.Contains([]string{".gz", ".xz", ".zst"}, path.Ext(name))
}

// expandModules puts what compressed modules hold in their places: not every kernel that has
// them decompresses them itself.
func (x *extractor) expandModules(ctx context.Context) error {
	for i, f := range x.files {
		plain, ok := plainModule(f.Path)
		if !ok {
			continue
		}
		size, err := x.expand(ctx, f.Path, plain)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		if err := x.root.Remove(f.Path); err != nil {
			return err
		}
		x.files[i] = fileEntry{plain, size}
	}
	return nil
}

// expand returns how large what it holds is.
func (x *extractor) expand(ctx context.Context, from, to string) (size int64, err error) {
	in, err := x.root.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := x.root.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	err = uncompressed(ctx, in, "", func(r io.Reader) error {
		size, err = io.CopyBuffer(struct{ io.Writer }{out}, r, x.buf)
		return err
	})
	if err != nil {
		return 0, err
	}
	return size, out.Close()
}
