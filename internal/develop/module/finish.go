// SPDX-License-Identifier: BSD-3-Clause

package module

import (
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plugsched/internal/artefact/desc"
	"plugsched/internal/develop/boundary"
	"plugsched/internal/develop/environment"
)

// Undefined lists the undefined symbols of a module, or of objects together, sorted.
func Undefined(objects ...string) ([]string, error) {
	undefined, defined := map[string]bool{}, map[string]bool{}
	for _, path := range objects {
		f, err := elf.Open(path)
		if err != nil {
			return nil, err
		}
		syms, err := f.Symbols()
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, s := range syms {
			switch {
			case s.Section == elf.SHN_UNDEF && s.Name != "":
				undefined[s.Name] = true
			case elf.ST_BIND(s.Info) != elf.STB_LOCAL:
				defined[s.Name] = true
			}
		}
	}
	maps.DeleteFunc(undefined, func(name string, _ bool) bool { return defined[name] })
	return slices.Sorted(maps.Keys(undefined)), nil
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

// DebugSuffix is what the name of a module's debug information adds to the module's.
const DebugSuffix = ".debug"

// Finish writes the module to out as it will be loaded: bound, with its description and
// under its own name. Its debug information goes into a file of its own beside it, found by the
// build-id: a .gnu_debuglink would make the module depend on what it is not loaded with. It sets
// the description's name.
func Finish(ctx context.Context, env *environment.Environment, ko, out string, d *desc.Description, b *Binding) error {
	image, err := os.ReadFile(ko)
	if err != nil {
		return err
	}
	if image, err = relocate(image, b); err != nil {
		return fmt.Errorf("%s: %w", ko, err)
	}
	d.Name = unnamed
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(out), ".finish")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bound, description, described := filepath.Join(dir, "bound.ko"), filepath.Join(dir, "description"), filepath.Join(dir, "described.ko")
	if err := os.WriteFile(bound, image, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(description, text, 0o644); err != nil {
		return err
	}
	cmd := env.Command(ctx, env.Tool("objcopy"), "--strip-debug", "--add-section", desc.Section+"="+description,
		"--set-section-flags", desc.Section+"=readonly,noload", bound, described)
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("objcopy: %w: %s", err, strings.TrimSpace(string(msg)))
	}
	if image, err = os.ReadFile(described); err != nil {
		return err
	}
	if d.Name, err = setName(image); err != nil {
		return fmt.Errorf("%s: %w", ko, err)
	}
	if err := splitDebug(ctx, env, bound, out+DebugSuffix, image); err != nil {
		return err
	}
	return os.WriteFile(out, image, 0o644)
}

// splitDebug writes what debuggers want to know of a module to out. image is the finished module,
// whose build-id it gets.
func splitDebug(ctx context.Context, env *environment.Environment, bound, out string, image []byte) error {
	cmd := env.Command(ctx, env.Tool("objcopy"), "--only-keep-debug", bound, out)
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("objcopy: %w: %s", err, strings.TrimSpace(string(msg)))
	}
	debug, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	id, to := buildID(image), buildID(debug)
	if len(id) != len(to) {
		return fmt.Errorf("%s: has no build-id to replace", out)
	}
	copy(to, id)
	return os.WriteFile(out, debug, 0o644)
}
