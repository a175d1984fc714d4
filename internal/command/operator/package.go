// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/command/cli"
	"plugsched/internal/operate/boot"
)

// newPackage is what the scripts of packages call (internal/develop/packaging/files).
func newPackage(m machine) *cobra.Command {
	c := &cobra.Command{
		Use:    "package",
		Short:  "What packages do when they are installed and removed",
		Hidden: true,
	}
	c.AddCommand(newPackageConfigure(m), newPackageRemove(m))
	return c
}

func newPackageConfigure(m machine) *cobra.Command {
	var first bool
	times := trialAtInstall
	c := &cobra.Command{
		Use:   "configure DIR",
		Short: "Make the scheduler the running one, or say why that is for later",
		Args:  cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			r, err := m.newRunner(c, a[0], times)
			if err != nil {
				return err
			}
			return m.configure(c, r, first)
		},
	}
	times.flags(c)
	c.Flags().BoolVar(&first, "first", false, "no version of the package was installed before")
	return c
}

func (m machine) configure(c *cobra.Command, r *boot.Runner, first bool) error {
	p := r.Package
	unit := installed.Unit(p.Release)
	linkTool(c, p)
	why, err := m.later(r, first)
	if err != nil {
		return err
	}
	if why != "" {
		fmt.Fprintf(c.OutOrStdout(), "%s is installed for later: %s\n", p, why)
		return enable(unit, first, false)
	}
	words, err := m.adopt("package", c.Context(), r)
	if err != nil {
		return fmt.Errorf("%s is installed, but does not run: %w\nWhen the cause is gone: systemctl enable --now %s", p, err, unit)
	}
	fmt.Fprintln(c.OutOrStdout(), words)
	return enable(unit, first, true)
}

// later says why the scheduler is not to run now although nothing is wrong, "" when it is.
func (m machine) later(r *boot.Runner, first bool) (string, error) {
	if boot.Disabled(m.Host) {
		return boot.Disable + " is on the kernel command line", nil
	}
	if why, err := boot.Elsewhere(m.Host, r.Package); err != nil || why != "" {
		return why, err
	}
	unit := installed.Unit(r.Package.Release)
	if policyForbids(unit) {
		return "/usr/sbin/policy-rc.d does not want services to be started", nil
	}
	if first || !systemdRuns() {
		return "", nil
	}
	// An administrator who has switched the old version off does not want the new one.
	s, err := r.Kernel.Read()
	if err != nil || s.Active {
		return "", err
	}
	if exec.Command("systemctl", "-q", "is-enabled", unit).Run() != nil {
		return unit + " is not enabled", nil
	}
	return "", nil
}

// policyForbids asks the administrator's policy about services, where Debian has one.
func policyForbids(unit string) bool {
	err := exec.Command("/usr/sbin/policy-rc.d", unit, "start").Run()
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == 101
}

func systemdRuns() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// enable has the scheduler loaded at boot, unless that was decided at an earlier
// install, and lets systemd know that it runs.
func enable(unit string, first, running bool) error {
	if _, err := exec.LookPath("systemctl"); err != nil {
		return nil // another init, or a bare chroot
	}
	if first {
		if err := systemctl("enable", unit); err != nil {
			return err
		}
	}
	if !systemdRuns() || boot.Confined("/") != "" {
		return nil
	}
	if err := systemctl("daemon-reload"); err != nil || !running {
		return err
	}
	// It finds the scheduler running. To wait for it could take for ever: the unit
	// comes after a target that may wait for this installation.
	return systemctl("--no-block", "reload-or-restart", unit)
}

func systemctl(args ...string) error {
	out, err := exec.Command("systemctl", append([]string{"-q"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s %s: %w: %s", args[0], args[len(args)-1], err, out)
	}
	return nil
}

func newPackageRemove(m machine) *cobra.Command {
	return &cobra.Command{
		Use:   "remove DIR",
		Short: "Give the kernel its own scheduler back before the package goes",
		Args:  cli.Args(1, 1),
		RunE: func(c *cobra.Command, a []string) error {
			r, err := m.newRunner(c, a[0], trialAtInstall)
			if err != nil {
				return err
			}
			return remove(c, r)
		},
	}
}

func remove(c *cobra.Command, r *boot.Runner) error {
	if boot.Confined("/") == "" {
		s, err := goBack("package", c.Context(), r)
		if err != nil {
			// What only came to light when the module was gone is no reason to keep its package.
			now, e := r.Kernel.Read()
			if e != nil || len(now.Modules) > 0 {
				return fmt.Errorf("%s stays installed: %w", r.Package, err)
			}
			fmt.Fprintln(c.ErrOrStderr(), "warning:", err)
		}
		if s != nil {
			fmt.Fprintln(c.OutOrStdout(), "the kernel's own scheduler runs")
		}
	}
	unlinkTool(c, r.Package)
	return disable(installed.Unit(r.Package.Release))
}

func disable(unit string) error {
	if _, err := exec.LookPath("systemctl"); err != nil {
		return nil
	}
	if systemdRuns() && boot.Confined("/") == "" {
		if err := systemctl("stop", unit); err != nil {
			return err
		}
	}
	return systemctl("disable", unit)
}
