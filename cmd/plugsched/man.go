// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/command/cli"
	"plugsched/internal/command/manual"
)

// newMan writes what packages of plugsched itself carry below /usr/share.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write manual pages and shell completions",
		Hidden: true, // for `make man`
		Args:   cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			now := time.Now()
			developer, err := manual.Pages(developerRoot(), manual.Developer, now)
			if err != nil {
				return err
			}
			operator, err := manual.Pages(manual.OperatorRoot(), manual.Operator, now)
			if err != nil {
				return err
			}
			completions, err := manual.Completions(c.Root())
			if err != nil {
				return err
			}
			files := map[string][]byte{
				"bash-completion/completions/plugsched":    completions["bash"],
				"zsh/vendor-completions/_plugsched":        completions["zsh"],
				"fish/vendor_completions.d/plugsched.fish": completions["fish"],
			}
			for name, text := range developer {
				files["man/man1/"+name] = text
			}
			for name, text := range operator {
				files["man/man8/"+name] = text
			}
			return write(a[0], files)
		},
	}
}

func write(dir string, files map[string][]byte) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
