// SPDX-License-Identifier: BSD-3-Clause

// Package gobfile keeps what a stage made in a file, quick to load.
package gobfile

import (
	"encoding/gob"
	"fmt"
	"os"
)

// Save writes v to a file.
func Save(path string, v any) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := gob.NewEncoder(f).Encode(v); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", path, err)
	}
	return f.Close()
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
