// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"plugsched/internal/develop/module"
	"plugsched/internal/durable"
	"plugsched/internal/guest/vm"
)

// writeScript writes what gdb has to be told, and says so. Sections of the module are where the
// kernel says that it has put them, which only root may read.
func (v *guestVM) writeScript(c *cobra.Command, m *vm.Machine) error {
	script := fmt.Sprintf("file %s\ntarget remote 127.0.0.1:%d\n", v.target.Vmlinux, v.GDB)
	if v.install {
		r, err := m.Run(c.Context(), vm.Cmd{Argv: []string{"/bin/sh", "-c",
			"cd /sys/module/plugsched_*/sections && for s in .* *; do test -f $s && echo $s $(cat $s); done; true"}})
		if err != nil {
			return err
		}
		symbols, err := filepath.Abs(v.module + module.DebugSuffix)
		if err != nil {
			return err
		}
		if _, err := os.Stat(symbols); err != nil {
			symbols = strings.TrimSuffix(symbols, module.DebugSuffix) // names, but no lines
		}
		script += addSymbols(symbols, string(r.Stdout))
	}
	f, err := os.CreateTemp("", "plugsched-*.gdb")
	if err != nil {
		return err
	}
	f.Close()
	if err := durable.WriteFile(f.Name(), []byte(script), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(c.ErrOrStderr(), "to debug it: gdb -x %s\n", f.Name())
	return nil
}

// addSymbols is the command that loads a module's symbols. sections are lines of a name and an address.
func addSymbols(file, sections string) string {
	text, rest := "", []string{}
	for line := range strings.Lines(sections) {
		name, addr, ok := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case !ok || name == ".symtab" || name == ".strtab": // the kernel's copies, which no file has
		case name == ".text":
			text = addr
		default:
			rest = append(rest, " -s "+name+" "+addr)
		}
	}
	slices.Sort(rest)
	return "add-symbol-file " + file + " " + text + strings.Join(rest, "") + "\n"
}
