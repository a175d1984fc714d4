// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/command/cli"
	"plugsched/internal/command/manual"
	"plugsched/internal/command/operator"
	"plugsched/internal/command/version"
	"plugsched/internal/develop/packaging"
	"plugsched/internal/develop/project"
	"plugsched/scx"
)

func newSCXPackage() *cobra.Command {
	var o operator.Loading
	var dir string
	about := map[string]*string{}
	c := &cobra.Command{
		Use:   "package NAME|OBJECT",
		Short: "Make a .deb and an .rpm of a BPF scheduler",
		Long: `Package makes packages of a scheduler in BPF, one that is in this program or a compiled
object. They are for every kernel that has sched_ext, and load the scheduler as it is said
here: with --partial, --timeout and --set. Installed they do what packages of modules do: the
scheduler is on trial when it is loaded, now and at each boot, and one that did not get
confirmed is kept from being loaded again.`,
		Example: `  plugsched scx package simple
  plugsched scx package --name latency --version 1.2 --set fifo=1 --timeout 5s simple`,
		Args: cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			object, err := o.Open(a[0])
			if err != nil {
				return err
			}
			section := map[string]string{}
			for key, value := range about {
				section[key] = *value
			}
			cfg, err := packaging.ParseConfig(section)
			if err != nil {
				return cli.Usagef("%v", err)
			}
			if cfg.Name == "" {
				if cfg.Name, err = nameOf(object.Name()); err != nil {
					return err
				}
			}
			if cfg.Summary == "" {
				cfg.Summary = "scheduler " + object.Name() + " in BPF"
			}
			paths, err := packBPF(c.Context(), dir, a[0], object, o.Options, cfg)
			for _, p := range paths {
				fmt.Fprintln(c.OutOrStdout(), p)
			}
			return err
		},
	}
	o.Flags(c)
	c.Flags().StringVarP(&dir, "output", "o", ".", "the directory for the packages")
	for _, f := range [][3]string{
		{"name", "", "what the package's name begins with (default: the scheduler's)"}, {"version", "0.1", "of the package"},
		{"maintainer", "plugsched <plugsched@localhost>", "whose it is, `NAME <ADDRESS>`"}, {"summary", "", "one line about it"}} {
		about[f[0]] = c.Flags().String(f[0], f[1], f[2])
	}
	return c
}

// nameOf makes a package's name of a scheduler's, which may have capitals and underscores.
func nameOf(scheduler string) (string, error) {
	name := []byte(scheduler)
	for i, b := range name {
		switch {
		case b == '_':
			name[i] = '-'
		case b >= 'A' && b <= 'Z':
			name[i] = b + 'a' - 'A'
		}
	}
	if _, err := packaging.ParseConfig(map[string]string{"name": string(name)}); err != nil {
		return "", cli.Usagef("the scheduler's name %s is no package's: give one with --name", scheduler)
	}
	return string(name), nil
}

// packBPF makes the packages of a scheduler in BPF.
func packBPF(ctx context.Context, dir, nameOrPath string, object *scx.Object, o scx.Options, cfg packaging.Config) ([]string, error) {
	trial := o
	trial.Trial = time.Minute // as it will be loaded
	if err := object.Check(trial); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &packaging.Scheduler{Config: cfg, Arch: runtime.GOARCH, Tool: version.String(), // Go's name is Debian's
		BPF: &installed.BPF{Name: object.Name(), Partial: o.Partial, Timeout: o.Timeout, Constants: o.Constants}}
	if s.Installer, err = project.Installer(ctx, self, s.Tool); err != nil {
		return nil, err
	}
	if s.Time, err = packTime(); err != nil {
		return nil, err
	}
	if s.Documents, err = manual.Documents(s.Time); err != nil {
		return nil, err
	}
	text, err := scx.Bytes(nameOrPath)
	if err != nil {
		return nil, err
	}
	if s.ModuleName, err = s.BPF.Known(text); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "plugsched-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	s.Object = filepath.Join(tmp, installed.Object)
	if err := os.WriteFile(s.Object, text, 0o600); err != nil {
		return nil, err
	}
	return packaging.Build(dir, s)
}

// packTime is what the packages' files are dated: what the environment asks for (reproducible-builds.org/specs/source-date-epoch),
// or the day of this program.
func packTime() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Unix(int64(version.Day())*24*60*60, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, cli.Usagef("SOURCE_DATE_EPOCH: %q is not a number of seconds", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
