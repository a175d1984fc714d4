// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/command/cli"
	"plugsched/internal/durable"
	"plugsched/internal/operate/boot"
	"plugsched/internal/operate/live"
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
	linkTool(c, p)
	selected, err := m.selected(p.Kernels())
	if err != nil {
		return err
	}
	if selected == "" && !first {
		fmt.Fprintf(c.OutOrStdout(), "%s is installed, and no scheduler is selected: `plugsched switch %s` makes it the one\n", p, p.Scheduler)
		return nil
	}
	if selected != "" && selected != p.Scheduler {
		fmt.Fprintf(c.OutOrStdout(), "%s is installed beside %s, which is selected: `plugsched switch %s` changes that\n",
			p, selected, p.Scheduler)
		return nil
	}
	r.Select = selected == ""
	if err := writeUnit(p); err != nil {
		return err
	}
	why, err := m.later(r, first)
	if err != nil {
		return err
	}
	if why != "" {
		if r.Select {
			if err := r.SelectLater(c.Context()); err != nil {
				return err
			}
		}
		fmt.Fprintf(c.OutOrStdout(), "%s is installed for later: %s\n", p, why)
		return enable(p, first, false)
	}
	words, err := m.adopt("package", c.Context(), r)
	if err != nil {
		return fmt.Errorf("%s is installed, but does not run: %w\nWhen the cause is gone: plugsched switch %s", p, err, p.Scheduler)
	}
	fmt.Fprintln(c.OutOrStdout(), words)
	return enable(p, first, true)
}

// selected names the scheduler that is selected for a kernel, "" when none is that is installed.
func (m machine) selected(release string) (string, error) {
	name, err := installed.Selected(m.Root, release)
	if err != nil || name == "" {
		return "", err
	}
	if _, err := os.Stat(filepath.Join("/", m.Root, installed.PackageDir(release, name))); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return name, nil
}

// selectedFor names the package whose scheduler is loaded when a kernel is booted, "" if none is.
func (m machine) selectedFor(release string) (string, error) {
	for _, kernels := range []string{release, installed.AnyKernel} {
		if name, err := m.selected(kernels); err != nil || name != "" {
			return installed.PackageName(name, kernels), err
		}
	}
	return "", nil
}

// writeUnit makes the unit of the package's kernel.
func writeUnit(p *installed.Package) error {
	text, err := os.ReadFile(p.File(installed.UnitText))
	if err != nil {
		return err
	}
	file := installed.UnitFile(p.Kernels())
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(file, text, 0o644)
}

// later says why the scheduler is not to run now although nothing is wrong, "" when it is.
func (m machine) later(r *boot.Runner, first bool) (string, error) {
	if why, err := m.elsewhere(r); err != nil || why != "" {
		return why, err
	}
	unit := installed.Unit(r.Package.Kernels())
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

// elsewhere says why no package's scheduler can run in this boot, or here, "" when it can.
func (m machine) elsewhere(r *boot.Runner) (string, error) {
	if boot.Disabled(m.Host) {
		return boot.Disable + " is on the kernel command line", nil
	}
	return boot.Elsewhere(m.Host, r.Package)
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

// enable has the selected scheduler loaded at boot, unless that was decided at an earlier
// install, and lets systemd know that it runs.
func enable(p *installed.Package, first, running bool) error {
	unit := installed.Unit(p.Kernels())
	if !hasSystemctl() {
		return nil
	}
	if first {
		// systemd reads its units anew once, below: on a busy machine that takes its time.
		if err := systemctl("--no-reload", "enable", unit); err != nil {
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

// hasSystemctl: otherwise this has another init, or is a bare chroot.
func hasSystemctl() bool {
	_, err := exec.LookPath("systemctl")
	return err == nil
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
			return m.remove(c, r)
		},
	}
}

func (m machine) remove(c *cobra.Command, r *boot.Runner) error {
	p := r.Package
	selected, err := m.selected(p.Kernels())
	if err != nil {
		fmt.Fprintln(c.ErrOrStderr(), "warning:", err)
	}
	if boot.Confined("/") == "" && !m.same(selected, p) {
		s, err := update("package", p.Module, p, func() (*live.Status, error) { return r.Remove(c.Context()) })
		if err != nil {
			// What only came to light when the module was gone is no reason to keep its package.
			now, e := r.Kernel.Read()
			if e != nil || len(now.Modules) > 0 {
				return fmt.Errorf("%s stays installed: %w", p, err)
			}
			fmt.Fprintln(c.ErrOrStderr(), "warning:", err)
		}
		if s != nil {
			fmt.Fprintln(c.OutOrStdout(), "the kernel's own scheduler runs")
		}
	}
	unlinkTool(c, p)
	if selected != p.Scheduler {
		return nil // the unit is another one's
	}
	if err := disable(installed.Unit(p.Kernels())); err != nil {
		return err
	}
	if err := r.Unselect(c.Context()); err != nil {
		return err
	}
	if left := m.others(p); left != "" {
		fmt.Fprintf(c.OutOrStdout(), "no scheduler is selected any more, of %s: `plugsched switch NAME` does that\n", left)
	}
	return nil
}

// same reports whether the selected scheduler is another package's, and the very same module.
func (m machine) same(selected string, p *installed.Package) bool {
	if selected == "" || selected == p.Scheduler {
		return false
	}
	other, err := installed.Read(filepath.Join("/", m.Root, installed.PackageDir(p.Kernels(), selected)))
	return err == nil && other.Module == p.Module
}

// others names the schedulers of the other packages for a package's kernel.
func (m machine) others(p *installed.Package) string {
	var names []string
	all, _ := installed.ForKernel(m.Root, p.Kernels())
	for _, other := range all {
		if other.Name != p.Name {
			names = append(names, other.Scheduler)
		}
	}
	return strings.Join(names, ", ")
}

func disable(unit string) error {
	if !hasSystemctl() {
		return nil
	}
	if systemdRuns() && boot.Confined("/") == "" {
		if err := systemctl("stop", unit); err != nil {
			return err
		}
	}
	return systemctl("disable", unit)
}
