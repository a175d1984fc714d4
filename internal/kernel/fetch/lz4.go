// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// lz4Magic begins the format that kernels are compressed in by `lz4 -l`: blocks, each behind its size.
const lz4Magic = "\x02\x21\x4c\x18"

// lz4Block is the most that a block unpacks to, and what all but the last do.
const lz4Block = 8 << 20

var errLZ4 = errors.New("damaged lz4 stream")

// lz4Reader unpacks a stream of blocks.
type lz4Reader struct {
	in   io.Reader
	left []byte // of the last block
}

func newLZ4(in io.Reader) (io.Reader, error) {
	magic := make([]byte, len(lz4Magic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != lz4Magic {
		return nil, errLZ4
	}
	return &lz4Reader{in: in}, nil
}

func (r *lz4Reader) Read(b []byte) (int, error) {
	for len(r.left) == 0 {
		var size uint32
		if err := binary.Read(r.in, binary.LittleEndian, &size); err != nil {
			return 0, err
		}
		if size > lz4Block+lz4Block/255+16 { // of what cannot be compressed
			return 0, fmt.Errorf("%w: a block of %d bytes", errLZ4, size)
		}
		block := make([]byte, size)
		if _, err := io.ReadFull(r.in, block); err != nil {
			return 0, fmt.Errorf("%w: %w", errLZ4, err)
		}
		var err error
		if r.left, err = unpackLZ4(block); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.left)
	r.left = r.left[n:]
	return n, nil
}

// unpackLZ4 unpacks a block: sequences of literals and, but for the last, a copy of what was unpacked before.
func unpackLZ4(in []byte) (out []byte, err error) {
	length := func(n int) (int, bool) { // more bytes of a length whose four bits are all set
		if n != 15 {
			return n, true
		}
		for len(in) > 0 {
			more := in[0]
			in, n = in[1:], n+int(more)
			if more != 255 {
				return n, n <= lz4Block
			}
		}
		return 0, false
	}
	for len(in) > 0 {
		token := in[0]
		in = in[1:]
		n, ok := length(int(token >> 4))
		if !ok || n > len(in) || len(out)+n > lz4Block {
			return nil, errLZ4
		}
		out, in = append(out, in[:n]...), in[n:]
		if len(in) == 0 {
			return out, nil
		}
		if len(in) < 2 {
			return nil, errLZ4
		}
		distance := int(binary.LittleEndian.Uint16(in))
		in = in[2:]
		n, ok = length(int(token & 15))
		n += 4
		if !ok || distance == 0 || distance > len(out) || len(out)+n > lz4Block {
			return nil, errLZ4
		}
		for range n { // what is copied may be what is being written
			out = append(out, out[len(out)-distance])
		}
	}
	return out, nil
}
