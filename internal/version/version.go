// SPDX-License-Identifier: BSD-3-Clause

// Package version names this build of the tool.
package version

import "runtime/debug"

// String returns the version, with the commit where the Go toolchain recorded it.
func String() string {
	v := "devel"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v = "devel-" + s.Value[:12]
		}
	}
	return v
}
