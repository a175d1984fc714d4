// SPDX-License-Identifier: BSD-3-Clause

// Package gobfile keeps what a stage made in a file, quick to load.
package gobfile

import (
	"bufio"
	"encoding/gob"
	"fmt"
	"io"
	"os"

	"plugsched/internal/durable"
)

// Save writes v to a file, whole or not at all.
func Save(path string, v any) error {
	return durable.Write(path, 0o644, func(w io.Writer) error {
		b := bufio.NewWriter(w)
		if err := gob.NewEncoder(b).Encode(v); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return b.Flush()
	})
}

// Load reads what Save wrote into v, a pointer.
func Load(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := gob.NewDecoder(f).Decode(v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
