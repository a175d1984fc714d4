// SPDX-License-Identifier: BSD-3-Clause

package live

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// extServices are the services by which distributions load schedulers in BPF: that of the package scx, whose scheduler is in
// /etc/default/scx, and the loader that others ask over D-Bus (org.scx.Loader), with the one of its configuration to begin with.
var extServices = []string{"scx.service", "scx_loader.service"}

// Rival is a service that would load schedulers in BPF, as systemd's files say.
type Rival struct {
	Unit    string
	Runs    bool // it was started, and has not ended
	Enabled bool // something that is started at boot wants it
}

// Rivals are the services of other programs that may load a scheduler in BPF by themselves. None is where the kernel has no sched_ext.
func (h Host) Rivals() (list []Rival) {
	if h.text(extDir+"/state") == "" {
		return nil
	}
	for _, unit := range extServices {
		r := Rival{Unit: unit}
		// systemd has a link there for each unit that it has started, until that has ended (src/core/unit.c, unit_export_invocation_id).
		_, err := os.Lstat(h.path("/run/systemd/units/invocation:" + unit))
		r.Runs = err == nil
		for _, dir := range []string{"/etc/systemd/system", "/run/systemd/system"} {
			for _, sort := range []string{"wants", "requires"} {
				links, _ := filepath.Glob(h.path(filepath.Join(dir, "*."+sort, unit)))
				r.Enabled = r.Enabled || len(links) > 0
			}
		}
		if r.Runs || r.Enabled {
			list = append(list, r)
		}
	}
	return list
}

// Problem says in words what a service may do.
func (r Rival) Problem() string {
	var does []string
	if r.Runs {
		does = append(does, "runs, and may load a scheduler in BPF at any time")
	}
	if r.Enabled {
		does = append(does, "is enabled, and may load one at the next boot")
	}
	return r.Unit + " " + strings.Join(does, "; it ")
}

// Fix is what keeps it from that.
func (r Rival) Fix() string {
	if r.Enabled {
		return fmt.Sprintf("systemctl disable --now %s", r.Unit)
	}
	return fmt.Sprintf("systemctl stop %s", r.Unit)
}

// findRivals warns of them.
func (h Host) findRivals(*Module, InstallOptions) (out []error) {
	for _, r := range h.Rivals() {
		out = append(out, warning(r.Fix(), "%s", r.Problem())...)
	}
	return out
}
