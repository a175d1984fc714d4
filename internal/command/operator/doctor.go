// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/command/cli"
	"plugsched/internal/operate/doctor"
	"plugsched/internal/operate/live"
	"plugsched/internal/outcome"
)

// diagnosis is what doctor found.
type diagnosis struct {
	Module   string         `json:"module,omitempty"` // path; "": none was looked at
	OK       bool           `json:"ok"`               // nothing stops an install
	Findings []live.Finding `json:"findings"`
}

func newDoctor(m machine) *cobra.Command {
	var o live.InstallOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor [MODULE]",
		Short: "Find all that would stop an install on this machine",
		Long: `Doctor looks for everything that would stop a scheduler from being installed on this
machine, and names a fix for each; and for what stops nothing but should be known.
It changes nothing. Without MODULE it takes that of the package that is installed for
the running kernel, unless that runs already; without one either, only the machine is
looked at.

It exits with 0 when nothing is in the way of an install, and with 3 otherwise.`,
		Example: `  plugsched doctor
  plugsched doctor --replace work/scheduler.ko
  plugsched doctor --json | jq -r '.findings[].fix'`,
		Args: cli.Args(0, 1),
		RunE: func(c *cobra.Command, a []string) error {
			d, err := m.diagnose(a, o)
			if err != nil {
				return err
			}
			if asJSON {
				err = cli.PrintJSON(c.OutOrStdout(), d)
			} else {
				d.show(c.OutOrStdout())
			}
			if err == nil && !d.OK {
				err = &cli.QuietError{Means: outcome.Precondition}
			}
			return err
		},
	}
	c.Flags().BoolVar(&o.Replace, "replace", false, "it is to take over from the scheduler that runs")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (m machine) diagnose(args []string, o live.InstallOptions) (*diagnosis, error) {
	s, err := m.read()
	if err != nil {
		return nil, err
	}
	d := &diagnosis{OK: true, Findings: []live.Finding{}}
	switch {
	case len(args) > 0:
		d.Module = args[0]
	case s.Package != nil && !s.OfPackage && s.Package.BPF == nil:
		d.Module = s.Package.File(installed.Module)
	}
	var module *live.Module
	if d.Module != "" {
		if module, err = live.Open(d.Module); err != nil {
			return nil, err
		}
	}
	from := s.Package
	if module != nil && from != nil && from.Module != module.Desc.Name {
		from = nil
	}
	d.Findings = append(d.Findings, doctor.Examine(m.Host, module, from, o)...)
	for _, f := range d.Findings {
		d.OK = d.OK && f.Warning
	}
	return d, nil
}

func (d *diagnosis) show(w io.Writer) {
	obstacles := 0
	for _, f := range d.Findings {
		kind := "warning"
		if !f.Warning {
			kind = "obstacle"
			obstacles++
		}
		fmt.Fprintf(w, "%-9s %s: %s\n", kind+":", f.Check, f.Problem)
		if f.Fix != "" {
			fmt.Fprintf(w, "          fix: %s\n", f.Fix)
		}
	}
	what := "a scheduler"
	if d.Module != "" {
		what = d.Module
	}
	if obstacles == 0 {
		fmt.Fprintf(w, "nothing is in the way of installing %s\n", what)
	} else {
		fmt.Fprintf(w, "%d in the way of installing %s\n", obstacles, what)
	}
}
