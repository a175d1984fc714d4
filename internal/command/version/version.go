// SPDX-License-Identifier: BSD-3-Clause

// Package version names this build of the tool.
package version

import (
	"runtime/debug"
	"time"
)

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

// Day is a number that grows with the version: days since 1970 of its commit, 0 when the
// Go toolchain did not record it.
func Day() int {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return 0
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
				return int(t.Unix() / (24 * 60 * 60))
			}
		}
	}
	return 0
}
