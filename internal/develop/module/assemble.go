// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Assemble makes objects of the bound units, as they go into a module, but links none: enough to
// see what they refer to. It returns their paths, in the order of the units' names.
func Assemble(ctx context.Context, t *Tree, dir string, units map[string][]byte) ([]string, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var out []string
	for _, unit := range slices.Sorted(maps.Keys(units)) {
		stem := filepath.Join(dir, t.Stem(unit))
		if err := os.WriteFile(stem+".s", units[unit], 0o644); err != nil {
			return nil, err
		}
		cmd := t.Env.Command(ctx, t.Env.AnyCC(), "-c", "-o", stem+".o", stem+".s")
		if text, err := cmd.CombinedOutput(); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("assembling %s: %w: %s", unit, err, strings.TrimSpace(string(text)))
		}
		out = append(out, stem+".o")
	}
	return out, nil
}
