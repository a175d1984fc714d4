// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strings"

	"plugsched/internal/boundary"
	"plugsched/internal/desc"
)

// Undefined lists the undefined symbols of a module, sorted.
func Undefined(ko string) ([]string, error) {
	f, err := elf.Open(ko)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ko, err)
	}
	var out []string
	for _, s := range syms {
		if s.Section == elf.SHN_UNDEF && s.Name != "" {
			out = append(out, s.Name)
		}
	}
	sort.Strings(out)
	return out, nil
}

// CheckTargets makes sure that the module itself has every function that the
// kernel's is redirected to: bound to the kernel like any other undefined symbol,
// the jump would lead to itself.
func CheckTargets(ko string, b *boundary.Boundary) error {
	f, err := elf.Open(ko)
	if err != nil {
		return err
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		return fmt.Errorf("%s: %w", ko, err)
	}
	defined := map[string]bool{}
	for _, s := range syms {
		if s.Section != elf.SHN_UNDEF && s.Section < elf.SHN_LORESERVE {
			defined[s.Name] = true
		}
	}
	for _, fn := range b.Functions {
		if target := redirectTarget(fn); fn.Class.Border() && !defined[target] {
			return fmt.Errorf("%s:%d: %s is to be redirected, but the module does not have %s", fn.DeclFile, fn.DeclLine, fn.Name, target)
		}
	}
	return nil
}

// Finish writes a module to out with its description, and without the debug
// information of the runtime.
func Finish(ctx context.Context, ko, out string, d *desc.Description) error {
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	file := out + ".json"
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	defer os.Remove(file)
	cmd := exec.CommandContext(ctx, "objcopy", "--strip-debug", "--add-section", desc.Section+"="+file,
		"--set-section-flags", desc.Section+"=readonly,noload", ko, out)
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("objcopy: %w: %s", err, strings.TrimSpace(string(msg)))
	}
	return nil
}
