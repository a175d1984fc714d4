// SPDX-License-Identifier: BSD-3-Clause

package kernels

import "testing"

func TestSuite(t *testing.T) {
	for release, want := range map[string]string{
		"6.1.0-99-cloud-amd64":           "",
		"6.12.1+deb12-amd64":             "",
		"6.12.200+deb13-cloud-amd64":     "trixie",
		"6.12.200.1+deb13-rt-amd64":      "trixie",
		"5.10.0-1-cloud-amd64":           "bullseye",
		"7.2.1+deb14-amd64":              "sid",
		"7.2.9+deb99-amd64":              "",
		"4.19.0-1-amd64":                 "",
		"6.12.0":                         "",
		"6.12":                           "",
		"6.12.118+deb13-cloud-amd64.new": "trixie",
	} {
		if got, err := Suite(release); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", release, got, err, want)
		}
	}
}
