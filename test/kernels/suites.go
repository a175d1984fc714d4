// SPDX-License-Identifier: BSD-3-Clause

package kernels

import (
	"embed"
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
)

//go:embed testdata/*.yaml
var table embed.FS

// stampRE parts a release into its series, what its distribution stamps it with, and its flavour.
var stampRE = regexp.MustCompile(`^(\d+\.\d+)\.[\d.]+(\+[a-z0-9]+)?(?:-\d+)?-([a-z].*)$`)

// Suite is the suite of Debian that has a release, by the kernels of testdata; empty if that is
// the machine's own, or if no kernel there is like this one.
func Suite(release string) (string, error) {
	want := stampRE.FindStringSubmatch(release)
	files, err := table.ReadDir("testdata")
	if err != nil || want == nil {
		return "", err
	}
	for _, f := range files {
		text, err := table.ReadFile("testdata/" + f.Name())
		if err != nil {
			return "", err
		}
		var g struct{ Release, Suite string }
		if err := yaml.Unmarshal(text, &g); err != nil {
			return "", fmt.Errorf("%s: %w", f.Name(), err)
		}
		if is := stampRE.FindStringSubmatch(g.Release); is != nil && is[1] == want[1] && is[2] == want[2] {
			return g.Suite, nil
		}
	}
	return "", nil
}
