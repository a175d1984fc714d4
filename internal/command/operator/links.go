// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"plugsched/internal/artefact/installed"
	"plugsched/internal/command/version"
)

// Several packages bring plugsched along. The alternatives system makes the newest
// of them /usr/sbin/plugsched, with its own man pages and completions.
const alternatives = "update-alternatives"

// linkTool makes the package's plugsched one of those.
func linkTool(c *cobra.Command, p *installed.Package) {
	tool := p.File(installed.Installer)
	args := []string{"--install", "/usr/sbin/plugsched", "plugsched", tool, strconv.Itoa(version.Day())}
	for _, d := range documents(p) {
		// Names are the link group's own: bash's completion has that of the program.
		args = append(args, "--slave", d.link, "plugsched-"+filepath.Base(d.file), d.file)
	}
	alternative(c, args...)
}

func unlinkTool(c *cobra.Command, p *installed.Package) {
	alternative(c, "--remove", "plugsched", p.File(installed.Installer))
}

// alternative tells the alternatives system something. Without it the program is in the
// package's directory only; that is no reason to fail.
func alternative(c *cobra.Command, args ...string) {
	if _, err := exec.LookPath(alternatives); err != nil {
		return
	}
	if out, err := exec.Command(alternatives, args...).CombinedOutput(); err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "warning: %s %s: %v: %s\n", alternatives, args[0], err, out)
	}
}

type document struct{ file, link string }

// documents lists the package's man pages and completions, and where the system
// looks for them. Where it does not, there is no directory, and update-alternatives would make nothing at all.
func documents(p *installed.Package) []document {
	var list []document
	pages, _ := filepath.Glob(p.File("man/*.[1-8].gz"))
	for _, f := range pages {
		section := strings.TrimPrefix(filepath.Ext(strings.TrimSuffix(f, ".gz")), ".")
		list = append(list, document{f, filepath.Join("/usr/share/man/man"+section, filepath.Base(f))})
	}
	for shell, link := range map[string]string{
		"bash": "/usr/share/bash-completion/completions/plugsched",
		"zsh":  "/usr/share/zsh/vendor-completions/_plugsched",
		"fish": "/usr/share/fish/vendor_completions.d/plugsched.fish",
	} {
		f := p.File(filepath.Join("completions", shell))
		if _, err := os.Stat(f); err == nil {
			list = append(list, document{f, link})
		}
	}
	return slices.DeleteFunc(list, func(d document) bool {
		st, err := os.Stat(filepath.Dir(d.link))
		return err != nil || !st.IsDir()
	})
}
