// SPDX-License-Identifier: BSD-3-Clause

// Package packaging makes a scheduler's .deb and .rpm.
package packaging

import (
	"fmt"
	"regexp"
	"strings"
)

// Config is how a project wants its packages to be: the section "package" of
// plugsched.yaml.
type Config struct {
	Name       string // what the package's name begins with
	Version    string
	Maintainer string // as in "Jane Doe <jane@example.org>"
	Summary    string // one line
}

// What dpkg and rpm both take (deb-control(5), deb-version(7), rpm's spec file rules).
var (
	validName    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	validVersion = regexp.MustCompile(`^[0-9][A-Za-z0-9.+~]*$`)
)

// longest is how many characters name and version may have. Files are named after both and the kernel's release, which has up
// to 64 (include/uapi/linux/utsname.h); a file's name can have 255 (NAME_MAX).
const longest = 64

// ParseConfig reads the section. What it leaves out is "".
func ParseConfig(section map[string]string) (Config, error) {
	var c Config
	fields := map[string]*string{"name": &c.Name, "version": &c.Version, "maintainer": &c.Maintainer, "summary": &c.Summary}
	for key, value := range section {
		field := fields[key]
		if field == nil {
			return c, fmt.Errorf("package: %s: there are name, version, maintainer and summary", key)
		}
		if strings.ContainsAny(value, "\n\r") {
			return c, fmt.Errorf("package: %s: must be one line", key)
		}
		*field = value
	}
	for key, value := range map[string]string{"name": c.Name, "version": c.Version} {
		if len(value) > longest {
			return c, fmt.Errorf("package: %s: has %d characters: up to %d fit into the names of files", key, len(value), longest)
		}
	}
	if c.Name != "" && !validName.MatchString(c.Name) {
		return c, fmt.Errorf("package: name: %q: small letters, digits and +.- only, at least two, the first a letter or digit", c.Name)
	}
	if c.Version != "" && !validVersion.MatchString(c.Version) {
		return c, fmt.Errorf("package: version: %q: letters, digits and .+~ only, the first a digit", c.Version)
	}
	return c, nil
}
