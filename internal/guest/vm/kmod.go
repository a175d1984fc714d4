// SPDX-License-Identifier: BSD-3-Clause

package vm

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"plugsched/internal/elffile"
)

// loadOrder returns the files, below a directory of a kernel's modules, of the named
// modules and of all they need, in the order of loading. What is built in is left
// out. The package has no modules.dep: depmod makes that on the machine it is
// installed on, from the same strings.
func loadOrder(dir fs.FS, names ...string) ([]string, error) {
	builtin, err := fs.ReadFile(dir, "modules.builtin")
	if err != nil {
		return nil, err
	}
	done := map[string]bool{}
	for _, file := range strings.Fields(string(builtin)) {
		done[moduleName(file)] = true
	}
	files := map[string]string{}
	err = fs.WalkDir(dir, "kernel", func(file string, e fs.DirEntry, err error) error {
		if err == nil && path.Ext(file) == ".ko" {
			files[moduleName(file)] = file
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var order []string
	var add func(name string) error
	add = func(name string) error {
		name = moduleName(name)
		if done[name] {
			return nil
		}
		done[name] = true
		if files[name] == "" {
			return fmt.Errorf("no module %s", name)
		}
		needs, err := dependencies(dir, files[name])
		if err != nil {
			return fmt.Errorf("%s: %w", files[name], err)
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return fmt.Errorf("%w, which %s needs", err, name)
			}
		}
		order = append(order, files[name])
		return nil
	}
	for _, n := range names {
		if err := add(n); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// moduleName is a module's name, which has underscores where its file may have
// dashes.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

// dependencies reads what a module says it needs.
func dependencies(dir fs.FS, file string) ([]string, error) {
	b, err := fs.ReadFile(dir, file)
	if err != nil {
		return nil, err
	}
	f, err := elffile.NewFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
